"""A study by hand of the search itself: ways to propose trials, compared at equal cost on the same cells.

Every run of a way is a row of results/search_study/runs.csv, its trials are those of trials.csv, the drawdowns of its
test edits a row of test_drawdowns.csv; search.md is the comparison. Runs that are there are not made again: the study
can be stopped, and continued with more seeds.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import pandas as pd
import torch
import typer

import editors
from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from pipelines import command
from pipelines.config.params import Settings
from pipelines.jobs import search, trials
from pipelines.jobs.cells import Cell
from pipelines.jobs.progress import Progress
from pipelines.reporting.claims.statistics import Z, paired_difference
from pipelines.reporting.tables.sheet import markdown_table
from pipelines.store.layout import write_csv
from pipelines.tasks import editor_of, load_settings, scorer_of, task_of
from pipelines.tasks.base import EditSet

RESULTS = Path("results/search_study")
_RUN = ["training", "editor", "layers", "way", "seed"]
_CLOSE = 0.1  # percentage points of drawdown
_MOST = 60  # trials of a way that spends what another one did
_DRAWDOWNS = "test_drawdowns.csv"


def _random(number: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=number)


def _tree(number: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(seed=number, n_startup_trials=3, multivariate=True)


@dataclass(frozen=True)
class Way:
    """A way to search: its sampler; nested, the strength is found by edits alone, or else it is proposed as well."""

    sampler: search.Sampler
    nested: bool
    description: str


WAYS = {
    "bisection": Way(_random, True, "defaults, the strength bisected"),
    "nested_gp": Way(search.gaussian_process, True, "a Gaussian process proposes all but the strength"),
    "nested_tpe": Way(_tree, True, "TPE proposes all but the strength"),
    "nested_random": Way(_random, True, "all but the strength at random, four times as many trials: the reference"),
    "gp": Way(search.gaussian_process, False, "a Gaussian process proposes everything"),
    "tpe": Way(_tree, False, "TPE proposes everything"),
    "random": Way(_random, False, "everything at random"),
}


class _SpentError(Exception):
    """A run has spent what it may."""


class _Meter:
    """A scorer that counts edits that are made and looked at; everything is passed on to the real one."""

    def __init__(self, scorer: Any, budget: float) -> None:
        self._scorer, self.budget, self.edits, self.looks = scorer, budget, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scorer, name)

    def edit(self, editor: editors.Editor, rows: Any) -> Any:
        if self.edits + self.looks > self.budget:
            raise _SpentError
        self.edits += len(rows)
        return self._scorer.edit(editor, rows)

    def records(self, rows: Any, edits: Any, **options: Any) -> Any:
        self.looks += len(rows)
        return self._scorer.records(rows, edits, **options)


def search_study(
    benchmark: command.Benchmark,
    cells: Annotated[list[str], typer.Argument(metavar="cell", help="training/editor/layers.")],
    ways: Annotated[str, typer.Option(help="Of the ways to search, with commas.")] = ",".join(WAYS),
    seeds: Annotated[int, typer.Option(help="Repetitions of each way.")] = 5,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Compare ways to search for hyperparameters, on models that are trained; writes results/search_study."""
    torch.set_num_threads(1)
    settings = load_settings(params)
    for way in ways.split(","):
        if way not in WAYS:
            raise InputError(f"--ways: there is no {way!r}; there are {', '.join(WAYS)}")
    known = _read("runs.csv")
    if others := {*known.get("benchmark", ())} - {benchmark}:
        raise InputError(
            f"{RESULTS} holds the study of {others.pop()}, and one is of one benchmark: move it away first"
        )
    for seed in range(seeds):
        for name in cells:
            training, editor, layers = name.split("/")
            for way in ways.split(","):
                if way != "bisection" or not seed:  # it draws nothing
                    _run(settings, Cell(benchmark, training, editor, layers), way, seed)
                    _write_page(benchmark, settings.benchmark(benchmark).tuning.edits)


