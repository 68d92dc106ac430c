"""Which figures the results of a benchmark allow, and drawing those whose data changed, on several cores."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import matplotlib
import pandas as pd
import torch
from matplotlib.figure import Figure

from baselines.model_files import DESCRIPTION
from benchmarks.files import file_hash, write_atomically
from pipelines.config.params import Settings
from pipelines.jobs.cells import models_of
from pipelines.jobs.parallel_map import parallel_map
from pipelines.reporting import ranking
from pipelines.reporting.figures import bars, classes, curves, points, style
from pipelines.reporting.tables import other_stages
from pipelines.reporting.tables.presentation import Presentation
from pipelines.reporting.tables.results import CellResult
from pipelines.store.layout import HISTORY, KEYS, RANKS, Layout, read_json, remove_others
from pipelines.store.schemas import CURVES, EPOCHS, FIGURE2, TRIALS, Trained

_Draw = partial[Figure]
"""A function of a module with its arguments, so that it can be sent to another process."""
_SUCCESS, _STEPS, _GENERALITY = "Success rate (%)", "Gradient steps per edit (mean)", "Generality (%)"
_ONLY_PNG = ("tuning-", "training-")
"""Beginnings of the names of figures that are not for papers; all others are written as SVG, too."""


def draw(
    settings: Settings,
    layout: Layout,
    told: Presentation,
    results: Sequence[CellResult],
    board: pd.DataFrame,
    tables: Mapping[str, pd.DataFrame],
) -> None:
    """Write every figure that the results allow; one that they no longer allow is removed.

    A figure whose data, code and files have not changed is not drawn again. One that cannot be drawn is left out, which
    a line on stderr says.

    :param board: the leaderboard; ``tables`` the paper's by name, empty where this run has none of their rows.
    """
    path, method = layout.results / "curves.csv", settings.benchmark(layout.benchmark).method
    trade_offs = CURVES.read(path, layout.again("analyse")) if path.exists() else pd.DataFrame()
    drawn = {**_tables(tables, told), **_scatters(board, tables, told, _settings_of(board, method, trade_offs))}
    drawn |= _from_files(layout, told, trade_offs)
    title = told.axes[told.measures.drawdown]
    for editor, (studies, threshold) in _studies(results).items():
        options = {"titles": (_SUCCESS, title), "title": f"Tuning of {style.editor_look(editor).title}"}
        drawn[f"tuning-{editor}"] = partial(curves.tuning_panels, studies, threshold, **options)
    for folder in [key.described for key in models_of(settings, layout.benchmark)]:
        if (folder / HISTORY).exists():
            again = layout.again("train")
            kept, history = Trained.read(folder / DESCRIPTION, again)["epoch"], EPOCHS.read(folder / HISTORY, again)
            shown = told.histories, told.judged, f"{folder.name} training"
            drawn[f"training-{folder.name}"] = partial(curves.training_curves, history, kept, *shown)
    write(drawn, layout.figures, layout.unfinished("figures.json"), settings.processes)


def write(drawn: Mapping[str, _Draw], folder: Path, memory: Path, processes: int = 1) -> None:
    """Write figures by name into the folder and remove all other files there.

    :param memory: the file that remembers what each figure was drawn from.
    """
    before = read_json(memory)
    pieces = [(folder / name, figure, before.get(name)) for name, figure in drawn.items()]
    made = dict(zip(drawn, parallel_map(_write, pieces, processes, torch.device("cpu")), strict=True))
    write_atomically(memory, json.dumps(made, indent=1) + "\n")
    wanted = {name for one in made.values() for name in one["files"]}
    remove_others(folder, wanted)


def _write(piece: tuple[Path, _Draw, Any]) -> dict[str, Any]:
    """Draw and write a figure unless its files are there already; returns what it was drawn from, and their hashes."""
    path, figure, before = piece
    kinds = ("png",) if path.name.startswith(_ONLY_PNG) else ("png", "svg")
    try:
        source = joblib.hash((_code(), figure.func, figure.args, figure.keywords))
        if before and before["source"] == source:
            there = [path.with_name(name) for name in before["files"]]
            if there and all(file.exists() and file_hash(file) == before["files"][file.name] for file in there):
                return before
        files = style.save(figure(), path, kinds)
    except Exception as error:  # a picture is never worth a report
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"figure {path.name} is left out: {reason}", file=sys.stderr, flush=True)
        return {"source": "", "files": {}}
    return {"source": source, "files": {file.name: file_hash(file) for file in files}}


def _code() -> tuple[str, ...]:
    files = [*sorted(Path(style.__file__).parent.glob("*.py")), Path(ranking.__file__), Path(__file__)]
    return (matplotlib.__version__, *map(file_hash, files))


def _tables(tables: Mapping[str, pd.DataFrame], told: Presentation) -> dict[str, _Draw]:
    """Bars of every table with a measured drawdown: beside it the model's quality, or the success on a single model."""
    drawdown, quality = told.measures.drawdown, told.measures.quality
    drawn: dict[str, _Draw] = {}
    for name, frame in tables.items():
        if frame.empty or not frame[drawdown].notna().any():
            continue
        if frame.loc[frame[drawdown].notna(), "training"].nunique() > 1:
            beside: dict[str, Any] = {"quality": quality, "titles": (told.axes[drawdown], told.axes[quality])}
        else:
            beside = {"quality": "success_rate", "titles": (told.axes[drawdown], _SUCCESS)}
            beside |= {"required": ranking.REQUIRED_SUCCESS}
            beside |= {"group": "layers"} if frame["editor"].duplicated().any() else {}
        drawn[name] = partial(bars.table_bars, frame, drawdown=drawdown, **beside)
    return drawn


