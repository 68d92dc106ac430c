"""Stage 4d: many edits together, as one request and one after the other."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from benchmarks.scoring import joint as scoring
from benchmarks.scoring.joint import IN_A_ROW, JOINTLY, by_count
from pipelines import command
from pipelines.config.params import Settings
from pipelines.jobs.cells import KEYS, Cell, read_tuned, tuned_cells
from pipelines.jobs.engine import share_out
from pipelines.jobs.progress import Progress, in_shards, write_records
from pipelines.store.fingerprint import is_made_of
from pipelines.store.layout import Layout, remove_others, write_csv, write_json
from pipelines.store.provenance import git_commit, timed
from pipelines.tasks import data_of, demand_of, description, identity, load_settings, task_of, tuned_editor

SUMMARY = [*KEYS, "source", "count", "manner", "draws"]
"""The columns that the table of joint edits starts with."""
SECONDS, TIMES = "seconds", ".timing.csv"
"""How long each request took, beside the records: not the same in every run."""


@timed(lambda layout: layout.joint.glob("*.csv"))
def joint(
    benchmark: Annotated[str, typer.Argument(help="A name of a file in benchmarks/configs.")],
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Make many edits of one model together: how many hold, and what that costs the others."""
    settings, layout = load_settings(params), Layout(benchmark)
    asked = settings.benchmark(benchmark).joint
    if asked is None:
        print(f"joint {benchmark}: nothing to do, its configuration has no block `joint`")
    cells = tuned_cells(settings, benchmark, "joint", asked.cells if asked else [])
    found = {cell: _identity(settings, cell) for cell in cells}
    todo = [cell for cell in cells if not is_made_of(_result(cell), found[cell], _result(cell).with_suffix(".csv"))]
    if len(todo) < len(cells):
        print(f"joint {benchmark}: {len(cells) - len(todo)} of {len(cells)} unchanged", flush=True)
    git_commit()  # looked up once, before there are workers
    share_out(settings, partial(_run, settings), todo)
    remove_others(
        layout.joint, {_result(one).with_suffix(end).name for one in cells for end in (".json", ".csv", TIMES)}
    )
    remove_others(layout.unfinished("joint"), ())
    tables = {"joint.csv": _summary, "timings-joint.csv": _times}
    for name, made in tables.items():
        if cells:
            write_csv(layout.results / name, pd.concat(map(made, cells), ignore_index=True), digits=6)
        else:
            (layout.results / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class _Piece:
    """What is made at a time: one draw of so many edits, in one manner."""

    source: str
    count: int
    draw: int
    manner: str


def _result(cell: Cell) -> Path:
    """The description of a cell's records, which lie beside it."""
    return cell.layout.joint / f"{cell.full_name}.json"


def _identity(settings: Settings, cell: Cell) -> str:
    tuned = read_tuned(cell)
    decides = [settings.benchmark(cell.benchmark).joint.model_dump(exclude={"cells"})]
    decides += [tuned["hyperparameters"], tuned["max_steps"]]
    return identity(settings, cell, decides, scoring.__file__)


def _run(settings: Settings, cell: Cell) -> None:
    asked, tuned, found = settings.benchmark(cell.benchmark).joint, read_tuned(cell), _identity(settings, cell)
    data, task = data_of(settings, cell.benchmark, cell.layout.data), task_of(settings, cell.benchmark)
    scorer = task.joint_scorer(settings, cell, data, **demand_of(settings, cell))
    tuned = tuned | {"max_steps": asked.max_steps or tuned["max_steps"]}
    editor = tuned_editor(settings, cell, scorer, tuned)
    pieces = [
        _Piece(source, count, draw, manner)
        for source in asked.sources
        for count in asked.counts
        if count <= scorer.most(source)
        for manner in ([JOINTLY, IN_A_ROW] if count in asked.in_a_row else [JOINTLY])
        for draw in range(asked.draws)
    ]
    progress = Progress(f"joint {cell}", len(pieces), "requests")

    def one(numbers: range) -> pd.DataFrame:
        piece = pieces[numbers.start]
        record, seconds = scorer.run(editor, piece.source, piece.count, piece.draw, piece.manner)
        return pd.DataFrame([{"source": piece.source, **asdict(record), SECONDS: seconds}])

    shards = cell.layout.unfinished("joint", f"{cell.full_name}-{found[:12]}")
    records = in_shards(shards, len(pieces), 1, one, progress)
    told = {"feasible": tuned["feasible"], "draws": asked.draws, **scorer.described()}
    write_records(_result(cell).with_suffix(".csv"), records.drop(columns=SECONDS))
    write_records(_result(cell).with_suffix(TIMES), records[[SECONDS]])
    write_json(_result(cell), description(settings, cell, tuned, told, found))
    last = by_count(records[records["manner"] == JOINTLY]).iloc[-1]
    progress.finish(f"of {last['count']:.0f} edits together {last['fixed']:.0f} % hold")


def _summary(cell: Cell) -> pd.DataFrame:
    records = pd.read_csv(_result(cell).with_suffix(".csv"))
    tables = [
        by_count(rows).assign(source=source, **cell.names) for source, rows in records.groupby("source", sort=False)
    ]
    table = pd.concat(tables, ignore_index=True)
    return table[[*SUMMARY, *(name for name in table if name not in SUMMARY)]]


def _times(cell: Cell) -> pd.DataFrame:
    """Mean seconds of a request over draws."""
    records = pd.read_csv(_result(cell).with_suffix(".csv"))
    records[SECONDS] = pd.read_csv(_result(cell).with_suffix(TIMES))[SECONDS]
    table = records.groupby(["source", "count", "manner"], sort=False)[SECONDS].mean().reset_index()
    return table.assign(**cell.names)[[*KEYS, *table]]


if __name__ == "__main__":
    command.run(joint)
