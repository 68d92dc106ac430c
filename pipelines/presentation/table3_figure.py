"""Table 3 as horizontal bars: drawdown of every way to edit, and what each costs in test error."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipelines.presentation.checks import require
from pipelines.presentation.style import (
    INK,
    SOFT,
    axis_title,
    editor_colour,
    editor_title,
    layers_title,
    new_figure,
    styled,
)
from pipelines.presentation.tables import REQUIRED_SUCCESS, reaches_success

_LINE = 0.42


@styled
def table3_bars(frame: pd.DataFrame) -> Figure:
    """Drawdown (left) and test error (right) of each row, with 95 % intervals and the paper's values.

    ``frame`` has the columns ``training, editor, layers, drawdown, success_rate, test_error`` and, where known, their
    ``_low`` and ``_high`` and ``published_…``, one row per line of Table 3. Rows without a measured drawdown are left
    out; bars clearly below 95 % success are hatched.

    Raises:
        ValueError: when there are no rows or a column is missing.
    """
    require(frame, ["training", "editor", "layers", "drawdown", "success_rate", "test_error"], "figure of Table 3")
    rows = frame[frame["drawdown"].notna()].reset_index(drop=True)
    require(rows, ["drawdown"], "figure of Table 3")
    figure = new_figure(height=1.5 + _LINE * len(rows))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    places = np.arange(len(rows), dtype=float)
    reached = reaches_success(rows)
    for place, (_, row) in zip(places, rows.iterrows(), strict=True):
        colour = editor_colour(row["editor"])
        look = {"color": colour} if reached[place] else {"facecolor": "white", "edgecolor": colour, "hatch": "////"}
        left.barh(place, row["drawdown"], height=0.62, **look)
    for axes, metric in ((left, "drawdown"), (right, "test_error")):
        _intervals(axes, places, rows, metric, marker=metric == "test_error")
        _published(axes, places, rows, metric)
        axes.set_xlabel(axis_title(metric))
        axes.set_xlim(left=0)
        axes.grid(False, axis="y")
    left.set_yticks(places, [_title(row) for _, row in rows.iterrows()])
    left.set_ylim(len(rows) - 0.4, -0.6)
    left.tick_params(axis="y", length=0)
    right.tick_params(axis="y", length=0)
    _key(figure, rows, bool(reached.all()))
    return figure


def _title(row: pd.Series) -> str:
    parts = [row["training"], editor_title(row["editor"]), layers_title(row["layers"])]
    return " · ".join(part for part in parts if part)


def _intervals(axes: Axes, places: np.ndarray, rows: pd.DataFrame, metric: str, marker: bool) -> None:
    for place, (_, row) in zip(places, rows.iterrows(), strict=True):
        low, high = row.get(f"{metric}_low", np.nan), row.get(f"{metric}_high", np.nan)
        if np.isfinite(low) and np.isfinite(high):
            axes.hlines(place, low, high, color=INK, linewidth=1.1, zorder=3)
        if marker:
            axes.plot(row[metric], place, marker="o", color=INK, markersize=5, zorder=4)
        end = high if np.isfinite(high) else row[metric]
        axes.annotate(
            f"{row[metric]:.2f}",
            (end, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    furthest = np.nanmax([rows.get(f"{metric}_high", rows[metric]).max(), rows[metric].max()])
    axes.set_xlim(0, 1.22 * furthest if furthest > 0 else 1)


def _published(axes: Axes, places: np.ndarray, rows: pd.DataFrame, metric: str) -> None:
    """Hollow diamonds; values beyond the axis stand at its end, as they are of other data and scale."""
    values = rows.get(f"published_{metric}", pd.Series(np.nan, rows.index)).to_numpy(dtype=float)
    limit = axes.get_xlim()[1]
    inside = values <= limit
    looks = {"linestyle": "none", "marker": "D", "markersize": 5.5, "markerfacecolor": "white", "markeredgecolor": INK}
    axes.plot(values[inside], places[inside], zorder=5, **looks)
    for place, value in zip(places[values > limit], values[values > limit], strict=True):
        axes.annotate(
            f"{value:g} →",
            (1, place),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="center",
            fontsize=8.5,
            color=SOFT,
        )


def _key(figure: Figure, rows: pd.DataFrame, all_reached: bool) -> None:
    handles: list = [Line2D([], [], color=INK, label="95 % interval")]
    published = [name for name in ("published_drawdown", "published_test_error") if name in rows]
    if published and rows[published].notna().any().any():
        look = {"linestyle": "none", "marker": "D", "markerfacecolor": "white", "markeredgecolor": INK}
        handles.append(Line2D([], [], label="published (other data and scale)", **look))
    if not all_reached:
        label = f"success clearly below {REQUIRED_SUCCESS:.0f} %"
        handles.append(Patch(facecolor="white", edgecolor=SOFT, hatch="////", label=label))
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), columnspacing=1.4)
