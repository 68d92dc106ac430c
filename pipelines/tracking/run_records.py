"""The runs that MLflow shows of a benchmark, made from result files: one per leaderboard row, one per trained model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import typer

from baselines.model_files import DESCRIPTION
from pipelines.jobs.cells import KEYS, PROTOCOL, Cell
from pipelines.reporting.tables.results import CellResult
from pipelines.store.layout import COST, EDITOR, HISTORY, MISTAKES, RANKS, Layout, write_json
from pipelines.store.provenance import git_commit
from pipelines.store.schemas import EPOCHS, ROWS, Description
from pipelines.tracking import RunRecord, Unreachable, rebuild, tracking_uri

_EPOCH = "epoch"
_DESCRIBING = (DESCRIPTION, EDITOR, COST, RANKS, HISTORY)
_BEYOND = ("sequences", "joint", "side-effects")
_PAGES = [*(f"table{number}" for number in range(1, 7)), "leaderboard", "claims", "similar", "examples", *_BEYOND]
_FIGURES = [*(f"table{number}" for number in range(1, 7)), "ranks", "steps-drawdown", *_BEYOND]


def fill(benchmark: str, records: Sequence[RunRecord]) -> str:
    """Make the runs of a benchmark's experiment equal to ``records``, and note it in ``mlflow/<benchmark>.json``.

    :returns: a warning if the server does not answer, else nothing.
    """
    warning, counts = "", {}
    try:
        counts = asdict(rebuild(benchmark, records))
    except Unreachable as error:
        warning = f"MLflow was not filled: {error}"
        typer.echo(f"warning: {warning}", err=True)
    told = {"tracking_uri": tracking_uri(), "runs": len(records), **counts, "warning": warning}
    write_json(Path("mlflow") / f"{benchmark}.json", told)
    return warning


def run_records(
    layout: Layout,
    results: Sequence[CellResult],
    table: pd.DataFrame,
    trainings: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    asked: Mapping[str, Mapping[str, Any]],
) -> list[RunRecord]:
    """The runs of one benchmark's experiment, whatever its task.

    :param results: of the cells, of which ``cell``, ``description`` and ``milliseconds`` are read.
    :param table: the leaderboard, which has a row per cell; its numbers become metrics.
    :param trainings: the settings of each training by name; each was repeated with all ``seeds``.
    :param asked: by editor, what is asked of its edits besides their target.
    """
    rows = {tuple(row[key] for key in KEYS): row for row in table.to_dict("records")}
    tags = {"benchmark": layout.benchmark, "git_commit": git_commit(), "protocol": str(PROTOCOL)}
    shared = [layout.results / f"{name}.md" for name in _PAGES]
    shared = _there(shared + [layout.figures / f"{name}.png" for name in _FIGURES])
    cells = []
    for result in results:
        row = rows[tuple(result.cell.names.values())]
        cells.append(_cell_run(layout, result, row, asked.get(result.cell.editor, {}), tags, shared))
    trained = [_training_run(layout, name, seed, trainings[name], tags) for seed, name in product(seeds, trainings)]
    return cells + trained


def _cell_run(
    layout: Layout,
    result: CellResult,
    row: Mapping[str, Any],
    asked: Mapping[str, Any],
    tags: Mapping[str, str],
    shared: Sequence[Path],
) -> RunRecord:
    cell, description = result.cell, result.description
    metrics = {name: float(value) for name, value in row.items() if isinstance(value, int | float) and name != "edits"}
    records = [layout.edits(cell.editor) / f"{cell.file}{kind}.csv" for kind in ("", MISTAKES)]
    return RunRecord(
        key="/".join(cell.names.values()),
        parameters={
            **description["hyperparameters"],
            "max_steps": description["max_steps"],
            **{name: value for name, value in asked.items() if value},
        },
        metrics={**metrics, **_similar(layout, cell), "milliseconds": float(result.milliseconds.mean())},
        series=_in_a_row(layout, cell),
        tags={
            **tags,
            **cell.names,
            "kind": "edits",
            "feasible": str(description["feasible"]).lower(),
            **{name: row[name] for name in ("note", "standing", "proposed_by") if row.get(name)},
        },
        artifacts=[*_there([layout.figures / f"tuning-{cell.editor}.png"]), *shared, *_there(records)],
    )


def _in_a_row(layout: Layout, cell: Cell) -> dict[str, list[tuple[int, float]]]:
    """Curves over the number of edits in a row, for the cells that were edited so."""
    rows = _of(cell, layout.results / "sequences.csv")
    return {
        f"in_a_row_{name}": list(zip(rows["edits"].tolist(), rows[name].tolist(), strict=True))
        for name in ("error", "in_force")
        if len(rows)
    }


def _similar(layout: Layout, cell: Cell) -> dict[str, float]:
    """The share of the images most like the edited ones that follow the edit, for the cells that were asked."""
    rows = _of(cell, layout.results / "similar.csv")
    return {name: float(rows[name].iloc[0]) for name in ("similar_accuracy", "similar_before") if len(rows)}


def _of(cell: Cell, path: Path) -> pd.DataFrame:
    """A cell's rows of a table, none where there is no such table."""
    table = ROWS.read(path, "run the stage that makes it again") if path.exists() else pd.DataFrame(columns=KEYS)
    return table[(table[KEYS] == list(cell.names.values())).all(axis=1)]


def _training_run(
    layout: Layout, training: str, seed: int, settings: Mapping[str, Any], tags: Mapping[str, str]
) -> RunRecord:
    folder = layout.described(training, seed)
    model = folder.name
    path = folder / HISTORY  # a model made without training has none
    history = EPOCHS.read(path, "train again") if path.exists() else pd.DataFrame({_EPOCH: []})
    cost = Description.read(folder / COST, "train again") if (folder / COST).exists() else {}
    return RunRecord(
        key=f"training/{model}",
        parameters=settings,
        metrics={name: value for name, value in cost.items() if name.startswith("cost_ratio")},
        series={
            name: list(zip(history[_EPOCH].tolist(), history[name].tolist(), strict=True))
            for name in history.columns.drop(_EPOCH)
        },
        tags={**tags, "training": training, "seed": str(seed), "kind": "training"},
        artifacts=_there([layout.figures / f"training-{model}.png", *(folder / name for name in _DESCRIBING)]),
    )


def _there(paths: Sequence[Path]) -> list[Path]:
    return [path for path in paths if path.exists()]
