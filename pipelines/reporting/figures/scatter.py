"""Leaderboard entries as points: drawdown against test error, steps or whatever else tells them apart."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator

from pipelines.jobs.cells import KEYS
from pipelines.reporting.figures.checks import require
from pipelines.reporting.figures.labels import place_labels
from pipelines.reporting.figures.legends import legend_above
from pipelines.reporting.figures.style import (
    HEIGHT,
    INK,
    SOFT,
    axis_title,
    cell_title,
    editor_colour,
    editor_title,
    new_figure,
    styled,
)
from pipelines.reporting.tables.markdown import REQUIRED_SUCCESS, reaches_success, without_steps

_MARKERS = "osD^vP*Xhp<>"
_FRONT = {"color": SOFT, "linewidth": 1.2, "linestyle": (0, (4, 3))}
_BETTER_HIGH = ("success_rate", "generality", "bleu")
# From this ratio of largest to smallest drawdown on, a linear axis presses the good editors into one line.
_LOGARITHMIC = 5.0
# From this ratio on, five ticks for each power of ten would stand on each other.
_DECADES = 500.0
# Up to this many entries each has its name beside it; of more, the front has, and a key tells the colours.
_LABELS = 16
_TALL = 6.0  # inches high, so that a long key or many names leave the plot room
_FEW = 8  # names that fit a picture of the usual height


def error_drawdown_scatter(frame: pd.DataFrame) -> Figure:
    """Drawdown against test error; against the number of steps while all entries share one trained model."""
    require(frame, ["test_error", "drawdown"], "error-against-drawdown figure")
    return scatter(frame, x="test_error" if frame["test_error"].nunique() > 1 else "num_steps")


@styled
def scatter(
    frame: pd.DataFrame, x: str = "num_steps", y: str = "drawdown", curves: Sequence[pd.DataFrame] = ()
) -> Figure:
    """Entries as labelled points with 95 % intervals and the Pareto front of those with enough success.

    ``frame`` has the columns ``training, editor, layers``, ``x``, ``y`` and, where known, their ``_low`` and
    ``_high`` and ``success_rate``; rows without ``x`` or ``y`` are left out. Colour tells the editor, shape
    the training. The label is the editor and part, and the training where it is not that of most entries; the training
    alone where there is one editor only. Points below 95 % success are hollow. Of more than 16 entries only the front
    is labelled. Each of ``curves``, frames with the columns ``editor``, ``x`` and ``y``, is a line through its points
    in their order. Against steps, editors that take none along a gradient are left out, which a line says.

    Raises:
        ValueError: when a column is missing or no row has both values.
    """
    what = f"figure of {y} against {x}"
    require(frame, [*KEYS, x, y], what)
    rows = frame.dropna(subset=[x, y])
    left_out = list(dict.fromkeys(frame.loc[without_steps(frame), "editor"])) if x == "num_steps" else []
    require(rows, [], what)
    figure = new_figure(height=HEIGHT if len(rows) <= _FEW else _TALL)
    axes = figure.subplots()
    _scale(axes, "y", rows[y].to_numpy(dtype=float))
    if x == "num_steps":  # one editor of many steps would press all others into a line
        _scale(axes, "x", rows[x].to_numpy(dtype=float))
    enough = _enough(rows)
    shapes = {name: _MARKERS[i % len(_MARKERS)] for i, name in enumerate(dict.fromkeys(rows["training"]))}

    whiskers = _whisker_lines(rows, x, y)
    front = _on_front(rows, x, y)
    stair = _draw_front(axes, rows.loc[front, [x, y]].to_numpy(dtype=float), x)
    for curve in curves:
        colour = editor_colour(curve["editor"].iloc[0])
        axes.plot(curve[x], curve[y], color=colour, marker=".", markersize=4, linewidth=1.2, alpha=0.6, zorder=1)
    for (_, row), filled in zip(rows.iterrows(), enough, strict=True):
        colour = editor_colour(row["editor"])
        axes.errorbar(
            row[x],
            row[y],
            xerr=_error(row, x),
            yerr=_error(row, y),
            color=colour,
            marker=shapes[row["training"]],
            markerfacecolor=colour if filled else "white",
            markeredgecolor=colour,
            markersize=8,
            markeredgewidth=1.5,
            elinewidth=0.9,
            alpha=1.0,
            linestyle="none",
        )
    note = f"\nNot shown, as they take no gradient steps: {', '.join(map(editor_title, left_out))}" if left_out else ""
    axes.set_xlabel(axis_title(x) + note)
    axes.set_ylabel(axis_title(y))
    axes.margins(x=0.15, y=0.12)
    _key(figure, shapes, rows, bool(whiskers), curves)
    labelled = rows if len(rows) <= _LABELS else rows[front]
    points, markers = (part[[x, y]].to_numpy(dtype=float) for part in (labelled, rows))
    lines = [*stair, *whiskers, *(curve[[x, y]].to_numpy(dtype=float) for curve in curves)]
    place_labels(figure, axes, points, _names(labelled, rows), markers=markers, avoid=lines)
    return figure


def _names(labelled: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """What stands beside the ``labelled`` of these rows: as much as tells them apart."""
    if rows["editor"].nunique() == 1 and rows["training"].nunique() > 1:
        return [str(training) for training in labelled["training"]]
    usual = rows["training"].mode()
    usual = rows["training"].iloc[0] if rows["training"].iloc[0] in set(usual) else usual.iloc[0]
    return [
        cell_title(row) if row["training"] == usual else f"{cell_title(row)}\non {row['training']}"
        for _, row in labelled.iterrows()
    ]


def _scale(axes: Axes, which: str, values: np.ndarray) -> None:
    """A logarithmic scale for values of several magnitudes, with ticks that have plain numbers."""
    if not (values.min() > 0 and values.max() / values.min() > _LOGARITHMIC):
        return
    axes.set(**{f"{which}scale": "log"})
    axis = axes.yaxis if which == "y" else axes.xaxis
    many = values.max() / values.min() > _DECADES
    axis.set_major_locator(LogLocator(subs=(1.0, 3.0) if many else (1.0, 2.0, 3.0, 5.0, 7.0)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_locator(NullLocator())


def pareto_front(points: np.ndarray) -> np.ndarray:
    """Which of the points (N, 2) no other point beats: smaller is better in both columns. Boolean (N,)."""
    no_worse = (points[None, :, :] <= points[:, None, :]).all(axis=2)
    better = (points[None, :, :] < points[:, None, :]).any(axis=2)
    return ~(no_worse & better).any(axis=1)


def _on_front(rows: pd.DataFrame, x: str, y: str) -> np.ndarray:
    """Which rows no other row with enough success beats; those below 95 % are never among them."""
    enough = _enough(rows)
    signs = np.array([-1.0 if name in _BETTER_HIGH else 1.0 for name in (x, y)])
    front = np.zeros(len(rows), dtype=bool)
    front[enough] = pareto_front(rows.loc[enough, [x, y]].to_numpy(dtype=float) * signs)
    return front


def _draw_front(axes: Axes, points: np.ndarray, x: str) -> list[np.ndarray]:
    """Draw the front through its points (N, 2) as a stair and return the stair's corners."""
    if len(points) == 0:
        return []
    columns, heights = points[np.lexsort((points[:, 1], points[:, 0]))].T
    if x in _BETTER_HIGH:
        stair = np.column_stack([np.repeat(columns, 2)[:-1], np.repeat(heights, 2)[1:]])
    else:
        stair = np.column_stack([np.repeat(columns, 2)[1:], np.repeat(heights, 2)[:-1]])
    axes.plot(*stair.T, zorder=1, label="Pareto front", **_FRONT)
    return [stair]