def _scatters(
    board: pd.DataFrame, tables: Mapping[str, pd.DataFrame], told: Presentation, same: Sequence[pd.DataFrame]
) -> dict[str, _Draw]:
    """Drawdown against generality, steps and, of several models, quality; ``same`` see :func:`_settings_of`."""
    y, quality = told.measures.drawdown, told.measures.quality
    title, general = told.axes[y], {"titles": (_GENERALITY, told.axes[y]), "curves": same}
    if board["generality_before"].notna().any():
        general["reference"] = (float(board["generality_before"].median()), "reach of the unedited network")
    drawn: dict[str, _Draw] = {"generality-drawdown": partial(points.scatter, board, "generality", y, **general)}
    if board["num_steps"].notna().any():
        steps = {"titles": (_STEPS, title), "logarithmic": True, "missing": "take no gradient steps"}
        drawn["steps-drawdown"] = partial(points.scatter, board, "num_steps", y, **steps)
    if board["training"].nunique() > 1:
        frame = tables["table3"] if len(tables.get("table3", ())) else board
        drawn[f"{quality.removeprefix('test_')}-drawdown"] = partial(
            points.scatter, frame, quality, y, titles=(told.axes[quality], title)
        )
    return drawn


def _settings_of(board: pd.DataFrame, method: Callable[[str], str], trade_offs: pd.DataFrame) -> list[pd.DataFrame]:
    """Curves of drawdown against generality: rows that differ in their method's options, and in its learning rate."""
    named = board.assign(editor=board["editor"].map(method)).sort_values("generality")
    found = [rows for _, rows in named.groupby(KEYS, sort=False) if len(rows) > 1]
    if "generality" in trade_offs:
        found += [rows.sort_values("factor") for _, rows in trade_offs.groupby(KEYS, sort=False)]
    return found


def _from_files(layout: Layout, told: Presentation, trade_offs: pd.DataFrame) -> dict[str, _Draw]:
    """Figures of what other stages wrote beside the records."""
    drawn: dict[str, _Draw] = {}
    if (layout.results / RANKS).exists():
        drawn["ranks"] = partial(bars.rank_bars, pd.read_csv(layout.results / RANKS))
    analysed = [layout.figure2 / f"{name}.csv" for name in ("confusion", "tsne", "variance")]
    frames = [FIGURE2.read(path, layout.again("analyse")) for path in analysed] if analysed[0].exists() else []
    if frames and not frames[0].empty:
        drawn["figure2"] = partial(classes.figure2, *frames)
    y = told.measures.drawdown
    labels = {
        "fixed": "Edits that hold (%)",
        "at_own_error": "Error after − before (points),\nat the network's own error",
    }
    rows, together, hurt = (
        other_stages.table(layout, name) for name in ("sequences", "joint", other_stages.SIDE_EFFECTS)
    )
    if not trade_offs.empty:
        drawn["curves"] = partial(curves.tradeoff_curves, trade_offs, y, (_SUCCESS, told.axes[y]))
    if not rows.empty:
        drawn["sequences"] = partial(curves.sequence_curves, rows, told.sequences)
    if not together.empty:
        drawn["joint"] = partial(curves.joint_curves, together, other_stages.SOURCES, labels)
    if not hurt.empty:
        drawn[other_stages.SIDE_EFFECTS] = partial(bars.side_effect_dots, hurt, y)
    return drawn


def _studies(results: Sequence[CellResult]) -> dict[str, tuple[dict[str, pd.DataFrame], float]]:
    """By editor: all trials of each study that tuned anything, and the success that was asked of them, in percent."""
    found: dict[str, tuple[dict[str, pd.DataFrame], float]] = {}
    for cell, tuning in ((result.cell, result.tuning) for result in results if result.tuning):
        trials = TRIALS.read(cell.tuned.with_suffix(".csv"), cell.layout.again("tune", cell.editor))
        if len(trials) > 1:
            studies, _ = found.setdefault(cell.editor, ({}, tuning["required"]))
            studies[f"{cell.training}, {cell.layers}"] = trials
    return found
