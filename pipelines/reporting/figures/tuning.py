"""What a tuning study saw: drawdown against success."""

from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from pipelines.reporting.figures.checks import require
from pipelines.reporting.figures.labels import place_labels, settle
from pipelines.reporting.figures.legends import legend_above
from pipelines.reporting.figures.style import FEASIBLE, HEIGHT, INK, SOFT, axis_title, new_figure, styled
from pipelines.reporting.figures.titles import set_titles
from pipelines.reporting.tables.markdown import REQUIRED_SUCCESS

_PLAIN = "#0072B2"
_EDGE = 0.045  # how high above a panel's lower edge a text begins, as a share of its height
_LOWEST = 0.09  # of a panel's height: room for the ring around a trial with a drawdown of 0
_RING, _CROSS = 8.5, 4.5  # how far the ring and a trial's mark reach from their middle, in 1/72 inch
_DIAMOND = {"marker": "D", "markersize": 5, "markerfacecolor": "white", "markeredgecolor": INK, "markeredgewidth": 1.1}
_WIDE = 10  # from this ratio of the largest to the smallest drawdown on, their scale is logarithmic


@styled
def tradeoffs(
    studies: Mapping[str, pd.DataFrame],
    threshold: float = REQUIRED_SUCCESS,
    *,
    colour: str = "lr",
    title: str | None = None,
) -> Figure:
    """Drawdown against success for the trials of some studies, a panel for each: feasible region shaded, chosen trial
    ringed.

    The keys are the panels' titles. Each frame has the columns ``number, success_rate, drawdown, feasible, chosen``
    (%, points) and the hyperparameters. ``colour`` names the hyperparameter that colours the points, on a logarithmic
    scale that all panels share; where there is none all points look alike. A diamond is ``rescored``, where that is
    known: the drawdown of a finalist on all control images (decides), so the ring and its number are there.

    Raises:
        ValueError: when there is no study, one has no trials, or a column is missing.
    """
    if not studies:
        raise ValueError("trade-off figure: there are no studies to show")
    for study, trials in studies.items():
        require(trials, ["number", "success_rate", "drawdown", "feasible", "chosen"], f"trade-off figure, {study!r}")
    together = pd.concat(studies.values(), ignore_index=True)
    norm = _norm(together, colour)
    columns = min(len(studies), 3)
    lines = -(-len(studies) // columns)
    figure = new_figure(height=HEIGHT if columns == 1 else 0.9 + 2.4 * lines)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, trials in zip(panels, studies.values(), strict=False):
        _study_panel(axes, trials, threshold, colour, norm)
    for axes in panels[len(studies) :]:
        axes.set_visible(False)
    figure.supxlabel(axis_title("success_rate"), fontsize=10)
    figure.supylabel(axis_title("drawdown"), fontsize=10)
    if norm is not None:
        mappable = matplotlib.cm.ScalarMappable(norm=norm, cmap="viridis")
        bar = figure.colorbar(mappable, ax=list(panels), pad=0.02, aspect=28)
        bar.set_label(axis_title(colour))
        bar.outline.set_visible(False)
    _key(figure, together, threshold, title)
    set_titles(figure, dict(zip(panels, studies, strict=False)))
    settle(figure)
    for axes, trials in zip(panels, studies.values(), strict=False):
        _write(figure, axes, trials, threshold)
    return figure


def _study_panel(axes: Axes, trials: pd.DataFrame, threshold: float, colour: str, norm: LogNorm | None) -> None:
    width = 100 - _lowest_success(trials, threshold)
    axes.set_xlim(100 - 1.04 * width, 100 + 0.09 * width)
    axes.axvspan(threshold, axes.get_xlim()[1], color=FEASIBLE, zorder=0)
    axes.axvline(threshold, color=SOFT, linestyle="--", linewidth=1)
    shown = trials[trials["success_rate"] > axes.get_xlim()[0]]
    for feasible, marker in ((True, "o"), (False, "X")):
        rows = shown[shown["feasible"].astype(bool) == feasible]
        if not rows.empty:
            _points(axes, rows, marker, colour, norm)
    _rescored(axes, shown)
    _ring(axes, shown[shown["chosen"].astype(bool)])
    axes.xaxis.set_major_locator(MaxNLocator(4))
    drawdowns = pd.concat([shown["drawdown"], _decisive(shown)])
    if shown.empty:
        axes.set_ylim(0, 1)
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no trial succeeded\noften enough", transform=axes.transAxes, ha="center", va="center")
    elif drawdowns.max() > _WIDE * drawdowns.min() > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=5))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.margins(y=0.12)
    else:
        top = 1.12 * max(drawdowns.max(), 0.1)
        # Markers at zero stand whole above the edge; steps this large put no tick below zero.
        axes.set_ylim(-_LOWEST * top if drawdowns.min() < _LOWEST * top else 0, top)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))


def _lowest_success(trials: pd.DataFrame, threshold: float) -> float:
    """Where a panel begins: at its worst trial, but not far from the required success, where trials are compared."""
    return float(np.clip(trials["success_rate"].min(), threshold - 35, threshold - 5))


