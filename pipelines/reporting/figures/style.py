"""One look for all figures: size, type, and a colour per editor that colour-blind people can tell apart."""

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH, HEIGHT = 8.0, 4.5
DPI = 150
INK, SOFT, GRID = "#1d2433", "#566074", "#e3e7ee"
FEASIBLE = "#e8f3ee"

# Okabe and Ito, https://jfly.uni-koeln.de/color/
_EDITOR_COLOURS = {
    "gd": "#0072B2",
    "scaled_gd": "#56B4E9",
    "rprop": "#009E73",
    "rmsprop": "#D55E00",
    "momentum": "#CC79A7",
    "adam": "#E69F00",
    "gd_ewc": "#003D66",
    "rmsprop_ewc": "#7A3600",
    "condition_vector": "#3A3A3A",
    "flip_labels": "#8C8C8C",
    "polyak": "#7FB7DE",
    "covariance": "#B2182B",
    "fisher": "#5E3C99",
    "rank_one": "#1B7837",
    "grace": "#C2A500",
    "rehearsal": "#80CDC1",
    "interpolate": "#F4A582",
    "covariance_views": "#67001F",
    "rank_one_views": "#00441B",
    "rmsprop_views": "#FDB863",
    "rmsprop_backtracking": "#B35806",
    "covariance_lasting": "#D6604D",
}
# Paul Tol's muted scheme, https://sronpersonalpages.nl/~pault/
_OTHER_COLOURS = ("#332288", "#117733", "#882255", "#44AA99", "#999933", "#AA4499", "#DDCC77", "#CC6677")

_EDITOR_TITLES = {
    "gd": "GD",
    "scaled_gd": "Scaled GD",
    "rprop": "RProp",
    "rmsprop": "RMSProp",
    "momentum": "Momentum",
    "adam": "Adam",
    "gd_ewc": "GD + EWC",
    "rmsprop_ewc": "RMSProp + EWC",
    "condition_vector": "Condition vector",
    "flip_labels": "Flip labels",
    "polyak": "Polyak",
    "covariance": "Covariance",
    "fisher": "Natural gradient",
    "rank_one": "Rank one",
    "grace": "GRACE",
    "rehearsal": "Rehearsal",
    "interpolate": "Interpolation",
    "covariance_views": "Covariance, views",
    "covariance_lasting": "Covariance, margin and memory",
    "rank_one_views": "Rank one, views",
    "rmsprop_views": "RMSProp, views",
    "rmsprop_backtracking": "RMSProp, backtracking",
    "lookup_cache": "Lookup cache",
    "retrain": "Retraining",
}
_AXIS_TITLES = {
    "test_error": "Test error after training (%)",
    "drawdown": "Drawdown (points)",
    "drawdown_signed": "Signed drawdown (points)",
    "success_rate": "Success rate (%)",
    "num_steps": "Gradient steps per edit (mean)",
    "milliseconds": "Time per edit (ms)",
    "flip_rate": "Predictions flipped by an edit (%)",
    "generality": "Generality (%)",
    "bleu": "Test BLEU",
    "bleu_drawdown": "BLEU drawdown",
    "lr": "Learning rate",
}

_SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
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

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def styled(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Run a drawing or saving function under these settings, leaving matplotlib's own as they were."""

    @wraps(function)
    def under_settings(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        with matplotlib.rc_context({**matplotlib.rcParamsDefault, **_SETTINGS, "backend": "agg"}):
            return function(*arguments, **named)

    return under_settings


def new_figure(width: float = WIDTH, height: float = HEIGHT) -> Figure:
    """An empty figure (inches) that keeps labels inside and off each other."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def editor_colour(editor: str) -> str:
    """The editor's colour, the same in every figure; an unknown editor's follows from its name."""
    if editor in _EDITOR_COLOURS:
        return _EDITOR_COLOURS[editor]
    digest = hashlib.sha256(editor.encode()).digest()
    return _OTHER_COLOURS[digest[0] % len(_OTHER_COLOURS)]


def editor_title(editor: str) -> str:
    """The editor's name as the paper writes it; unknown ones stay as they are."""
    return _EDITOR_TITLES.get(editor, editor)


def layers_title(layers: object) -> str:
    """``all layers``, ``chain 3``, or the name as it is; nothing where a method changes no layers."""
    if not isinstance(layers, str) or not layers:
        return ""
    if layers == "all":
        return "all layers"
    return re.sub(r"^chain(\d)$", r"chain \1", layers)


def with_views(editor: str, views: int | None) -> str:
    """The editor of a row of Table 6, and how many views it was asked for, e.g. ``covariance, 4 views``."""
    return f"{editor}, {views} views" if views else editor


def naming_views(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of Table 6 whose ``editor`` says so."""
    return rows.assign(editor=[with_views(*pair) for pair in zip(rows["editor"], rows["views"], strict=True)])


def cell_title(row: Mapping[str, Any], between: str = ", ") -> str:
    """The row's ``editor`` and ``layers`` in words, e.g. ``RMSProp, chain 3``."""
    return between.join(part for part in (editor_title(row["editor"]), layers_title(row["layers"])) if part)


def axis_title(metric: str) -> str:
    """What an axis of this metric says, with its unit."""
    return _AXIS_TITLES.get(metric, metric)


def only_horizontal_grid(axes: Axes) -> None:
    """Keep the grid of the value axis of a bar plot, and no tick marks under the bars."""
    axes.grid(False, axis="x")
    axes.tick_params(axis="x", length=0)
