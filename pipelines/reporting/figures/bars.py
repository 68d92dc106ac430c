"""Tables 1 and 2 as bars: drawdown with its 95 % interval, the paper's value beside it."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipelines.reporting.figures.checks import require
from pipelines.reporting.figures.style import (
    INK,
    SOFT,
    WIDTH,
    axis_title,
    cell_title,
    editor_colour,
    editor_title,
    layers_title,
    new_figure,
    only_horizontal_grid,
    styled,
)
from pipelines.reporting.tables.markdown import REQUIRED_SUCCESS, reaches_success

_LAYERS = ("all", "chain1", "chain2", "chain3", "chain4", "extra")
# A published value further above our highest bar than this would flatten all bars: it becomes an arrow.
_COMPARABLE = 2.0
# Names of more bars than these are tilted, so that the picture need not be so wide that a page shrinks it.
_UPRIGHT = 9


@styled
def table1_bars(frame: pd.DataFrame) -> Figure:
    """Drawdown per editor with its best layers, and the success rate below.

    ``frame`` has the columns ``editor, layers, drawdown, success_rate`` and, where known, their ``_low`` and
    ``_high`` (95 %) and ``published_drawdown``, one row per editor. Bars of editors below 95 % success are
    hatched.

    Raises:
        ValueError: when there are no rows or a column is missing.
    """
    require(frame, ["editor", "layers", "drawdown", "success_rate"], "figure of Table 1")
    crowded = len(frame) > _UPRIGHT
    figure = new_figure(width=max(WIDTH, (0.7 if crowded else 1.25) * len(frame)), height=6.2 if crowded else 5.0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    places = np.arange(len(frame), dtype=float)
    colours = [editor_colour(editor) for editor in frame["editor"]]

    _bars(above, places, frame, colours, width=0.56)
    _published(above, places + 0.37, frame)
    above.set_ylabel(axis_title("drawdown"))
    only_horizontal_grid(above)
    _key(figure, frame, above)

    for place, (_, row), colour in zip(places, frame.iterrows(), colours, strict=True):
        enough = bool(reaches_success(row.to_frame().T).iloc[0])
        low, high = _whiskers(row.to_frame().T, "success_rate")
        rate = row["success_rate"]
        below.vlines(place, rate - low, rate + high, color=INK, linewidth=1.1)
        below.plot(
            place,
            rate,
            marker="o",
            color=colour,
            markerfacecolor=colour if enough else "white",
            markersize=7,
            markeredgewidth=1.6,
        )
    below.axhline(REQUIRED_SUCCESS, color=SOFT, linestyle="--", linewidth=1)
    below.annotate(
        f"{REQUIRED_SUCCESS:.0f} %",
        (1, REQUIRED_SUCCESS),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color=SOFT,
        fontsize=9,
    )
    lowest = np.nanmin([REQUIRED_SUCCESS, *_column(frame, "success_rate"), *_column(frame, "success_rate_low")])
    below.set_ylim(lowest - 0.15 * (100 - lowest), 100 + 0.12 * (100 - lowest))
    below.set_yticks(_success_ticks(lowest))
    below.set_ylabel("Success (%)")
    only_horizontal_grid(below)
    rows = frame.to_dict("records")
    if crowded:
        titles = [cell_title(row) for row in rows]
        below.set_xticks(places, titles, rotation=35, ha="right", rotation_mode="anchor")
    else:
        below.set_xticks(places, [cell_title(row, "\n").replace(", ", ",\n") for row in rows])
    below.set_xlim(-0.6, len(frame) - 0.4)
    return figure


@styled
def table2_bars(frame: pd.DataFrame) -> Figure:
    """Drawdown of each editor side by side for every editable part of the model.

    ``frame`` has the columns ``editor, layers, drawdown`` and, where known, ``drawdown_low``,
    ``drawdown_high`` (95 %), ``success_rate`` and ``published_drawdown``, one row per pair. Bars below 95 %
    success are hatched.

    Raises:
        ValueError: when there are no rows or a column is missing.
    """
    require(frame, ["editor", "layers", "drawdown"], "figure of Table 2")
    editors = list(dict.fromkeys(frame["editor"]))
    layers = sorted(dict.fromkeys(frame["layers"]), key=_layer_order)
    figure = new_figure()
    axes = figure.subplots()
    step = 0.84 / len(editors)
    for number, editor in enumerate(editors):
        rows = frame[frame["editor"] == editor]
        groups = np.array([layers.index(name) for name in rows["layers"]], dtype=float)
        places = groups + (number - (len(editors) - 1) / 2) * step
        _bars(axes, places - 0.09 * step, rows, [editor_colour(editor)] * len(rows), width=0.62 * step)
        _published(axes, places + 0.36 * step, rows, top=_top(frame))
    axes.set_xticks(range(len(layers)), [layers_title(name) or "none" for name in layers])
    axes.set_xlim(-0.55, len(layers) - 0.45)
    axes.set_ylabel(axis_title("drawdown"))
    axes.set_ylim(0, _top(frame))
    only_horizontal_grid(axes)
    swatches = [Patch(facecolor=editor_colour(editor), label=editor_title(editor)) for editor in editors]
    _key(figure, frame, axes, swatches)
    return figure


def _bars(axes: Axes, places: np.ndarray, rows: pd.DataFrame, colours: Sequence[str], width: float) -> BarContainer:
    below = ~reaches_success(rows) if "success_rate" in rows else [False] * len(rows)
    heights = _column(rows, "drawdown")
    bars = axes.bar(places, heights, width=width, color=colours)
    for bar, colour, hatched in zip(bars, colours, below, strict=True):
        if hatched:
            bar.set(facecolor="white", edgecolor=colour, hatch="////", linewidth=1.2)
    known = np.isfinite(heights)
    whiskers = _whiskers(rows, "drawdown")
    axes.errorbar(
        places[known],
        heights[known],
        yerr=whiskers[:, known],
        fmt="none",
        ecolor=INK,
        elinewidth=1.1,
        capsize=3,
    )
    for place, height, whisker in zip(places[known], heights[known], whiskers[1, known], strict=True):
        axes.annotate(
            _short(height),
            (place, height + (0 if math.isnan(whisker) else whisker)),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=9,
        )
    axes.set_ylim(0, _top(rows))
    return bars


def _published(axes: Axes, places: np.ndarray, rows: pd.DataFrame, top: float | None = None) -> None:
    """Hollow diamonds at the paper's values; those beyond the axis become arrows with the number."""
    top = _top(rows) if top is None else top
    values = _column(rows, "published_drawdown")
    shown = values <= top
    if shown.any():
        axes.plot(
            places[shown],
            values[shown],
            linestyle="none",
            marker="D",
            markersize=6,
            markerfacecolor="white",
            markeredgecolor=INK,
            markeredgewidth=1.3,
            label="published",
        )
    for place, value in zip(places[values > top], values[values > top], strict=True):
        axes.annotate(
            f"{value:g}",
            (place, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, -26),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=8.5,
            color=SOFT,
            arrowprops={"arrowstyle": "-|>", "edgecolor": INK, "facecolor": INK, "shrinkA": 0, "shrinkB": 0},
        )