def _run(settings: Settings, cell: Cell, way: str, seed: int) -> None:
    key = [cell.training, cell.editor, cell.layers, way, seed]
    known = _read("runs.csv")
    if not known.empty and (known[_RUN].astype(str) == [str(part) for part in key]).all(axis=1).any():
        return
    block, task = settings.benchmark(cell.benchmark), task_of(settings, cell.benchmark)
    chosen, tuning = block.editor(cell.editor), block.tuning
    allowed = trials.allowed_failures(tuning.drawn, tuning.min_success, tuning.confidence)
    asked = trials.Asked(tuning.drawn, allowed, tuning.edits)
    parameters = editors.describe(block.method(cell.editor)).hyperparameters
    if not WAYS[way].nested:
        parameters = tuple(replace(one, stronger=None) for one in parameters)
    space = search.Space(parameters, dict(chosen.ranges), chosen.fixed, chosen.max_steps)
    count = {"bisection": 1, "nested_random": 4 * chosen.trials}.get(way, chosen.trials if WAYS[way].nested else _MOST)
    scorer = scorer_of(settings, cell, EditSet("tuning", tuning.drawn), tuning.control_size)
    decided = bool(tuning.control_size) and scorer.examples <= task.rescorable * tuning.control_size
    meter = _Meter(scorer, _budget(key, known) - decided * trials.FINALISTS * 2 * tuning.edits)
    build = partial(editor_of, settings, cell)
    with tempfile.TemporaryDirectory() as folder:
        journal, axes = Path(folder, "a.journal"), (seed, "study", *key[:4])
        look = partial(search.search, partial(build, meter), space, meter, task.measures, asked=asked, journal=journal)
        look = partial(look, axes=axes, rescorable=task.rescorable, sampler=WAYS[way].sampler)
        look = partial(look, patience=2 if WAYS[way].nested else 1)
        progress = Progress(f"study {cell} {way} {seed}", count, "trials")
        try:
            table = look(trials=count, progress=progress)
        except _SpentError:
            meter.budget = np.inf  # finalists are looked at in any case
            table = look(trials=progress.done, progress=progress)
    best = table[table["chosen"]].iloc[0]
    values = {one.name: float(best[one.name]) for one in parameters}
    run = (
        {"benchmark": cell.benchmark}
        | dict(zip(_RUN, key, strict=True))
        | {"trials": len(table), "edits": meter.edits, "looks": meter.looks}
    )
    run |= {name: best[name] for name in ("feasible", "success_rate", "drawdown", "proposed_by")}
    tested = scorer_of(settings, cell, EditSet("test", block.evaluation.edits), block.evaluation.control_size)
    editor = build(tested, **values, max_steps=chosen.max_steps)
    rows = range(block.evaluation.edits)
    records = pd.DataFrame(map(asdict, tested.records(rows, tested.edit(editor, rows)[0])))
    found = task.measures.summarise(records)
    for name, metric in (("success_rate", "success_rate"), ("drawdown", task.measures.drawdown)):
        run |= {f"test_{name}{end}": getattr(found[metric], part) for end, part in _ENDS.items()}
    named = dict(zip(_RUN, key, strict=True))
    drawdowns = task.measures.per_edit(task.measures.drawdown, records)
    _append("trials.csv", table.assign(**named))
    _append(_DRAWDOWNS, pd.DataFrame([named | {str(edit): value for edit, value in enumerate(drawdowns)}]))
    _append("runs.csv", pd.DataFrame([run | values]))
    progress.finish(f"drawdown {run['drawdown']:.2f} at {run['success_rate']:.1f} %, {meter.edits + meter.looks} edits")


_EXPLAINED = """\
Made by `python -m pipelines.studies.search_study {benchmark} <training>/<editor>/<layers> ...`, which adds the runs
that are missing; so far {runs}. Smallest drawdown at the required success on the tuning edits: every way has the same
edits, and the same success is asked of it. *Regret* is the drawdown that a run chose minus the smallest that any run
found in that cell, in percentage points; *close* are runs with a regret of at most {close}, *within noise* those whose
regret is at most that or half of the 95 % interval of a drawdown that {edits} tuning edits measure. A smallest value of
many is small by luck, too. So the test edits, on which nothing was chosen, ask again: *on test* is the mean difference
of their drawdowns to those of that smallest run, and *level* are runs that are close, or whose 95 % interval of this
difference, paired over edits, reaches 0: differences much smaller than the interval of one drawdown show there. *Cost*
is edits made plus edits looked at. Ways that are not nested spend what the nested search with a Gaussian process did.
"""
_ENDS = {"": "value", "_low": "low", "_high": "high"}