def _norm(trials: pd.DataFrame, colour: str) -> LogNorm | None:
    if colour not in trials.columns or not (trials[colour] > 0).any():
        return None
    low, high = float(trials[colour].min()), float(trials[colour].max())
    return LogNorm(low, high) if low < high else LogNorm(low / 2, high * 2)


def _points(axes: Axes, rows: pd.DataFrame, marker: str, colour: str, norm: LogNorm | None) -> None:
    looks = {"color": _PLAIN} if norm is None else {"c": rows[colour], "cmap": "viridis", "norm": norm}
    axes.scatter(
        rows["success_rate"],
        rows["drawdown"],
        marker=marker,
        s=46,
        linewidths=0.6,
        edgecolors="white",
        zorder=3,
        **looks,
    )


def _rescored(axes: Axes, trials: pd.DataFrame) -> None:
    """A diamond at the drawdown of each finalist on all control images, and a line to it from what the search saw."""
    if "rescored" not in trials:
        return
    finalists = trials[trials["rescored"].notna()]
    axes.vlines(finalists["success_rate"], finalists["drawdown"], finalists["rescored"], color=INK, linewidth=0.9)
    axes.plot(finalists["success_rate"], finalists["rescored"], linestyle="none", zorder=3.5, **_DIAMOND)


def _decisive(trials: pd.DataFrame) -> pd.Series:
    """The drawdown that decided about each trial: on all control images where it was looked at there."""
    return trials["rescored"].fillna(trials["drawdown"]) if "rescored" in trials else trials["drawdown"]


def _ring(axes: Axes, chosen: pd.DataFrame) -> None:
    axes.scatter(
        chosen["success_rate"],
        _decisive(chosen),
        s=190,
        facecolors="none",
        edgecolors=INK,
        linewidths=1.6,
        zorder=4,
    )


def _write(figure: Figure, axes: Axes, trials: pd.DataFrame, threshold: float) -> None:
    """The chosen trial's drawdown, and how many trials lie left of the panel, where they cover no trial."""
    inside = trials[trials["success_rate"] > axes.get_xlim()[0]]
    places = pd.concat([inside["drawdown"], _decisive(inside)])
    markers = np.column_stack([np.tile(inside["success_rate"], 2), places])
    chosen = inside[inside["chosen"].astype(bool)]
    values = _decisive(chosen)
    beyond = _beyond(axes, len(trials) - len(inside), axes.transData.transform(markers))
    place_labels(
        figure,
        axes,
        np.column_stack([chosen["success_rate"], values]),
        [f"{value:.2f}" for value in values],
        markers=markers,
        avoid=[np.array([[threshold, axes.get_ylim()[0]], [threshold, axes.get_ylim()[1]]])],
        taken=beyond,
        size=9,
        reach=_RING,
        fontweight="bold",
        path_effects=[withStroke(linewidth=3, foreground="white")],
        zorder=5,
    )


def _beyond(axes: Axes, count: int, markers: np.ndarray) -> list[Bbox]:
    """How many trials lie left of the panel, at its left edge, as low as it covers none of the markers (K, 2, pixels).

    :returns: where it stands, in pixels.
    """
    if not count:
        return []
    looks = {"xycoords": "axes fraction", "textcoords": "offset points", "fontsize": 9, "color": SOFT}
    text = axes.annotate(f"← {count} more", (0, _EDGE), xytext=(5, 4), va="bottom", **looks)
    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    covered = []
    for height in np.linspace(_EDGE, 0.85, 12):
        text.xy = (0, float(height))
        around = text.get_window_extent(renderer).padded(_CROSS * axes.figure.dpi / 72)
        covered.append((sum(around.contains(*marker) for marker in markers), float(height)))
        if covered[-1][0] == 0:
            break
    text.xy = (0, min(covered)[1])
    return [text.get_window_extent(renderer)]


def _key(figure: Figure, trials: pd.DataFrame, threshold: float, title: str | None) -> None:
    dot = {"linestyle": "none", "color": SOFT, "markeredgecolor": "white", "markersize": 8}
    handles: list[Artist] = [Patch(color=FEASIBLE, label=f"feasible: success ≥ {threshold:g} %")]
    feasible = trials["feasible"].astype(bool)
    if feasible.any():
        handles.append(Line2D([], [], marker="o", label="feasible trial", **dot))
    if (~feasible).any():
        handles.append(Line2D([], [], marker="X", label="infeasible trial", **dot))
    if "rescored" in trials and trials["rescored"].notna().any():
        handles.append(Line2D([], [], linestyle="none", label="finalist on all images", **_DIAMOND))
        title = f"{title or 'Tuning'}: finalists are decided on all control images"
    if trials["chosen"].astype(bool).any():
        ring = {"markerfacecolor": "none", "markeredgecolor": INK, "markersize": 12, "markeredgewidth": 1.6}
        handles.append(Line2D([], [], linestyle="none", marker="o", label="chosen", **ring))
    legend = legend_above(figure, handles, columnspacing=1.2, title=title)
    legend.get_title().set_fontweight("bold")
    legend.set_alignment("left")
