"""Figures as pure functions of frames: what is drawn follows from the data and the titles that are passed, no more.

Every function returns a figure of matplotlib's, :func:`save` writes one; equal data gives equal bytes.
"""

from pipelines.reporting.figures.bars import table_bars
from pipelines.reporting.figures.classes import figure2
from pipelines.reporting.figures.curves import rank_bars, sequence_curves, tradeoff_curves, training_curves
from pipelines.reporting.figures.points import scatter
from pipelines.reporting.figures.saving import save
from pipelines.reporting.figures.style import editor_colour, editor_title, new_figure, styled
from pipelines.reporting.figures.tuning import tuning_panels

__all__ = [
    "editor_colour",
    "editor_title",
    "figure2",
    "new_figure",
    "rank_bars",
    "save",
    "scatter",
    "sequence_curves",
    "styled",
    "table_bars",
    "tradeoff_curves",
    "training_curves",
    "tuning_panels",
]
