"""The figures of a report, drawn on several cores."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure

from baselines.model_files import DESCRIPTION
from benchmarks.errors import InputError
from pipelines.config.params import Settings
from pipelines.jobs.cells import KEYS, models_of
from pipelines.jobs.parallel_map import parallel_map
from pipelines.reporting.figures import catalogue
from pipelines.reporting.pages import sequences
from pipelines.reporting.tables.results import CellResult
from pipelines.store.layout import HISTORY, RANKS, Layout

_SCALABLE = (
    "table1",
    "table2",
    "table3",
    "table4",
    "table5",
    "ranks",
    "steps-drawdown",
    "generality-drawdown",
    "error-drawdown",
    "figure2",
    "curves",
    "sequences",
)
"""Figures for papers, which are also written as SVG."""


def draw(
    settings: Settings,
    layout: Layout,
    results: list[CellResult],
    board: pd.DataFrame,
    tables: Mapping[str, pd.DataFrame],
) -> None:
    """Write every figure that the results allow; one that they no longer allow is removed.

    :param board: the leaderboard; ``tables`` the paper's by name, empty where this run has none of their rows.
    """
    drawn: dict[str, Callable[[], Figure]] = {}
    shown = {name: frame for name, frame in tables.items() if not frame.empty}
    if "drawdown" in board:
        curves = _tradeoffs(settings, layout, board)
        drawn["generality-drawdown"] = partial(catalogue.scatter, board, x="generality", curves=curves)
        if board["num_steps"].notna().any():
            drawn["steps-drawdown"] = partial(catalogue.scatter, board, x="num_steps")
        if board["training"].nunique() > 1:
            measured = shown.get("table3", board).dropna(subset="drawdown")
            drawn["error-drawdown"] = partial(catalogue.error_drawdown_scatter, measured)
    for name in ("table3", "table4", "table5"):
        if name in shown and board["training"].nunique() > 1:
            drawn[name] = partial(catalogue.table3_bars, shown[name])
    if (layout.results / RANKS).exists():
        drawn["ranks"] = partial(catalogue.rank_bars, pd.read_csv(layout.results / RANKS))
    if "table1" in shown:
        drawn["table1"] = partial(catalogue.table1_bars, shown["table1"])
    if "table2" in shown:
        drawn["table2"] = partial(catalogue.table2_bars, shown["table2"])
    analysed = [layout.figure2 / f"{name}.csv" for name in ("confusion", "tsne", "variance")]
    if analysed[0].exists() and not pd.read_csv(analysed[0]).empty:
        drawn["figure2"] = partial(catalogue.figure2, *map(pd.read_csv, analysed))
    curves = layout.results / "curves.csv"
    if curves.exists() and not (frame := pd.read_csv(curves)).empty:
        drawn["curves"] = partial(catalogue.tradeoff_curves, frame)
    rows = sequences.table(layout, "sequences")
    if not rows.empty:
        drawn["sequences"] = partial(catalogue.sequence_curves, rows)
    for editor, (studies, threshold) in _studies(layout, results).items():
        drawn[f"tuning-{editor}"] = partial(catalogue.tradeoffs, studies, threshold, title=f"Tuning of {editor}")
    for editor, series in _importances(layout, results).items():
        drawn[f"importances-{editor}"] = partial(catalogue.importances, series)
    for folder in [key.described for key in models_of(settings, layout.benchmark)]:
        if (folder / HISTORY).exists():
            history, kept = _history(folder)
            if "tuning_error" not in history:
                continue
            drawn[f"training-{folder.name}"] = partial(
                catalogue.training_curves, history, kept, title=f"{folder.name} training"
            )
    pieces = [(layout.figures / name, figure) for name, figure in drawn.items()]
    written = {path for paths in parallel_map(_save, pieces, settings.processes, torch.device("cpu")) for path in paths}
    for stale in set(layout.figures.iterdir()) - written:
        stale.unlink()


def _tradeoffs(settings: Settings, layout: Layout, board: pd.DataFrame) -> list[pd.DataFrame]:
    """Curves of drawdown against generality: rows that differ in their method's options, and in its learning rate."""
    method = settings.benchmark(layout.benchmark).method
    named = board.assign(editor=board["editor"].map(method)).sort_values("generality")
    curves = [rows for _, rows in named.groupby(KEYS, sort=False) if len(rows) > 1]
    path = layout.results / "curves.csv"
    if path.exists() and "generality" in (frame := pd.read_csv(path)):
        curves += [rows.sort_values("factor") for _, rows in frame.groupby(KEYS, sort=False)]
    return curves


def _history(folder: Path) -> tuple[pd.DataFrame, int]:
    """A training's epochs and which of them was kept."""
    try:
        return pd.read_csv(folder / HISTORY), int(json.loads((folder / DESCRIPTION).read_text())["epoch"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} does not hold a whole training ({error!r}): train it again") from error


def _save(piece: tuple[Path, Callable[[], Figure]]) -> tuple[Path, ...]:
    path, figure = piece
    return catalogue.save(figure(), path, ("png", "svg") if path.name in _SCALABLE else ("png",))


def _studies(layout: Layout, results: list[CellResult]) -> dict[str, tuple[dict[str, pd.DataFrame], float]]:
    """By editor: all trials of each study that tuned anything, and the success that was asked of them, in percent."""
    found: dict[str, tuple[dict[str, pd.DataFrame], float]] = {}
    for result in results:
        if not result.tuning:
            continue
        cell, required = result.cell, result.tuning.get("required", result.required)
        trials = pd.read_csv(cell.tuned.with_suffix(".csv"))
        if len(trials) > 1:
            found.setdefault(cell.editor, ({}, required))[0][f"{cell.training},\n{cell.layers}"] = trials
    return found


def _importances(layout: Layout, results: list[CellResult]) -> dict[str, dict[str, pd.Series]]:
    """By editor and study, for those that tuned more than one hyperparameter."""
    found: dict[str, dict[str, pd.Series]] = {}
    for result in results:
        cell = result.cell
        path = cell.tuned
        try:
            values = pd.Series(json.loads(path.read_text()).get("importances", {}), dtype=float)
        except (OSError, ValueError, KeyError, TypeError) as error:
            again = f"run `python -m pipelines.tune {cell.benchmark} {cell.editor}`"
            raise InputError(f"{path} does not hold a study ({error!r}): remove it and {again}") from error
        if len(values) > 1 and values.notna().all():
            found.setdefault(cell.editor, {})[f"{cell.training}, {cell.layers}"] = values
    return found
