"""What MLflow shows: one run per leaderboard entry and one per training, made from result files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import typer

from benchmarks.files import write_atomically
from pipelines.config.params import Settings
from pipelines.jobs.cells import KEYS, PROTOCOL, Cell, models_of
from pipelines.reporting.tables.results import CellResult
from pipelines.reporting.tables.trainings import read_cost
from pipelines.store.layout import COST, EDITOR, HISTORY, MISTAKES, RANKS, Layout
from pipelines.store.provenance import git_commit
from pipelines.tracking.sync import RunRecord, Unreachable, rebuild, uri

_EPOCH = "epoch"
_DESCRIBING = ("model.json", EDITOR, COST, RANKS)


def fill(benchmark: str, records: Sequence[RunRecord]) -> str:
    """Make the runs of a benchmark's experiment equal to ``records``, and say in ``mlflow/<benchmark>.json`` what came
    of it.

    :returns: a warning if the server does not answer, else nothing.
    """
    warning, counts = "", {}
    try:
        rebuilt = rebuild(benchmark, records)
        counts = {"created": rebuilt.created, "kept": rebuilt.kept, "removed": rebuilt.removed}
    except Unreachable as error:
        warning = f"MLflow was not filled: {error}"
        typer.echo(f"warning: {warning}", err=True)
    told = {"tracking_uri": uri(), "runs": len(records), **counts, "warning": warning}
    write_atomically(Path("mlflow") / f"{benchmark}.json", json.dumps(told, indent=2) + "\n")
    return warning


def run_records(
    settings: Settings, benchmark: str, results: Sequence[CellResult], table: pd.DataFrame
) -> list[RunRecord]:
    """The runs of one benchmark's experiment.

    :param table: the leaderboard, from which metrics and published values come.
    """
    commit = git_commit()
    layout = Layout(benchmark)
    rows = {(row["training"], row["editor"], row["layers"]): row for row in table.to_dict("records")}
    cells = [
        _cell_run(
            result,
            rows[tuple(cell.names.values())],
            layout,
            commit,
            settings.benchmark(benchmark).editor(cell.editor).asked,
        )
        for result in results
        for cell in [result.cell]
    ]
    trained = [(key.training, key.seed) for key in models_of(settings, benchmark)]
    return cells + [_training_run(settings, layout, training, seed, commit) for training, seed in trained]


def _cell_run(
    result: CellResult, row: dict[str, Any], layout: Layout, commit: str, asked: Mapping[str, Any]
) -> RunRecord:
    cell = result.cell
    described = (*KEYS, "note", "edits")
    metrics = {name: float(value) for name, value in row.items() if name not in described}
    records = [layout.edits(cell.editor) / f"{cell.file}{kind}.csv" for kind in ("", MISTAKES)]
    figures = sorted(layout.figures.glob(f"tuning-{cell.editor}.png"))
    return RunRecord(
        key=f"{cell.training}/{cell.editor}/{cell.layers}",
        parameters={
            **result.description["hyperparameters"],
            "max_steps": result.description["max_steps"],
            **{name: value for name, value in asked.items() if value},
        },
        metrics={**metrics, **_similar(layout, cell), "milliseconds": float(result.milliseconds.mean())},
        series=_in_a_row(layout, cell),
        tags={
            **_tags(layout, commit),
            "training": cell.training,
            "editor": cell.editor,
            "layers": cell.layers,
            "kind": "edits",
            "feasible": str(result.description["feasible"]).lower(),
            **({"note": row["note"]} if row["note"] else {}),
        },
        artifacts=[*figures, *_shared(layout), *(path for path in records if path.exists())],
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
    """How many of the images most like the edited ones follow, for the cells that were asked."""
    rows = _of(cell, layout.results / "similar.csv")
    return {name: float(rows[name].iloc[0]) for name in ("similar_accuracy", "similar_before") if len(rows)}


def _of(cell: Cell, path: Path) -> pd.DataFrame:
    """A cell's rows of a table, none where there is no such table."""
    table = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=KEYS)
    return table[(table[KEYS] == list(cell.names.values())).all(axis=1)]


def _training_run(settings: Settings, layout: Layout, training: str, seed: int, commit: str) -> RunRecord:
    folder = layout.described(training, seed)
    path = folder / HISTORY  # a model made without training has none
    history = pd.read_csv(path) if path.exists() else pd.DataFrame({_EPOCH: []})
    curves = [name for name in history.columns if name != _EPOCH]
    figure = layout.figures / f"training-{folder.name}.png"
    return RunRecord(
        key=f"training/{folder.name}",
        parameters=settings.benchmark(layout.benchmark).training(training).model_dump(),
        metrics=_cost(folder),
        series={name: list(zip(history[_EPOCH].tolist(), history[name].tolist(), strict=True)) for name in curves},
        tags={**_tags(layout, commit), "training": training, "seed": str(seed), "kind": "training"},
        artifacts=[path for path in (figure, *(folder / name for name in _DESCRIBING)) if path.exists()],
    )


def _cost(folder: Path) -> dict[str, float]:
    """What a step cost, in steps of plain training, of a training that edits."""
    path = folder / COST
    cost = read_cost(path) if path.exists() else {}
    return {name: value for name, value in cost.items() if name.startswith("cost_ratio") and math.isfinite(value)}


def _tags(layout: Layout, commit: str) -> dict[str, str]:
    return {"benchmark": layout.benchmark, "git_commit": commit, "protocol": str(PROTOCOL)}


def _shared(layout: Layout) -> list[Path]:
    names = [*(f"table{number}.md" for number in range(1, 6)), "leaderboard.md", "leaderboard.html", "claims.md"]
    names += ["sequences.md", "similar.md"]
    figures = [*(f"table{number}.png" for number in range(1, 6)), "ranks.png", "steps-drawdown.png", "sequences.png"]
    found = [layout.results / name for name in names] + [layout.figures / name for name in figures]
    return [path for path in found if path.exists()]
