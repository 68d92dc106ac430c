"""Stage 4c: edits in a row on one model, each made where the ones before left it (section 4.3.1)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from benchmarks.scoring import sequential
from pipelines import command
from pipelines.config.blocks import SequenceSettings
from pipelines.config.params import Settings
from pipelines.jobs.cells import KEYS, Cell, read_tuned, tuned_cells
from pipelines.jobs.engine import share_out
from pipelines.jobs.progress import Progress, in_shards, write_records
from pipelines.store.fingerprint import is_made_of
from pipelines.store.layout import Layout, remove_others, write_csv, write_json
from pipelines.store.provenance import git_commit, timed
from pipelines.store.schemas import SEQUENCE
from pipelines.tasks import data_of, demand_of, description, identity, load_settings, task_of, tuned_editor
from pipelines.tasks.base import RANDOM, EditSet

SUMMARY = [*KEYS, "edits", "orders", "error", "error_std", "in_force", "in_force_std", "success_rate"]
"""The columns that the table of rows starts with."""


@timed(lambda layout: layout.sequences.glob("*.csv"))
def sequences(
    benchmark: Annotated[str, typer.Argument(help="A name of a file in benchmarks/configs.")],
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Edit one model again and again: what becomes of its error and of earlier edits, and how far an edit carries."""
    settings, layout = load_settings(params), Layout(benchmark)
    asked, task = settings.benchmark(benchmark).sequences, task_of(settings, benchmark)
    if asked is None:
        print(f"sequences {benchmark}: nothing to do, its configuration has no block `sequences`")
    cells = tuned_cells(settings, benchmark, "sequences", asked.cells if asked else [])
    rows = [_Row.of(settings, cell) for cell in cells]
    todo = [row for row in rows if not is_made_of(row.result, row.identity, row.result.with_suffix(".csv"))]
    if len(todo) < len(rows):
        print(f"sequences {benchmark}: {len(rows) - len(todo)} of {len(rows)} unchanged", flush=True)
    git_commit()  # looked up once, before there are workers
    share_out(settings, partial(_run, settings), todo)
    names = {row.result.with_suffix(suffix).name for row in rows for suffix in (".json", ".csv")}
    remove_others(layout.sequences, names | {layout.similar.name})
    for shards in layout.unfinished("rows").glob("row-*"):
        shutil.rmtree(shards)
    if asked is None:
        (layout.results / "sequences.csv").unlink(missing_ok=True)
    else:
        tables = [_summary(row) for row in rows] or [pd.DataFrame(columns=SUMMARY)]
        write_csv(layout.results / "sequences.csv", pd.concat(tables, ignore_index=True), digits=6)
    task.after_sequences(settings, benchmark)


@dataclass(frozen=True)
class _Row:
    """The rows of edits of one cell, and what decides their records.

    :ivar tuned: the chosen hyperparameters.
    """

    cell: Cell
    asked: SequenceSettings
    tuned: Mapping[str, Any]
    identity: str

    @property
    def result(self) -> Path:
        """The description of the records, which lie beside it."""
        return self.cell.layout.sequences / f"{self.cell.full_name}.json"

    @property
    def shards(self) -> Path:
        return self.cell.layout.unfinished("rows", f"row-{self.cell.full_name}-{self.identity[:12]}")

    @classmethod
    def of(cls, settings: Settings, cell: Cell) -> _Row:
        asked = settings.benchmark(cell.benchmark).sequences
        tuned, task = read_tuned(cell), task_of(settings, cell.benchmark)
        edits = EditSet(asked.split, asked.edits, asked.source)
        decides = [asked.model_dump(exclude={"cells"}), tuned["hyperparameters"], tuned["max_steps"]]
        if asked.source != RANDOM:
            decides += task.edits_from(settings, cell, edits)
        return cls(cell, asked, tuned, identity(settings, cell, decides, sequential.__file__))


def _run(settings: Settings, row: _Row) -> None:
    """The rows of one cell, one shard for each order."""
    cell, tuned = row.cell, row.tuned
    data = data_of(settings, cell.benchmark, cell.layout.data)
    task = task_of(settings, cell.benchmark)
    scorer = task.row_scorer(settings, cell, data, row.asked, **demand_of(settings, cell))
    progress = Progress(f"sequences {cell}", scorer.count * row.asked.orders, "edits")
    editor = tuned_editor(settings, cell, scorer, tuned)

    def in_order(numbers: range) -> pd.DataFrame:
        return pd.DataFrame([asdict(record) for record in scorer.run(editor, numbers.start // scorer.count)])

    records = in_shards(row.shards, scorer.count * row.asked.orders, scorer.count, in_order, progress)
    told = {
        "feasible": tuned["feasible"],
        "source": row.asked.source,
        "split": row.asked.split,
        "edits": scorer.count,
        "orders": row.asked.orders,
        **scorer.described(),
    }
    write_records(row.result.with_suffix(".csv"), records)
    write_json(row.result, description(settings, cell, tuned, told, row.identity))
    last = sequential.by_number(records).iloc[-1]
    progress.finish(
        f"after {scorer.count} edits {last['error']:.1f} % error and {last['in_force']:.0f} % of the edits in force "
        f"(means of {row.asked.orders} orders)"
    )


def _summary(row: _Row) -> pd.DataFrame:
    again = f"run `python -m pipelines.sequences {row.cell.benchmark}`"
    table = sequential.by_number(SEQUENCE.read(row.result.with_suffix(".csv"), again))
    ordered = pd.DataFrame({**row.cell.names, **table})
    return ordered[[*SUMMARY, *(name for name in ordered if name not in SUMMARY)]]


if __name__ == "__main__":
    command.run(sequences)
