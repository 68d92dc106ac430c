"""Trade-off curves: drawdown against success over the learning rate, one curve per model."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipelines.jobs.cells import KEYS
from pipelines.reporting.figures.checks import require
from pipelines.reporting.figures.style import (
    FEASIBLE,
    INK,
    SOFT,
    axis_title,
    editor_title,
    layers_title,
    new_figure,
    styled,
)
from pipelines.reporting.tables.markdown import REQUIRED_SUCCESS

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


@styled
def tradeoff_curves(frame: pd.DataFrame) -> Figure:
    """A curve per model: each point is all edits with one learning rate, the tuned one is ringed.

    ``frame`` has the columns ``training, editor, layers, factor, drawdown, success_rate`` and, where known,
    ``drawdown_low`` and ``drawdown_high`` (95 %). At the same success the lower curve is the better model, whatever
    was tuned.

    Raises:
        ValueError: when there are no rows or a column is missing.
    """
    require(frame, [*KEYS, "factor", "drawdown", "success_rate"], "trade-off curves")
    figure = new_figure()
    axes = figure.subplots()
    lowest = frame["success_rate"].min()
    axes.set_xlim(lowest - 0.03 * (100 - lowest), 100 + 0.02 * (100 - lowest))
    axes.axvspan(REQUIRED_SUCCESS, axes.get_xlim()[1], color=FEASIBLE, zorder=0)
    axes.axvline(REQUIRED_SUCCESS, color=SOFT, linestyle="--", linewidth=1)
    handles = []
    for place, (names, rows) in enumerate(frame.groupby(KEYS, sort=False)):
        colour = _COLOURS[place % len(_COLOURS)]
        rows = rows.sort_values("factor")
        axes.plot(rows["success_rate"], rows["drawdown"], color=colour, marker="o", markersize=5, zorder=3)
        if "drawdown_low" in rows:
            axes.vlines(rows["success_rate"], rows["drawdown_low"], rows["drawdown_high"], color=colour, alpha=0.45)
        tuned = rows[rows["factor"] == 1]
        ring = {"facecolors": "none", "edgecolors": INK, "linewidths": 1.5, "zorder": 4}
        axes.scatter(tuned["success_rate"], tuned["drawdown"], s=150, **ring)
        training, editor, layers = names
        label = " · ".join([training, editor_title(editor), layers_title(layers)])
        handles.append(Line2D([], [], color=colour, marker="o", markersize=5, label=label))
    ring = {"markerfacecolor": "none", "markeredgecolor": INK, "markersize": 11, "markeredgewidth": 1.5}
    handles.append(Line2D([], [], linestyle="none", marker="o", label="tuned learning rate", **ring))
    axes.set_ylim(bottom=0)
    axes.set_xlabel(axis_title("success_rate"))
    axes.set_ylabel(axis_title("drawdown"))
    axes.legend(handles=handles, loc="upper left")
    return figure
