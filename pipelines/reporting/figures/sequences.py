"""Edits in a row: error and share of edits in force against the number of edits, a curve per model and editor."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipelines.jobs.cells import KEYS
from pipelines.reporting.figures.checks import require
from pipelines.reporting.figures.style import editor_title, layers_title, new_figure, styled

# Okabe and Ito; black last, as it draws the eye.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#1d2433")
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
"""One for each training: which model a curve is of shows without colour, too."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_MARKED = 7  # of each curve, at places of its own, so that curves that coincide all show
_PANELS = {"error": "Error on images that are not edited (%)", "in_force": "Edits so far that are in force (%)"}
_ROW = 0.24  # inches of a row of the legend


@styled
def sequence_curves(frame: pd.DataFrame) -> Figure:
    """A curve per training, editor and part: the mean over orders of the edits, with a band of ± 1 standard deviation.

    ``frame`` has the columns ``training, editor, layers, edits, error, error_std, in_force, in_force_std``, one row for
    each number of edits from 0 on.

    Raises:
        ValueError: when there are no rows or a column is missing.
    """
    spreads = [f"{name}_std" for name in _PANELS]
    require(frame, [*KEYS, "edits", *_PANELS, *spreads], "edits in a row")
    groups = list(frame.groupby(KEYS, sort=False))
    trainings = list(dict.fromkeys(frame["training"]))
    lines = -(-len(groups) // 2)
    figure = new_figure(height=3.9 + _ROW * lines)
    panels = figure.subplots(ncols=len(_PANELS))
    every = max(len(groups), int(frame["edits"].max()) // _MARKED)
    handles = []
    for place, ((training, editor, layers), rows) in enumerate(groups):
        look = {
            "color": _COLOURS[place % len(_COLOURS)],
            "linestyle": _DASHES[trainings.index(training) % len(_DASHES)],
            "marker": _MARKERS[(place + place // len(_COLOURS)) % len(_MARKERS)],
            "markersize": 5.5,
            "linewidth": 2,
        }
        rows = rows.sort_values("edits")
        where = (1 + place * every // len(groups), every)
        for axes, name in zip(panels, _PANELS, strict=True):
            spread = rows[f"{name}_std"].fillna(0)
            low, high = (rows[name] - spread).clip(lower=0), (rows[name] + spread).clip(upper=100)
            axes.fill_between(rows["edits"], low, high, color=look["color"], alpha=0.15, linewidth=0)
            axes.plot(rows["edits"], rows[name], markevery=where, **look)
        label = " · ".join(part for part in (training, editor_title(editor), layers_title(layers)) if part)
        handles.append(Line2D([], [], label=label, **look))
    for axes, title in zip(panels, _PANELS.values(), strict=True):
        axes.set_xlabel("Edits in a row")
        axes.set_title(title, fontsize=10)
        axes.set_xlim(0, frame["edits"].max())
        axes.margins(y=0.02)
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
    panels[1].set_ylim(0, 102)
    figure.legend(handles=handles, loc="outside lower center", ncols=2, handlelength=3)
    return figure
