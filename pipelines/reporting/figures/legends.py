"""Keys above a figure, in as many columns as there is room for."""

from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend


def legend_above(figure: Figure, handles: Sequence[Artist], most: int = 5, **looks: Any) -> Legend:
    """Write the key at the upper left, in at most so many columns and no wider than the figure if one column is not."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    for columns in range(min(len(handles), most), 0, -1):
        legend = figure.legend(handles=handles, loc="outside upper left", ncols=columns, **looks)
        if legend.get_window_extent(renderer).width <= 0.99 * figure.bbox.width or columns == 1:
            break
        legend.remove()
    return legend
