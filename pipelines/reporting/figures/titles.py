"""Titles of panels, broken into as many lines as it takes to stay above their own panel."""

import re
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

_SIZE = 9.0
_LINE = 1.35 * _SIZE / 72  # inches of another line


def set_titles(figure: Figure, titles: Mapping[Axes, str]) -> None:
    """Give each panel its title, no wider than the panel; the figure grows by what further lines take.

    A title is broken after spaces, commas, hyphens and underscores, within a word only where it must. Its own line
    breaks stay. Everything else that takes room must have been drawn before.
    """
    figure.draw_without_rendering()  # without titles: long ones would have part in how wide the panels are
    written = {axes: axes.set_title(title, fontsize=_SIZE, fontweight="normal") for axes, title in titles.items()}
    renderer = FigureCanvasAgg(figure).get_renderer()
    more: dict[int, int] = {}
    for axes, title in written.items():
        parts, width = titles[axes].split("\n"), 0.98 * axes.bbox.width
        lines = [line for part in parts for line in _lines(title, part, width, renderer)]
        row = axes.get_subplotspec().rowspan.start
        more[row] = max(more.get(row, 0), len(lines) - len(parts))
        title.set_text("\n".join(lines))
    figure.set_figheight(figure.get_figheight() + _LINE * sum(more.values()))


def _lines(title: Text, text: str, width: float, renderer: object) -> list[str]:
    """The text in lines of at most so many pixels, in the type of ``title``."""

    def fits(words: str) -> bool:
        title.set_text(words.rstrip())
        return title.get_window_extent(renderer).width <= width

    lines, line = [], ""
    for piece in re.findall(r"[^\s,_-]*[\s,_-]*", text):
        if not fits(line + piece) and line:
            lines, line = [*lines, line.rstrip()], ""
        while len(piece) > 1 and not fits(piece):
            end = max((end for end in range(1, len(piece)) if fits(piece[:end])), default=1)
            lines, piece = [*lines, piece[:end]], piece[end:]
        line += piece
    return [*lines, line.rstrip()]
