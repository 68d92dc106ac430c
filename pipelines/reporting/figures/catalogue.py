"""All figures in one place: functions from a frame to a figure, and ``save`` to write one."""

from pipelines.reporting.figures.bars import table1_bars, table2_bars
from pipelines.reporting.figures.curves import tradeoff_curves
from pipelines.reporting.figures.figure2 import figure2
from pipelines.reporting.figures.importances import importances
from pipelines.reporting.figures.ranks import rank_bars
from pipelines.reporting.figures.row_bars import table3_bars, table6_bars
from pipelines.reporting.figures.saving import save
from pipelines.reporting.figures.scatter import error_drawdown_scatter, scatter
from pipelines.reporting.figures.sequences import sequence_curves
from pipelines.reporting.figures.style import editor_colour
from pipelines.reporting.figures.trainings import training_curves
from pipelines.reporting.figures.tuning import tradeoffs

__all__ = [
    "editor_colour",
    "error_drawdown_scatter",
    "figure2",
    "importances",
    "rank_bars",
    "save",
    "scatter",
    "sequence_curves",
    "table1_bars",
    "table2_bars",
    "table3_bars",
    "table6_bars",
    "tradeoff_curves",
    "tradeoffs",
    "training_curves",
]
