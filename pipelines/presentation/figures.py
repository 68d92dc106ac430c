"""All figures in one place: functions from a frame to a figure, and ``save`` to write one."""

from pipelines.presentation.bar_figures import table1_bars, table2_bars
from pipelines.presentation.curve_figure import tradeoff_curves
from pipelines.presentation.descriptor_figures import figure2
from pipelines.presentation.importance_figure import importances
from pipelines.presentation.rank_figure import rank_bars
from pipelines.presentation.row_bars import table3_bars, table6_bars
from pipelines.presentation.saving import save
from pipelines.presentation.scatter_figures import error_drawdown_scatter, scatter
from pipelines.presentation.sequence_figure import sequence_curves
from pipelines.presentation.style import editor_colour
from pipelines.presentation.training_figures import training_curves
from pipelines.presentation.tuning_figures import tradeoffs

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