def _whisker_lines(rows: pd.DataFrame, x: str, y: str) -> list[np.ndarray]:
    lines = []
    for _, row in rows.iterrows():
        if _error(row, x) is not None:
            lines.append(np.array([[row[f"{x}_low"], row[y]], [row[f"{x}_high"], row[y]]], dtype=float))
        if _error(row, y) is not None:
            lines.append(np.array([[row[x], row[f"{y}_low"]], [row[x], row[f"{y}_high"]]], dtype=float))
    return lines


def _enough(rows: pd.DataFrame) -> np.ndarray:
    if "success_rate" not in rows.columns:
        return np.ones(len(rows), dtype=bool)
    return reaches_success(rows).to_numpy()


def _error(row: pd.Series, metric: str) -> list[list[float]] | None:
    low, high = row.get(f"{metric}_low", math.nan), row.get(f"{metric}_high", math.nan)
    if pd.isna(low) or pd.isna(high):
        return None
    return [[max(row[metric] - low, 0.0)], [max(high - row[metric], 0.0)]]


def _key(
    figure: Figure, shapes: dict[str, str], rows: pd.DataFrame, whiskers: bool, curves: Sequence[pd.DataFrame]
) -> None:
    enough = _enough(rows)
    handles = []
    if len(shapes) > 1:
        looks = {"linestyle": "none", "color": SOFT, "markersize": 7}
        handles += [Line2D([], [], marker=shape, label=name, **looks) for name, shape in shapes.items()]
    if len(rows) > _LABELS:
        handles += [Patch(color=editor_colour(e), label=editor_title(e)) for e in dict.fromkeys(rows["editor"])]
    if not enough.all():
        label = f"success clearly below {REQUIRED_SUCCESS:.0f} %"
        hollow = {"markerfacecolor": "white", "markeredgecolor": INK, "markersize": 7}
        handles.append(Line2D([], [], linestyle="none", marker="o", label=label, **hollow))
    if enough.any():
        handles.append(Line2D([], [], label="Pareto front", **_FRONT))
    if curves:
        looks = {"color": SOFT, "marker": ".", "markersize": 4, "linewidth": 1.2}
        handles.append(Line2D([], [], label="same editor, other settings", **looks))
    if whiskers:
        label = "95 % interval"
        handles.append(Line2D([], [], linestyle="none", marker="|", color=INK, markersize=11, label=label))
    small = {"fontsize": 7.5, "handlelength": 1.3, "labelspacing": 0.35} if len(rows) > _LABELS else {}
    legend_above(figure, handles, most=7, columnspacing=1.2, **small)
