"""Stage 4c: edits in a row on one model, and whether edits carry over to similar images (section 4.3.1)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from benchmarks.data.dataset import Dataset
from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from benchmarks.scoring import sequential
from benchmarks.scoring.request_options import Demand
from benchmarks.scoring.sequential import SequentialScorer
from pipelines import command
from pipelines.config import params as parameters
from pipelines.config.params import Settings
from pipelines.config.sequences import RowSettings
from pipelines.jobs import edited_images, realistic_mistakes, similar_images
from pipelines.jobs.cells import KEYS, PROTOCOL, Cell, fingerprint, read_tuned, tuned_cells
from pipelines.jobs.edited_images import EditedImages
from pipelines.jobs.parallel_map import share_out
from pipelines.jobs.progress import Progress
from pipelines.jobs.scorers import loaded, statistics
from pipelines.store.csv_files import write_csv
from pipelines.store.fingerprint import is_made_of
from pipelines.store.layout import Layout
from pipelines.store.records import in_shards, write_records
from pipelines.store.stage_times import timed

SUMMARY = [*KEYS, "edits", "orders", "error", "error_std", "in_force", "in_force_std", "success_rate"]
"""The columns that the table of rows starts with."""
TUNING, TEST = "tuning", "test"


@timed(lambda layout: layout.sequences.rglob("*.csv"))
def sequences(
    benchmark: Annotated[str, typer.Argument(help="A name under `benchmarks` in the parameter file.")],
    ablation: Annotated[bool, typer.Option("--ablation", help="Run `sequences.ablation` on the tuning split.")] = False,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Edit one model again and again: what becomes of its error and of earlier edits, and how far an edit carries."""
    settings = parameters.load(params)
    layout, asked = Layout(benchmark), settings.benchmark(benchmark).sequences
    if ablation:
        if asked is None or asked.ablation is None:
            raise InputError(f"{params}: benchmarks.{benchmark} has no block sequences.ablation")
        first = settings.training_seeds[0]
        cells = [Cell(benchmark, *names, first) for names in asked.ablation.cells]
        _run(settings, layout, cells, TUNING, layout.ablation)
        return
    if asked is None:
        print(f"sequences {benchmark}: nothing to do, benchmarks.{benchmark} has no block `sequences`")
    cells = tuned_cells(settings, benchmark, "sequences", asked.cells if asked else [])
    _run(settings, layout, cells, TEST, layout.sequences)
    similar_images.measure(settings, benchmark)


def _run(settings: Settings, layout: Layout, cells: Sequence[Cell], split: str, folder: Path) -> None:
    """Make the records of the cells in ``folder``, and of them the table beside it."""
    pieces = [_Asked.of(settings, cell, split, folder) for cell in cells]
    todo = [piece for piece in pieces if not piece.is_done()]
    if len(todo) < len(pieces):
        print(f"sequences {layout.benchmark}: {len(pieces) - len(todo)} of {len(pieces)} unchanged", flush=True)
    share_out(partial(_run_cell, settings), todo, settings.processes, settings.torch_device())
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {piece.result.with_suffix(suffix).name for piece in pieces for suffix in (".json", ".csv")}
    for stale in [path for path in folder.iterdir() if path.is_file() and path.name not in wanted]:
        stale.unlink()
    for shards in layout.unfinished_rows.glob(f"{split}-*"):
        shutil.rmtree(shards)
    tables = [_summary(piece) for piece in pieces] or [pd.DataFrame(columns=SUMMARY)]
    write_csv(folder.with_suffix(".csv"), pd.concat(tables, ignore_index=True), digits=6)


