"""How far edits of mistakes carry over to the test images most like them (section 4.3.1): records, and a table."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from benchmarks.analysis import embedding
from benchmarks.data import candidates
from benchmarks.scoring import similar as scoring
from benchmarks.scoring.requests import Demand
from benchmarks.scoring.similar import SimilarScorer, accuracies
from pipelines.config.params import Settings
from pipelines.jobs.cells import KEYS, PROTOCOL, Cell, read_tuned, tuned_cells
from pipelines.jobs.engine import share_out
from pipelines.jobs.progress import Progress, in_shards, write_records
from pipelines.store.fingerprint import fingerprint, is_made_of
from pipelines.store.layout import Layout, remove_others, write_csv, write_json
from pipelines.store.schemas import SEQUENCE, Description
from pipelines.tasks import data_of, demand_of, identity, tuned_editor
from pipelines.tasks.images import edits

SUMMARY = [*KEYS, "embedding", "edits"]
"""The columns that the table starts with."""
_NEIGHBOURS = "neighbours.json"
_IMAGES_IN_A_SHARD = 10


def measure(settings: Settings, benchmark: str) -> None:
    """Edit augmentations of mistakes and look at the images most like them, for the cells of the block ``similar``."""
    layout, asked = Layout(benchmark), settings.benchmark(benchmark).similar
    cells = tuned_cells(settings, benchmark, "similar", asked.cells) if asked else []
    files = [layout.similar / f"{cell.full_name}.json" for cell in cells]
    if cells:
        (found,) = share_out(settings, partial(_neighbours, settings), [benchmark])
        todo = [cell for cell, file in zip(cells, files, strict=True) if not _is_done(settings, cell, found, file)]
        share_out(settings, partial(_measure_cell, settings, found), todo)
    wanted = {file.with_suffix(suffix).name for file in files for suffix in (".json", ".csv")} | {_NEIGHBOURS}
    if cells:
        remove_others(layout.similar, wanted)
    else:
        shutil.rmtree(layout.similar, ignore_errors=True)
    for shards in layout.unfinished("rows").glob("similar-*"):
        shutil.rmtree(shards)
    if asked is None:
        (layout.results / "similar.csv").unlink(missing_ok=True)
        return
    rows = [_summary(cell, file) for cell, file in zip(cells, files, strict=True)]
    write_csv(layout.results / "similar.csv", pd.DataFrame(rows, columns=None if rows else SUMMARY), digits=6)


@dataclass(frozen=True)
class _Neighbours:
    """The test images most like each of the edited mistakes.

    :ivar embedding: by which they are alike; ``identity`` a hash of what decides them.
    """

    positions: tuple[int, ...]
    embedding: str
    identity: str


def _neighbours(settings: Settings, benchmark: str) -> _Neighbours:
    """Those that lie there already, or new ones."""
    layout, asked = Layout(benchmark), settings.benchmark(benchmark).similar
    first, name = settings.training_seeds[0], embedding.chosen(asked.embedding)
    model = Cell(benchmark, settings.benchmark(benchmark).mistakes.training, "", "", first)
    code = [module.__file__ for module in (embedding, candidates, edits)]
    decides = [edits.identity(settings, benchmark, first), name, asked.edits, PROTOCOL]
    wanted = fingerprint(decides, code)
    path = layout.similar / _NEIGHBOURS
    try:
        known = json.loads(path.read_text())
        if known["identity"] == wanted:
            return _Neighbours(tuple(known["positions"]), name, wanted)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    data = data_of(settings, benchmark, layout.data)
    network = edits.load_network(settings, model, data)
    images = edits.to_true_labels(settings, benchmark, data, asked.edits).images
    embed = embedding.embedding(name, network, data)
    positions = embedding.nearest(embed(images.images), embed(data.test.images)).tolist()
    content = {"embedding": name, "positions": positions, "identity": wanted}
    write_json(path, content)
    return _Neighbours(tuple(positions), name, wanted)


def _identity(settings: Settings, cell: Cell, found: _Neighbours) -> str:
    tuned, asked = read_tuned(cell), settings.benchmark(cell.benchmark).similar
    decides = [found.identity, asked.augmentations, tuned["hyperparameters"], tuned["max_steps"]]
    return identity(settings, cell, decides, scoring.__file__)


def _is_done(settings: Settings, cell: Cell, found: _Neighbours, file: Path) -> bool:
    return is_made_of(file, _identity(settings, cell, found), file.with_suffix(".csv"))


def _measure_cell(settings: Settings, found: _Neighbours, cell: Cell) -> None:
    asked, tuned = settings.benchmark(cell.benchmark).similar, read_tuned(cell)
    wanted, file = _identity(settings, cell, found), cell.layout.similar / f"{cell.full_name}.json"
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
        found.positions,
        edited.seeds,
        asked.augmentations,
        Demand(**demand_of(settings, cell)),
    )
    editor = tuned_editor(settings, cell, images, tuned)

    def some(rows: range) -> pd.DataFrame:
        places = range(rows.start // asked.augmentations, rows.stop // asked.augmentations)
        return pd.DataFrame([asdict(record) for place in places for record in images.run(editor, place)])

    folder = cell.layout.unfinished("rows", f"similar-{cell.full_name}-{wanted[:12]}")
    records = in_shards(folder, count, _IMAGES_IN_A_SHARD * asked.augmentations, some, progress)
    write_records(file.with_suffix(".csv"), records)
    description = {**cell.names, "embedding": found.embedding, "edits": count, "fingerprint": wanted}
    write_json(file, description)
    shares = accuracies(records)
    progress.finish(
        f"{shares['similar_accuracy'].value:.1f} % of similar images follow, {shares['own_accuracy'].value:.1f} % of "
        f"other views of the edited ones"
    )


def _summary(cell: Cell, file: Path) -> dict[str, object]:
    """One row of the table: each share with the ends of its 95 % interval."""
    again = f"run `python -m pipelines.sequences {cell.benchmark}`"
    described = Description.read(file, again)
    row = {**cell.names, "embedding": described["embedding"], "edits": described["edits"]}
    for name, estimate in accuracies(SEQUENCE.read(file.with_suffix(".csv"), again)).items():
        row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return row
