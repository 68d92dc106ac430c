"""One look for all figures: size, type, names in words, a colour and a marker for each editor; and writing them."""

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks.files import write_atomically
from pipelines.store.layout import KEYS

WIDTH, HEIGHT = 8.0, 4.5
DPI = 150
MOST_NAMES = 12
"""So many entries a legend may have, and so many points a label of their own: nobody looks up more."""
INK, SOFT, GRID, FEASIBLE = "#1d2433", "#566074", "#e3e7ee", "#e8f3ee"
BACKING = {"boxstyle": "square,pad=0.08", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
HOLLOW = {"linestyle": "none", "markerfacecolor": "white", "markeredgecolor": INK}
RING = {"marker": "o", "markersize": 12, "markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 1.6}
OTHER = "#C4C9D2"
"""Of what is shown without a name."""
_CURVES = MOST_NAMES - 1  # that are told apart: an entry is left for what else a key must say
_FONT = "DejaVu Sans"


class Look(NamedTuple):
    """How an editor is written and drawn, the same in every figure."""

    title: str
    colour: str
    marker: str


# The first six colours are those of Okabe and Ito, https://jfly.uni-koeln.de/color/
_EDITORS = {
    "gd": Look("GD", "#0072B2", "o"),
    "scaled_gd": Look("Scaled GD", "#56B4E9", "s"),
    "rprop": Look("RProp", "#009E73", "^"),
    "rmsprop": Look("RMSProp", "#D55E00", "D"),
    "momentum": Look("Momentum", "#CC79A7", "v"),
    "adam": Look("Adam", "#E69F00", "P"),
    "gd_ewc": Look("GD + EWC", "#003D66", "h"),
    "rmsprop_ewc": Look("RMSProp + EWC", "#7A3600", "X"),
    "condition_vector": Look("Condition vector", "#3A3A3A", "*"),
    "flip_labels": Look("Flip labels", "#8C8C8C", "p"),
    "polyak": Look("Polyak", "#7FB7DE", "<"),
    "covariance": Look("Covariance", "#B2182B", "o"),
    "fisher": Look("Natural gradient", "#5E3C99", "s"),
    "rank_one": Look("Rank one", "#1B7837", "D"),
    "minimal_repair": Look("Minimal repair", "#762A83", "s"),
    "grace": Look("GRACE", "#C2A500", "^"),
    "rehearsal": Look("Rehearsal", "#80CDC1", "v"),
    "interpolate": Look("Interpolation", "#F4A582", ">"),
    "covariance_views": Look("Covariance, views", "#67001F", "P"),
    "covariance_lasting": Look("Covariance, margin and memory", "#D6604D", "p"),
    "rank_one_views": Look("Rank one, views", "#00441B", "X"),
    "rmsprop_views": Look("RMSProp, views", "#FDB863", "*"),
    "rmsprop_backtracking": Look("RMSProp, backtracking", "#B35806", "h"),
    "lookup_cache": Look("Lookup cache", "#882255", "d"),
    "retrain": Look("Retraining", "#DDCC77", "H"),
}
# Paul Tol's muted scheme, https://sronpersonalpages.nl/~pault/: for editors not listed, trainings, classes.
MUTED = ("#CC6677", "#332288", "#BBA030", "#117733", "#4FA8D8", "#882255", "#44AA99", "#87872B", "#AA4499", "#666666")
_MARKERS = "osD^vP*Xhp<>dH"

_SETTINGS: dict[str, Any] = {
    "font.family": _FONT,
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a name with dollar signs is a name
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "hatch.linewidth": 0.8,
    # The same data must give the same bytes; without this, matplotlib salts ids in SVG files at random.
    "svg.hashsalt": "editable-neural-networks",
    "svg.fonttype": "path",
}
# Whatever says when, or by which version, would change the bytes of an unchanged figure.
_METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}

styled = matplotlib.rc_context({**matplotlib.rcParamsDefault, **_SETTINGS, "backend": "agg"})
"""Decorates a function that draws or saves: it runs under these settings, and leaves matplotlib's own as they were."""


def new_figure(width: float = WIDTH, height: float = HEIGHT) -> Figure:
    """An empty figure (inches) that keeps labels inside and off each other."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def settle(figure: Figure) -> FigureCanvasAgg:
    """Lay the figure out for good, so that what is placed by pixels stays where it is put; returns its canvas."""
    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return FigureCanvasAgg(figure)


@styled
def save(figure: Figure, path_without_suffix: Path | str, kinds: Sequence[str] = ("png", "svg")) -> tuple[Path, ...]:
    """Write ``<path>.png`` (150 dpi) and ``<path>.svg`` and return their paths; missing folders are made.

    A file that holds these bytes already is left alone.
    """
    # Automatic layout moves things a little further each time it runs; one run must do for both files.
    settle(figure)
    stem = Path(path_without_suffix)
    written = []
    for kind in kinds:
        content, target = io.BytesIO(), stem.with_name(f"{stem.name}.{kind}")
        figure.savefig(content, format=kind, dpi=DPI, metadata=_METADATA[kind])
        if not target.exists() or target.read_bytes() != content.getvalue():
            write_atomically(target, content.getvalue())
        written.append(target)
    return tuple(written)


def legend_above(figure: Figure, handles: Sequence[Artist], most: int = 5, **looks: Any) -> Legend | None:
    """Write the key at the upper left, in at most so many columns and no wider than the figure if one column is not."""
    renderer, legend = FigureCanvasAgg(figure).get_renderer(), None
    for columns in range(min(len(handles), most), 0, -1):
        legend = figure.legend(handles=handles, loc="outside upper left", ncols=columns, columnspacing=1.4, **looks)
        if legend.get_window_extent(renderer).width <= 0.99 * figure.bbox.width or columns == 1:
            break
        legend.remove()
    return legend


def marker_entry(label: str, marker: str = "o", **looks: Any) -> Line2D:
    """An entry of a legend: a marker without a line."""
    return Line2D([], [], label=label, **{"linestyle": "none", "marker": marker, "color": SOFT} | looks)


def editor_look(editor: str) -> Look:
    """The editor's title, colour and marker; one that is not listed looks like the one that its name begins with.

    ``rmsprop_1e-3`` is written ``RMSProp, 1e-3`` in RMSProp's colour; any other look follows from the name.
    """
    if editor in _EDITORS:
        return _EDITORS[editor]
    digest = hashlib.sha256(editor.encode()).digest()
    marker = _MARKERS[digest[1] % len(_MARKERS)]
    known = max((name for name in _EDITORS if editor.startswith(f"{name}_")), key=len, default=None)
    if known is None:
        return Look(shown(editor), MUTED[digest[0] % len(MUTED)], marker)
    rest = shown(editor[len(known) + 1 :].replace("_", " "))
    return Look(f"{_EDITORS[known].title}, {rest}", _EDITORS[known].colour, marker)


def layers_title(layers: object) -> str:
    """``all layers``, ``chain 3``, or the name with spaces; nothing where a method changes no layers."""
    if not isinstance(layers, str) or not layers:
        return ""
    if layers == "all":
        return "all layers"
    return shown(re.sub(r"^chain(\d)$", r"chain \1", layers).replace("_", " "))


def row_title(row: Mapping[str, Any], between: str = " · ", training: bool = True) -> str:
    """A row's ``training, editor, layers`` in words, e.g. ``plain · RMSProp · chain 3``."""
    parts = [shown(row["training"]) if training else "", editor_look(row["editor"]).title, layers_title(row["layers"])]
    return between.join(filter(None, parts))


def logarithmic(axis: Axis, subs: Sequence[float], **more: Any) -> None:
    """Give an axis a logarithmic scale with plain numbers, at these multiples of powers of ten."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(LogLocator(subs=subs, **more))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def curves(frame: pd.DataFrame) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The look and the rows of each training, editor and part."""
    groups = (rows for _, rows in frame.groupby(KEYS, sort=False, dropna=False))
    return list(zip(curve_looks(frame), groups, strict=True))


def curve_looks(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A look for the curve of each ``training, editor, layers``; of many, the last are grey.

    The colour and marker are the editor's, and curves of one colour differ in their dashes; where there is no other
    editor, the colour tells the training.
    """
    rows = frame[KEYS].drop_duplicates()
    several = rows["editor"].nunique() > 1
    trainings = list(dict.fromkeys(rows["training"]))
    looks: list[dict[str, Any]] = []
    for place, (training, editor) in enumerate(zip(rows["training"], rows["editor"], strict=True)):
        colour = editor_look(editor).colour if several else MUTED[1:][trainings.index(training) % (len(MUTED) - 1)]
        colour = OTHER if len(rows) > _CURVES and place >= _CURVES - 1 else colour
        marker = editor_look(editor).marker if several else _MARKERS[place % len(_MARKERS)]
        dashes = sum(look["color"] == colour for look in looks) if several else place
        looks.append({"color": colour, "marker": marker, "linestyle": DASHES[dashes % len(DASHES)]})
    return looks


def curve_keys(frame: pd.DataFrame, **looks: Any) -> list[Line2D]:
    """Entries of a legend for the curves of a frame, at most 11."""
    keys = [Line2D([], [], label=row_title(rows.iloc[0]), **look | looks) for look, rows in curves(frame)]
    if len(keys) <= _CURVES:
        return keys
    return [*keys[: _CURVES - 1], Line2D([], [], color=OTHER, label=f"{len(keys) - _CURVES + 1} more")]


def shown(name: object, most: int = 200) -> str:
    """A name that came from outside as a line of at most so many letters; what the font lacks is written ``U+72AC``."""
    text = "".join(letter if ord(letter) in _glyphs() else f"U+{ord(letter):04X}" for letter in str(name))
    text = " ".join(text.split())
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    return f"\u200b{text}" if text.startswith("_") else text  # legends leave out what begins with an underscore


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(_FONT)).get_charmap()) | frozenset(map(ord, "\t\n\r"))