def _budget(key: list[Any], known: pd.DataFrame) -> float:
    """What the nested search with a Gaussian process spent on the same cell with the same seed, for ways that do not
    stop by themselves.
    """
    if WAYS[key[3]].nested:
        return np.inf
    wanted = [*map(str, key[:3]), "nested_gp", str(key[4])]
    same = known[(known[_RUN].astype(str) == wanted).all(axis=1)] if not known.empty else known
    if same.empty:
        raise InputError(f"--ways: {key[3]} spends what nested_gp did: name that before it")
    return float(same["edits"].iloc[0] + same["looks"].iloc[0])


def _read(name: str) -> pd.DataFrame:
    path = RESULTS / name
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def _append(name: str, rows: pd.DataFrame) -> None:
    table = pd.concat([_read(name), rows], ignore_index=True)
    first = [column for column in _RUN if column in table]
    write_csv(RESULTS / name, table[[*first, *(one for one in table if one not in first)]], digits=6)


def _compared(runs: pd.DataFrame, edits: int) -> pd.DataFrame:
    """The runs, with their regret, their difference to the best run of the cell on its test edits, and verdicts.

    :param edits: whose drawdown tuning measures.
    """
    drawdowns = _read(_DRAWDOWNS).set_index(_RUN)
    compared = []
    for cell, rows in runs.groupby(_RUN[:3], sort=True):
        feasible = rows["feasible"].astype(bool)
        best = rows.loc[rows["drawdown"].where(feasible).idxmin()]
        least = drawdowns.loc[tuple(best[_RUN])].to_numpy(dtype=float)
        for (_, row), holds in zip(rows.iterrows(), feasible, strict=True):
            regret = row["drawdown"] - best["drawdown"] if holds else np.nan
            values = drawdowns.loc[tuple(row[_RUN])].to_numpy(dtype=float)
            worse = paired_difference(values, least, "/".join(map(str, (*cell, row["way"], row["seed"]))))
            close = regret <= _CLOSE
            noise = Z * values.std(ddof=1) / math.sqrt(edits)
            verdicts = {
                "feasible": holds,
                "close": close,
                "within noise": holds and regret <= max(noise, _CLOSE),
                "level": holds and bool(close or worse.low <= 0),
            }
            compared.append({**row, "regret": regret, "worse": worse.value, **verdicts})
    return pd.DataFrame(compared).assign(cost=lambda one: one["edits"] + one["looks"])


_COUNTS = ("feasible", "close", "within noise", "level")
_MEANS = {"regret": "regret", "worse": "on test"}


def _row(rows: pd.DataFrame) -> list[str]:
    """What both tables say of the runs of one way."""
    counted = [str(len(rows)), *(str(int(rows[name].sum())) for name in _COUNTS)]
    return [*counted, *(f"{rows[name].mean():.2f}" for name in _MEANS), f"{rows['regret'].max():.2f}"]


def _write_page(benchmark: str, edits: int) -> None:
    runs = _compared(_read("runs.csv"), edits)
    ways = [name for name in WAYS if name in set(runs["way"])]
    told = ["runs", *_COUNTS, *_MEANS.values(), "largest regret"]
    overall, table = [], []
    for way in ways:
        rows = runs[runs["way"] == way]
        overall.append([f"`{way}`", str(len(rows.drop_duplicates(_RUN[:3]))), *_row(rows)])
    for (*cell, way), rows in runs.groupby(_RUN[:4], sort=False):
        means = rows.mean(numeric_only=True)
        ended = [f"{means['drawdown']:.2f}", f"{means['test_drawdown']:.2f}", f"{means['test_success_rate']:.1f}"]
        table.append([*cell, f"`{way}`", *_row(rows), f"{means['cost']:.0f}", *ended])
    shown = [*_RUN[:4], *told, "cost", "drawdown", "test drawdown", "test success"]
    lines = [
        "# Ways to search for hyperparameters",
        "",
        _EXPLAINED.format(benchmark=benchmark, close=_CLOSE, runs=len(runs), edits=edits),
        *(f"- `{name}`: {WAYS[name].description}." for name in ways),
        "",
        markdown_table(["way", "cells", *told], overall),
        "",
        markdown_table(shown, table),
    ]
    write_atomically(RESULTS / "search.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    command.run(search_study)
