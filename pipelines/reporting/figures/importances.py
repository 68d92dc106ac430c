"""Which hyperparameters mattered to tuning."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.reporting.figures.style import new_figure, styled
from pipelines.reporting.figures.titles import set_titles

_BAR = "#0072B2"


@styled
def importances(series_by_study: Mapping[str, pd.Series]) -> Figure:
    """Importance of each hyperparameter (0 to 1) as horizontal bars, one panel per study.

    The keys are the panels' titles; each series is indexed by hyperparameter.

    Raises:
        ValueError: when there is no study, or a study without hyperparameters.
    """
    if not series_by_study:
        raise ValueError("importance figure: there are no studies to show")
    for study, series in series_by_study.items():
        if series.empty:
            raise ValueError(f"importance figure: study {study!r} has no hyperparameters")
    columns = min(len(series_by_study), 3)
    lines = -(-len(series_by_study) // columns)
    most = max(len(series) for series in series_by_study.values())
    figure = new_figure(height=max(2.2, lines * (0.7 + 0.32 * most) + 0.3))
    panels = figure.subplots(lines, columns, sharex=True, squeeze=False).ravel()
    for axes, series in zip(panels, series_by_study.values(), strict=False):
        _panel(axes, series.sort_values(kind="stable"), most)
    for axes in panels[len(series_by_study) :]:
        axes.set_visible(False)
    figure.supxlabel("Importance (share of the variation of the objective)", fontsize=10)
    set_titles(figure, dict(zip(panels, series_by_study, strict=False)))
    return figure


def _panel(axes: Axes, series: pd.Series, most: int) -> None:
    places = np.arange(len(series)) + most - len(series)
    bars = axes.barh(places, series.to_numpy(dtype=float), height=0.62, color=_BAR)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
    axes.set_yticks(places, list(series.index))
    axes.set_ylim(-0.6, most - 0.4)
    axes.set_xlim(0, 1.18)
    axes.set_xticks([0, 0.5, 1])
    axes.tick_params(axis="x", labelbottom=True)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
