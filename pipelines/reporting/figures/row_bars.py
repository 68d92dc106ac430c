"""Tables 3 and 6 as horizontal bars: drawdown of every row, and how good its model is before any edit."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipelines.jobs.cells import KEYS
from pipelines.reporting.figures.checks import require
from pipelines.reporting.figures.style import (
    INK,
    SOFT,
    axis_title,
    editor_colour,
    editor_title,
    layers_title,
    new_figure,
    styled,
    with_views,
)
from pipelines.reporting.tables.markdown import REQUIRED_SUCCESS, reaches_success

_LINE = 0.42
_BAR, _BELOW = 0.5, 0.3
"""Heights of a bar and of the line of published values below it, in rows: beside a bar stands its own number only."""
_COMPARABLE = 4.0


@styled
def table3_bars(frame: pd.DataFrame) -> Figure:
    """Drawdown (left) and test error (right) of each row, with 95 % intervals and the paper's values.

    ``frame`` has the columns ``training, editor, layers, drawdown, success_rate, test_error`` and, where known, their
    ``_low`` and ``_high`` and ``published_…``, one row per line of Table 3. Rows without a measured drawdown are left
    out; bars clearly below 95 % success are hatched.

    Raises:
        ValueError: when there are no rows or a column is missing.
    """
    require(frame, [*KEYS, "drawdown", "success_rate", "test_error"], "figure of Table 3")
    rows = frame[frame["drawdown"].notna()].reset_index(drop=True)
    require(rows, ["drawdown"], "figure of Table 3")
    return _bars(rows, ("drawdown", "test_error"), (axis_title("drawdown"), "Test error (%)"), _title)


@styled
def table6_bars(frame: pd.DataFrame) -> Figure:
    """BLEU drawdown (left) and test BLEU (right) of each row of Table 6, as :func:`table3_bars`.

    ``frame`` has the columns ``training, editor, layers, lr, tuned, views, bleu_drawdown, success_rate, bleu``. Layers
    are named where they are not those of the first row.

    Raises:
        ValueError: when there are no rows or a column is missing.
    """
    names = ["training", "editor", "layers", "lr", "tuned", "views", "bleu_drawdown", "success_rate", "bleu"]
    require(frame, names, "figure of Table 6")
    titles = ("BLEU drawdown (points)", "Test BLEU")
    title = partial(_title_with_rate, frame["layers"].iloc[0])
    return _bars(frame.reset_index(drop=True), ("bleu_drawdown", "bleu"), titles, title)


def _bars(
    rows: pd.DataFrame, metrics: tuple[str, str], titles: tuple[str, str], title: Callable[[pd.Series], str]
) -> Figure:
    figure = new_figure(height=1.5 + _LINE * len(rows))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    places = np.arange(len(rows), dtype=float)
    reached = reaches_success(rows)
    for place, (_, row) in zip(places, rows.iterrows(), strict=True):
        colour = editor_colour(row["editor"])
        look = {"color": colour} if reached[place] else {"facecolor": "white", "edgecolor": colour, "hatch": "////"}
        left.barh(place, row[metrics[0]], height=_BAR, **look)
    for axes, metric, label in zip((left, right), metrics, titles, strict=True):
        _scale(axes, rows, metric)
        _published(axes, places, rows, metric)
        _intervals(axes, places, rows, metric, marker=axes is right)
        axes.set_xlabel(label)
        axes.grid(False, axis="y")
    left.set_yticks(places, [title(row) for _, row in rows.iterrows()])
    left.set_ylim(len(rows) - 0.4, -0.6)
    left.tick_params(axis="y", length=0)
    right.tick_params(axis="y", length=0)
    _key(figure, rows, bool(reached.all()), metrics)
    return figure


def _title(row: pd.Series) -> str:
    parts = [row["training"], editor_title(row["editor"]), layers_title(row["layers"])]
    return " · ".join(part for part in parts if part)


def _title_with_rate(usual: str, row: pd.Series) -> str:
    layers = "" if row["layers"] == usual else row["layers"].replace("_", " ")
    rate = f"α = {row['lr']:.2g}" if np.isfinite(row["lr"]) else ""
    tuned = "tuned" if row["tuned"] else ""
    editor = with_views(editor_title(row["editor"]), row["views"])
    parts = [row["training"], editor, layers, ", ".join(filter(None, (rate, tuned)))]
    return " · ".join(filter(None, parts))


def _intervals(axes: Axes, places: np.ndarray, rows: pd.DataFrame, metric: str, marker: bool) -> None:
    for place, (_, row) in zip(places, rows.iterrows(), strict=True):
        low, high = row.get(f"{metric}_low", np.nan), row.get(f"{metric}_high", np.nan)
        if np.isfinite(low) and np.isfinite(high):
            axes.hlines(place, low, high, color=INK, linewidth=1.1, zorder=3)
        if marker:
            axes.plot(row[metric], place, marker="o", color=INK, markersize=5, zorder=4)
        if marker:
            _write(axes, f"{row[metric]:.2f}", (row[metric], place), offset=(0, 7), ha="center")
            continue
        end = high if np.isfinite(high) else row[metric]
        _write(axes, f"{row[metric]:.2f}", (end, place), offset=(6, 0), ha="left")


def _write(axes: Axes, text: str, where: tuple[float, float], offset: tuple[float, float], ha: str) -> None:
    axes.annotate(text, where, xytext=offset, textcoords="offset points", ha=ha, va="center", fontsize=9)


def _scale(axes: Axes, rows: pd.DataFrame, metric: str) -> None:
    """From zero, with room for every interval and, unless they would flatten all else, the published values."""
    furthest = np.nanmax([rows.get(f"{metric}_high", rows[metric]).max(), rows[metric].max(), 1e-9])
    published = rows.get(f"published_{metric}", pd.Series(np.nan, rows.index)).max()
    if published > _COMPARABLE * furthest:
        axes.set_xlim(0, 1.6 * furthest)  # published values are written at the end
    else:
        axes.set_xlim(0, 1.25 * np.nanmax([furthest, published]))


def _published(axes: Axes, places: np.ndarray, rows: pd.DataFrame, metric: str) -> None:
    """Hollow diamonds, each below its row; values beyond the axis, being of other data and scale, stand at its end."""
    values = rows.get(f"published_{metric}", pd.Series(np.nan, rows.index)).to_numpy(dtype=float)
    limit = axes.get_xlim()[1]
    inside = values <= limit
    looks = {"linestyle": "none", "marker": "D", "markersize": 5.5, "markerfacecolor": "white", "markeredgecolor": INK}
    axes.plot(values[inside], places[inside] + _BELOW, zorder=5, **looks)
    for place, value in zip(places[values > limit], values[values > limit], strict=True):
        axes.annotate(
            f"{value:g} →",
            (1, place + _BELOW),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="center",
            fontsize=8.5,
            color=SOFT,
        )


def _key(figure: Figure, rows: pd.DataFrame, all_reached: bool, metrics: tuple[str, str]) -> None:
    handles: list = [Line2D([], [], color=INK, label="95 % interval")]
    published = [name for name in (f"published_{metric}" for metric in metrics) if name in rows]
    if published and rows[published].notna().any().any():
        look = {"linestyle": "none", "marker": "D", "markerfacecolor": "white", "markeredgecolor": INK}
        handles.append(Line2D([], [], label="published, below its row (other data and scale)", **look))
    if not all_reached:
        label = f"success clearly below {REQUIRED_SUCCESS:.0f} %"
        handles.append(Patch(facecolor="white", edgecolor=SOFT, hatch="////", label=label))
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), columnspacing=1.4)
