"""What tuning studies saw: drawdown against success, a panel for each study."""

import textwrap
from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from pipelines.reporting.figures import style
from pipelines.reporting.frames import REQUIRED_SUCCESS, require

_PLAIN = "#0072B2"
_LOWEST = 0.09  # of a panel's height: room for the ring around a trial with a drawdown of 0
_DIAMOND = {"markersize": 5, "markerfacecolor": "white", "markeredgecolor": style.INK, "markeredgewidth": 1.1}
_WIDE = 10  # from this ratio of the largest to the smallest drawdown on, their scale is logarithmic
_SIZE = 9.0  # of the titles of panels
_TITLE_LINE = 1.35 * _SIZE / 72  # inches


@style.styled
def tuning_panels(
    studies: Mapping[str, pd.DataFrame],
    threshold: float = REQUIRED_SUCCESS,
    *,
    titles: tuple[str, str] = ("Success rate (%)", "Drawdown (points)"),
    title: str = "Tuning",
) -> Figure:
    """Drawdown against success for the trials of some studies: feasible region shaded, chosen trial ringed.

    The keys of ``studies`` are the panels' titles, to which the chosen trial's drawdown is added, and how many trials
    lie left of the panel. Each frame has the columns ``number, success_rate, drawdown, feasible, chosen`` and the
    hyperparameters. A diamond is ``rescored``, where that is known: the drawdown of a finalist on the whole control
    set, which decides, so the ring is there. ``lr`` colours the points, where there is one, on a logarithmic scale that
    all panels share.

    :param titles: of the axes.
    :raises ValueError: when there is no study, one has no trials, or a column is missing.
    """
    if not studies:
        raise ValueError("figure of tuning: there are no studies to show")
    for study, trials in studies.items():
        require(trials, ["number", "success_rate", "drawdown", "feasible", "chosen"], f"figure of tuning, {study!r}")
    together = pd.concat(studies.values(), ignore_index=True)
    norm = _norm(together)
    columns = min(len(studies), 3)
    lines = -(-len(studies) // columns)
    figure = style.new_figure(height=style.HEIGHT if columns == 1 else 0.9 + 2.4 * lines)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    words = {}
    for axes, (study, trials) in zip(panels, studies.items(), strict=False):
        drawdown = trials["drawdown"]
        decided = trials.assign(_decisive=trials["rescored"].fillna(drawdown) if "rescored" in trials else drawdown)
        words[axes] = [style.shown(study), _draw_panel(axes, decided, threshold, norm)]
    for axes in panels[len(studies) :]:
        axes.set_visible(False)
    figure.supxlabel(titles[0], fontsize=10)
    figure.supylabel(titles[1], fontsize=10)
    if norm is not None:
        mappable = matplotlib.cm.ScalarMappable(norm=norm, cmap="viridis")
        bar = figure.colorbar(mappable, ax=list(panels), pad=0.02, aspect=28, format="{x:g}")
        bar.set_label("Learning rate")
        bar.outline.set_visible(False)
    _key(figure, together, threshold, title)
    _set_titles(figure, words)
    return figure


def _draw_panel(axes: Axes, trials: pd.DataFrame, threshold: float, norm: LogNorm | None) -> str:
    """Draw a study; returns what its title says of the chosen trial and of those that are not shown."""
    # From its worst trial on, but not far from the required success, where trials are compared.
    width = 100 - float(np.clip(trials["success_rate"].min(), threshold - 35, threshold - 5))
    axes.set_xlim(100 - 1.04 * width, 100 + 0.09 * width)
    axes.axvspan(threshold, axes.get_xlim()[1], color=style.FEASIBLE, zorder=0)
    axes.axvline(threshold, color=style.SOFT, linestyle="--", linewidth=1)
    inside = trials[trials["success_rate"] > axes.get_xlim()[0]]
    for feasible, marker in ((True, "o"), (False, "X")):
        rows = inside[inside["feasible"].astype(bool) == feasible]
        if not rows.empty:
            look = {"color": _PLAIN} if norm is None else {"c": rows["lr"], "cmap": "viridis", "norm": norm}
            look |= {"marker": marker, "s": 46, "linewidths": 0.6, "edgecolors": "white", "zorder": 3}
            axes.scatter(rows["success_rate"], rows["drawdown"], **look)
    if "rescored" in inside:
        finalists = inside[inside["rescored"].notna()]
        where, before, after = finalists["success_rate"], finalists["drawdown"], finalists["rescored"]
        axes.vlines(where, before, after, color=style.INK, linewidth=0.9)
        axes.plot(where, after, "D", linestyle="none", zorder=3.5, **_DIAMOND)
    chosen = inside[inside["chosen"].astype(bool)]
    axes.plot(chosen["success_rate"], chosen["_decisive"], linestyle="none", zorder=4, **style.RING)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    drawdowns = pd.concat([inside["drawdown"], inside["_decisive"]])
    if inside.empty:
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
    parts = [f"chosen: {value:.2f}" for value in chosen["_decisive"]]
    parts += [f"← {beyond} more"] if (beyond := len(trials) - len(inside)) else []
    return ", ".join(parts)


def _norm(trials: pd.DataFrame) -> LogNorm | None:
    if "lr" not in trials.columns or not (trials["lr"] > 0).any():
        return None
    low, high = float(trials["lr"].min()), float(trials["lr"].max())
    return LogNorm(low, high) if low < high else LogNorm(low / 2, high * 2)


def _key(figure: Figure, trials: pd.DataFrame, threshold: float, title: str) -> None:
    dot = {"markeredgecolor": "white", "markersize": 8}
    handles: list[Artist] = [Patch(color=style.FEASIBLE, label=f"feasible: success ≥ {threshold:g} %")]
    feasible = trials["feasible"].astype(bool)
    if feasible.any():
        handles.append(style.marker_entry("feasible trial", **dot))
    if (~feasible).any():
        handles.append(style.marker_entry("infeasible trial", "X", **dot))
    if "rescored" in trials and trials["rescored"].notna().any():
        handles.append(style.marker_entry("finalist on the whole control set", "D", **_DIAMOND))
        title = f"{title}: finalists are decided on the whole control set"
    if trials["chosen"].astype(bool).any():
        handles.append(style.marker_entry("chosen", **style.RING))
    legend = style.legend_above(figure, handles, title=style.shown(title))
    legend.get_title().set_fontweight("bold")
    legend.set_alignment("left")


def _set_titles(figure: Figure, titles: Mapping[Axes, list[str]]) -> None:
    """Give each panel its title, in as many lines as keep it above its own panel; the figure grows by what they take.

    Everything else that takes room must have been drawn before.
    """
    figure.draw_without_rendering()  # without titles: long ones would have part in how wide the panels are
    renderer = FigureCanvasAgg(figure).get_renderer()
    most: dict[int, int] = {}
    for axes, parts in titles.items():
        title, lines = axes.set_title("", fontsize=_SIZE, fontweight="normal"), []
        for part in filter(None, parts):
            for width in range(len(part), 0, -1):
                title.set_text("\n".join(broken := textwrap.wrap(part, width)))
                if title.get_window_extent(renderer).width <= 0.98 * axes.bbox.width:
                    break
            lines += broken
        title.set_text("\n".join(lines))
        row = axes.get_subplotspec().rowspan.start
        most[row] = max(most.get(row, 0), len(lines))
    figure.set_figheight(figure.get_figheight() + _TITLE_LINE * sum(count - 1 for count in most.values()))