def _key(figure: Figure, frame: pd.DataFrame, axes: Axes, swatches: Sequence[Patch] = ()) -> None:
    handles: list[Patch | Line2D] = list(swatches)
    published = _column(frame, "published_drawdown")
    if np.isfinite(published).any():
        beyond = bool((published > _top(frame)).any())
        label = "published (other data and scale)" + (", ↑ beyond the axis" if beyond else "")
        handles.append(
            Line2D(
                [],
                [],
                linestyle="none",
                marker="D",
                markerfacecolor="white",
                markeredgecolor=INK,
                label=label,
            )
        )
    if "success_rate" in frame and not reaches_success(frame).all():
        label = f"success clearly below {REQUIRED_SUCCESS:.0f} %"
        handles.append(Patch(facecolor="white", edgecolor=SOFT, hatch="////", label=label))
    if np.isfinite(_whiskers(frame, "drawdown")).any():
        handles.append(Line2D([], [], linestyle="none", marker="|", color=INK, markersize=11, label="95 % interval"))
    if handles:
        figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), columnspacing=1.4)


def _top(frame: pd.DataFrame) -> float:
    """The upper end of the axis: room for every bar, whisker and comparable published value."""
    measured = [*_column(frame, "drawdown"), *_column(frame, "drawdown_high")]
    highest = max((value for value in measured if math.isfinite(value)), default=0.0)
    published = [value for value in _column(frame, "published_drawdown") if math.isfinite(value)]
    comparable = [value for value in published if value <= _COMPARABLE * highest or highest == 0.0]
    return 1.18 * max([highest, *comparable]) or 1.0


def _whiskers(rows: pd.DataFrame, metric: str) -> np.ndarray:
    """Distances (2, N) from the value to the ends of its interval, NaN where there is none."""
    value = _column(rows, metric)
    ends = np.stack([value - _column(rows, f"{metric}_low"), _column(rows, f"{metric}_high") - value])
    return np.clip(ends, 0, None)


def _column(frame: pd.DataFrame, name: str) -> np.ndarray:
    """The column as floats, NaN throughout where the frame has none."""
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    return frame[name].to_numpy(dtype=float, na_value=np.nan)


def _success_ticks(lowest: float) -> np.ndarray:
    """Down from 100 % in at most four even steps; by fives, which have the required success, as long as they reach."""
    step = next(step for step in (5, 10, 20, 25, 50) if 100 - lowest <= 4 * step or step == 50)
    return np.arange(100, lowest - 0.15 * (100 - lowest), -step)[::-1]


def _layer_order(name: str) -> tuple[int, str]:
    return (_LAYERS.index(name) if name in _LAYERS else len(_LAYERS), name)


def _short(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