@dataclass(frozen=True)
class _Asked:
    """What decides the records of one cell.

    :ivar split: ``test`` for what is reported, ``tuning`` for the ablation; ``folder`` is where its records go.
    :ivar tuned: the chosen hyperparameters.
    """

    cell: Cell
    split: str
    folder: Path
    rows: RowSettings
    source: str
    tuned: Mapping[str, Any]
    identity: str

    @property
    def result(self) -> Path:
        """Its description; the records are beside it."""
        return self.folder / f"{self.cell.editor}-{self.cell.file}.json"

    @property
    def shards(self) -> Path:
        name = f"{self.split}-{self.cell.editor}-{self.cell.file}-{self.identity[:12]}"
        return self.cell.layout.unfinished_rows / name

    @classmethod
    def of(cls, settings: Settings, cell: Cell, split: str, folder: Path) -> _Asked:
        block = settings.benchmark(cell.benchmark).sequences
        rows = block if split == TEST else block.ablation
        source = block.source if split == TEST else "random"
        tuned = read_tuned(cell)
        decides = [split, source, rows.edits, rows.orders, rows.control_size]
        decides += [tuned["hyperparameters"], tuned["max_steps"]]
        if source == "mistakes":
            decides.append(realistic_mistakes.identity(settings, cell.benchmark, cell.seed))
        code = [sequential.__file__, edited_images.__file__]
        if source == "mistakes":
            code.append(realistic_mistakes.__file__)
        return cls(cell, split, folder, rows, source, tuned, fingerprint(settings, cell, decides, *code))

    def is_done(self) -> bool:
        """Whether its records lie there already."""
        return is_made_of(self.result, self.identity, self.result.with_suffix(".csv"))

    def edited(self, settings: Settings, data: Dataset) -> EditedImages:
        """What is edited, and on which images errors are counted."""
        benchmark, count = self.cell.benchmark, self.rows.edits
        if self.source == "mistakes":
            found = edited_images.to_true_labels(settings, benchmark, data, count)
        else:
            found = edited_images.to_random_labels(settings, benchmark, data, self.split, count)
        control = edited_images.subset(found.control, self.rows.control_size, settings.seed, benchmark, self.split)
        return EditedImages(found.images, found.seeds, control)


def _run_cell(settings: Settings, asked: _Asked) -> None:
    """The rows of one cell, one shard for each."""
    cell, tuned = asked.cell, asked.tuned
    data, model = loaded(settings, cell)
    edited = asked.edited(settings, data)
    count = len(edited.images)
    progress = Progress(f"sequences {cell}", count * asked.rows.orders, "edits")
    more = settings.editor(cell.editor)
    demand = Demand(more.views, more.margin)
    images = SequentialScorer(model, cell.layers, data, edited.images, edited.control, demand, edited.seeds)
    editor = settings.build(cell.editor, **tuned["hyperparameters"], max_steps=tuned["max_steps"])
    editor = editor.informed(statistics(settings, cell, images, data.train))

    def row(numbers: range) -> pd.DataFrame:
        order = numbers.start // count
        places = sequential.turn(count, order, settings.seed, cell.benchmark, asked.split)
        return pd.DataFrame([asdict(record) for record in images.run(editor, places, order)])

    records = in_shards(asked.shards, count * asked.rows.orders, count, row, progress)
    description = {
        "benchmark": cell.benchmark,
        **cell.names,
        "hyperparameters": tuned["hyperparameters"],
        "max_steps": tuned["max_steps"],
        "feasible": tuned["feasible"],
        "source": asked.source,
        "split": asked.split,
        "edits": count,
        "orders": asked.rows.orders,
        "control_images": len(edited.control),
        "dataset": data.fingerprint(),
        "protocol": PROTOCOL,
        "fingerprint": asked.identity,
    }
    write_records(asked.result.with_suffix(".csv"), records)
    write_atomically(asked.result, json.dumps(description, indent=2) + "\n")
    last = sequential.by_number(records).iloc[-1]
    progress.finish(
        f"after {count} edits {last['error']:.1f} % error and {last['in_force']:.0f} % of the edits in force "
        f"(means of {asked.rows.orders} orders)"
    )


def _summary(asked: _Asked) -> pd.DataFrame:
    table = sequential.by_number(pd.read_csv(asked.result.with_suffix(".csv")))
    ordered = pd.DataFrame({**asked.cell.names, **table})
    return ordered[[*SUMMARY, *(name for name in ordered if name not in SUMMARY)]]


if __name__ == "__main__":
    command.run(sequences)
