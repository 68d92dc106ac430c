"""Stage 4d: many edits together, as one request and one after the other."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from benchmarks.errors import InputError
from benchmarks.scoring import joint as scoring
from benchmarks.scoring.joint import IN_A_ROW, JOINTLY, by_count
from pipelines import command, tasks
from pipelines.config.params import Settings
from pipelines.jobs.cells import Cell, tuned_cells
from pipelines.jobs.progress import Progress, in_shards, write_described
from pipelines.store.layout import Layout
from pipelines.store.provenance import timed
from pipelines.store.schemas import ANYTHING, JOINT

SECONDS, TIMES = "seconds", ".timing.csv"
"""How long each request took, beside the records: not the same in every run."""


@timed(lambda layout: layout.joint.glob("*.csv"))
def joint(
    benchmark: command.Benchmark,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Make many edits of one model together: how many hold, and what that costs the others."""
    settings, layout = tasks.load_settings(params), Layout(benchmark)
    asked = settings.benchmark(benchmark).joint
    if asked is None:
        print(f"joint {benchmark}: nothing to do, its configuration has no block `joint`")
    cells = tuned_cells(settings, benchmark, "joint", asked.cells if asked else [])
    found = [_asked(settings, cell) for cell in cells]
    tasks.make_records(settings, layout, layout.joint, found, _run, endings=(".json", ".csv", TIMES))
    tasks.write_table(layout.results / "joint.csv", found, _summary)
    tasks.write_table(layout.results / "timings-joint.csv", found, _times)


def _asked(settings: Settings, cell: Cell) -> tasks.CellRecords:
    decides = [settings.benchmark(cell.benchmark).joint.model_dump(exclude={"cells"})]
    return tasks.CellRecords.of(settings, cell, cell.layout.joint, decides, scoring.__file__)


def _run(settings: Settings, found: tasks.CellRecords) -> None:
    """The draws of one cell: each number of edits, in each manner."""
    cell, asked = found.cell, settings.benchmark(found.cell.benchmark).joint
    data, task = tasks.data_of(settings, cell.benchmark, cell.layout.data), tasks.task_of(settings, cell.benchmark)
    scorer = task.joint_scorer(settings, cell, data, **tasks.demand_of(settings, cell))
    tuned = {**found.tuned, "max_steps": asked.max_steps or found.tuned["max_steps"]}
    editor = tasks.tuned_editor(settings, cell, scorer, tuned)
    pieces = [
        (source, count, draw, manner)
        for source in asked.sources
        for count in asked.counts
        if count <= scorer.most(source)
        for manner in ([JOINTLY, IN_A_ROW] if count in asked.in_a_row else [JOINTLY])
        for draw in range(asked.draws)
    ]
    if not pieces:
        most = ", ".join(f"{scorer.most(source)} {source}" for source in asked.sources)
        raise InputError(f"joint of {cell}: joint.counts, {asked.counts}, are all above the edits there are: {most}")
    progress = Progress(f"joint {cell}", len(pieces), "requests")

    def one(numbers: range) -> pd.DataFrame:
        source, *piece = pieces[numbers.start]
        record, seconds = scorer.run(editor, source, *piece)
        return pd.DataFrame([{"source": source, **asdict(record), SECONDS: seconds}])

    records = in_shards(found.shards, len(pieces), 1, one, progress)
    told = {"feasible": tuned["feasible"], "draws": asked.draws, **scorer.described()}
    described = tasks.description(settings, cell, tuned, told, found.identity)
    tables = {found.file(): records.drop(columns=SECONDS), found.file(TIMES): records[[SECONDS]]}
    write_described(found.file(".json"), described, tables)
    last = by_count(records[records["manner"] == JOINTLY]).iloc[-1]
    progress.finish(f"of {last['count']:.0f} edits together {last['fixed']:.0f} % hold")


def _records(found: tasks.CellRecords) -> pd.DataFrame:
    return JOINT.read(found.file(), found.cell.layout.again("joint"))


def _summary(found: tasks.CellRecords) -> pd.DataFrame:
    groups = _records(found).groupby("source", sort=False)
    return pd.concat([pd.DataFrame({"source": source, **by_count(rows)}) for source, rows in groups], ignore_index=True)


def _times(found: tasks.CellRecords) -> pd.DataFrame:
    """Mean seconds of a request over draws."""
    records = _records(found)
    records[SECONDS] = ANYTHING.read(found.file(TIMES), found.cell.layout.again("joint"), len(records))[SECONDS]
    return records.groupby(["source", "count", "manner"], sort=False)[SECONDS].mean().reset_index()


if __name__ == "__main__":
    command.run(joint)
