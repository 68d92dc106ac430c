"""How far edits of mistakes carry over to the test images most like them (section 4.3.1): records, and a table."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import pandas as pd

from benchmarks.analysis import embedding
from benchmarks.data import candidates
from benchmarks.scoring import similar as scoring
from benchmarks.scoring.requests import Demand
from benchmarks.scoring.similar import SimilarScorer, accuracies
from pipelines.config.params import Settings
from pipelines.jobs.cells import PROTOCOL, Cell, tuned_cells
from pipelines.jobs.engine import share_out
from pipelines.jobs.progress import Progress, in_shards, write_described
from pipelines.reporting.tables.results import ends
from pipelines.store.fingerprint import fingerprint
from pipelines.store.layout import Layout, read_json, write_json
from pipelines.store.schemas import SEQUENCE, Description
from pipelines.tasks import CellRecords, data_fingerprint, data_of, demand_of, make_records, tuned_editor, write_table
from pipelines.tasks.images import edits

_NEIGHBOURS = "neighbours.json"
_IMAGES_IN_A_SHARD = 10


def measure(settings: Settings, benchmark: str) -> None:
    """Edit augmentations of mistakes and look at the images most like them, for the cells of the block ``similar``."""
    layout, asked = Layout(benchmark), settings.benchmark(benchmark).similar
    cells = tuned_cells(settings, benchmark, "similar", asked.cells) if asked else []
    similar: list[CellRecords] = []
    if cells:
        (found,) = share_out(settings, partial(_neighbours, settings), [benchmark])
        similar = [_asked(settings, cell, found) for cell in cells]
        work = partial(_measure_cell, found)
        make_records(settings, layout, layout.similar, similar, work, keep=[_NEIGHBOURS])
    else:
        shutil.rmtree(layout.similar, ignore_errors=True)
    write_table(layout.results / "similar.csv", similar, _summary)


def _neighbours(settings: Settings, benchmark: str) -> dict[str, Any]:
    """The ``positions`` of the test images most like each of the edited mistakes, the ``embedding`` by which they are
    alike, and their ``identity``, a hash of what decides them: those that lie there already, or new ones.
    """
    layout, asked = Layout(benchmark), settings.benchmark(benchmark).similar
    first, name = settings.training_seeds[0], embedding.chosen(asked.embedding)
    model = Cell(benchmark, settings.benchmark(benchmark).mistakes.training, "", "", first)
    code = [module.__file__ for module in (embedding, candidates, edits)]
    decides = [edits.identity(settings, benchmark, first), name, asked.edits, PROTOCOL]
    decides.append(data_fingerprint(settings, benchmark))
    wanted = fingerprint(decides, code)
    path = layout.similar / _NEIGHBOURS
    known = read_json(path)
    if known.get("identity") == wanted:
        return known
    data = data_of(settings, benchmark, layout.data)
    network = edits.load_network(settings, model, data)
    images = edits.to_true_labels(settings, benchmark, data, asked.edits).images
    embed = embedding.embedding(name, network, data)
    positions = embedding.nearest(embed(images.images), embed(data.test.images)).tolist()
    found = {"embedding": name, "positions": positions, "identity": wanted}
    write_json(path, found)
    return found


def _asked(settings: Settings, cell: Cell, found: Mapping[str, Any]) -> CellRecords:
    decides = [found["identity"], settings.benchmark(cell.benchmark).similar.augmentations]
    return CellRecords.of(settings, cell, cell.layout.similar, decides, scoring.__file__)


def _measure_cell(found: Mapping[str, Any], settings: Settings, similar: CellRecords) -> None:
    cell, asked = similar.cell, settings.benchmark(similar.cell.benchmark).similar
    data = data_of(settings, cell.benchmark, cell.layout.data)
    model = edits.load_network(settings, cell, data)
    edited = edits.to_true_labels(settings, cell.benchmark, data, asked.edits)
    count = len(edited.images) * asked.augmentations
    progress = Progress(f"similar {cell}", count, "edits")
    images = SimilarScorer(
        model,
        cell.layers,
        data,
        edited.images,
        data.test,
        found["positions"],
        edited.seeds,
        asked.augmentations,
        Demand(**demand_of(settings, cell)),
    )
    editor = tuned_editor(settings, cell, images, similar.tuned)

    def some(rows: range) -> pd.DataFrame:
        places = range(rows.start // asked.augmentations, rows.stop // asked.augmentations)
        return pd.DataFrame([asdict(record) for place in places for record in images.run(editor, place)])

    records = in_shards(similar.shards, count, _IMAGES_IN_A_SHARD * asked.augmentations, some, progress)
    described = {**cell.names, "embedding": found["embedding"], "edits": count, "fingerprint": similar.identity}
    write_described(similar.file(".json"), described, {similar.file(): records})
    shares = accuracies(records)
    progress.finish(
        f"{shares['similar_accuracy'].value:.1f} % of similar images follow, {shares['own_accuracy'].value:.1f} % of "
        f"other views of the edited ones"
    )


def _summary(similar: CellRecords) -> pd.DataFrame:
    """One row of the table: each share with the ends of its 95 % interval."""
    again = similar.cell.layout.again("sequences")
    described = Description.read(similar.file(".json"), again)
    row = {"embedding": described["embedding"], "edits": described["edits"]}
    for name, estimate in accuracies(SEQUENCE.read(similar.file(), again)).items():
        row |= ends(name, estimate)
    return pd.DataFrame([row])
