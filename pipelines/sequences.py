"""Stage 4c: edits in a row on one model, each made where the ones before left it (section 4.3.1)."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from benchmarks.scoring import sequential
from pipelines import command, tasks
from pipelines.config.params import Settings
from pipelines.jobs.cells import Cell, tuned_cells
from pipelines.jobs.progress import Progress, in_shards, write_described
from pipelines.store.layout import Layout
from pipelines.store.provenance import timed
from pipelines.store.schemas import SEQUENCE
from pipelines.tasks.base import RANDOM, EditSet


@timed(lambda layout: layout.sequences.glob("*.csv"))
def sequences(
    benchmark: command.Benchmark,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Edit one model again and again: what becomes of its error and of earlier edits, and how far an edit carries."""
    settings, layout = tasks.load_settings(params), Layout(benchmark)
    asked = settings.benchmark(benchmark).sequences
    if asked is None:
        print(f"sequences {benchmark}: nothing to do, its configuration has no block `sequences`")
    cells = tuned_cells(settings, benchmark, "sequences", asked.cells if asked else [])
    rows = [_asked(settings, cell) for cell in cells]
    tasks.make_records(settings, layout, layout.sequences, rows, _run, keep=[layout.similar.name])
    tasks.write_table(layout.results / "sequences.csv", rows, _summary)
    tasks.task_of(settings, benchmark).after_sequences(settings, benchmark)


def _asked(settings: Settings, cell: Cell) -> tasks.CellRecords:
    asked, task = settings.benchmark(cell.benchmark).sequences, tasks.task_of(settings, cell.benchmark)
    edits = EditSet(asked.split, asked.edits, asked.source)
    drawn = task.edits_from(settings, cell, edits) if asked.source != RANDOM else []
    decides = [asked.model_dump(exclude={"cells"})]
    return tasks.CellRecords.of(settings, cell, cell.layout.sequences, decides, sequential.__file__, *drawn)


def _run(settings: Settings, row: tasks.CellRecords) -> None:
    """The rows of one cell, one shard for each order."""
    cell, asked = row.cell, settings.benchmark(row.cell.benchmark).sequences
    data, task = tasks.data_of(settings, cell.benchmark, cell.layout.data), tasks.task_of(settings, cell.benchmark)
    scorer = task.row_scorer(settings, cell, data, asked, **tasks.demand_of(settings, cell))
    progress = Progress(f"sequences {cell}", scorer.count * asked.orders, "edits")
    editor = tasks.tuned_editor(settings, cell, scorer, row.tuned)

    def in_order(numbers: range) -> pd.DataFrame:
        return pd.DataFrame([asdict(record) for record in scorer.run(editor, numbers.start // scorer.count)])

    records = in_shards(row.shards, scorer.count * asked.orders, scorer.count, in_order, progress)
    told = {
        "feasible": row.tuned["feasible"],
        **asked.model_dump(include={"source", "split"}),
        "edits": scorer.count,
        "orders": asked.orders,
        **scorer.described(),
    }
    described = tasks.description(settings, cell, row.tuned, told, row.identity)
    write_described(row.file(".json"), described, {row.file(): records})
    last = sequential.by_number(records).iloc[-1]
    progress.finish(
        f"after {scorer.count} edits {last['error']:.1f} % error and {last['in_force']:.0f} % of the edits in force "
        f"(means of {asked.orders} orders)"
    )


def _summary(row: tasks.CellRecords) -> pd.DataFrame:
    return sequential.by_number(SEQUENCE.read(row.file(), row.cell.layout.again("sequences")))


if __name__ == "__main__":
    command.run(sequences)
