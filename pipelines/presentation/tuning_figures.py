"""What a tuning study saw: drawdown against success, and which hyperparameters mattered."""

from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from pipelines.presentation.checks import require
from pipelines.presentation.style import FEASIBLE, HEIGHT, INK, SOFT, axis_title, new_figure, styled
from pipelines.presentation.tables import REQUIRED_SUCCESS

_PLAIN = "#0072B2"
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
    scale that all panels share; where there is none all points look alike. Trials without a drawdown, not evaluated
    because they succeed too rarely, are ticks on the lower edge.

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
    for axes, (study, trials) in zip(panels, studies.items(), strict=False):
        _study_panel(axes, trials, threshold, colour, norm)
        axes.set_title(study, fontsize=9, fontweight="normal")
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
    return figure


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
    figure = new_figure(height=max(2.2, lines * (0.75 + 0.32 * most) + 0.3))
    panels = figure.subplots(lines, columns, sharex=True, squeeze=False).ravel()
    for axes, (study, series) in zip(panels, series_by_study.items(), strict=False):
        _importance_panel(axes, study, series.sort_values(kind="stable"), most)
    for axes in panels[len(series_by_study) :]:
        axes.set_visible(False)
    figure.supxlabel("Importance (share of the variation of the objective)", fontsize=10)
    return figure


def _importance_panel(axes: Axes, study: str, series: pd.Series, most: int) -> None:
    places = np.arange(len(series)) + most - len(series)
    bars = axes.barh(places, series.to_numpy(dtype=float), height=0.62, color=_PLAIN)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
    axes.set_yticks(places, list(series.index))
    axes.set_ylim(-0.6, most - 0.4)
    axes.set_xlim(0, 1.18)
    axes.set_xticks([0, 0.5, 1])
    axes.tick_params(axis="x", labelbottom=True)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.set_title(study)


def _study_panel(axes: Axes, trials: pd.DataFrame, threshold: float, colour: str, norm: LogNorm | None) -> None:
    width = 100 - _lowest_success(trials, threshold)
    axes.set_xlim(100 - 1.04 * width, 100 + 0.06 * width)
    axes.axvspan(threshold, axes.get_xlim()[1], color=FEASIBLE, zorder=0)
    axes.axvline(threshold, color=SOFT, linestyle="--", linewidth=1)
    shown = trials[trials["success_rate"] > axes.get_xlim()[0]]
    evaluated, skipped = shown[shown["drawdown"].notna()], shown[shown["drawdown"].isna()]
    for feasible, marker in ((True, "o"), (False, "X")):
        rows = evaluated[evaluated["feasible"].astype(bool) == feasible]
        if not rows.empty:
            _points(axes, rows, marker, colour, norm)
    _ticks(axes, skipped, colour, norm)
    _beyond(axes, len(trials) - len(shown))
    _ring(axes, evaluated[evaluated["chosen"].astype(bool)])
    axes.xaxis.set_major_locator(MaxNLocator(4))
    if evaluated.empty:
        axes.set_ylim(0, 1)
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no trial succeeded\noften enough", transform=axes.transAxes, ha="center", va="center")
    elif evaluated["drawdown"].max() > _WIDE * evaluated["drawdown"].min() > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=5))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.margins(y=0.12)
    else:
        axes.set_ylim(0, 1.12 * max(evaluated["drawdown"].max(), 0.1))


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


def _ticks(axes: Axes, rows: pd.DataFrame, colour: str, norm: LogNorm | None) -> None:
    shades = matplotlib.colormaps["viridis"]
    for _, row in rows.iterrows():
        shade = _PLAIN if norm is None else shades(norm(row[colour]))
        axes.axvline(row["success_rate"], ymax=0.045, color=shade, linewidth=2)


def _beyond(axes: Axes, count: int) -> None:
    if count:
        axes.annotate(
            f"← {count} more",
            (0, 0.045),
            xycoords="axes fraction",
            xytext=(5, 4),
            textcoords="offset points",
            va="bottom",
            fontsize=9,
            color=SOFT,
        )


def _ring(axes: Axes, chosen: pd.DataFrame) -> None:
    axes.scatter(
        chosen["success_rate"],
        chosen["drawdown"],
        s=190,
        facecolors="none",
        edgecolors=INK,
        linewidths=1.6,
        zorder=4,
    )
    halo = [withStroke(linewidth=3, foreground="white")]
    for _, row in chosen.iterrows():
        axes.annotate(
            f"{row['drawdown']:.2f}",
            (row["success_rate"], row["drawdown"]),
            xytext=(-11, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontweight="bold",
            fontsize=9,
            path_effects=halo,
            zorder=5,
        )


def _key(figure: Figure, trials: pd.DataFrame, threshold: float, title: str | None) -> None:
    dot = {"linestyle": "none", "color": SOFT, "markeredgecolor": "white", "markersize": 8}
    handles: list[Artist] = [Patch(color=FEASIBLE, label=f"feasible: success ≥ {threshold:g} %")]
    evaluated = trials[trials["drawdown"].notna()]
    feasible = evaluated["feasible"].astype(bool)
    if feasible.any():
        handles.append(Line2D([], [], marker="o", label="feasible trial", **dot))
    if (~feasible).any():
        handles.append(Line2D([], [], marker="X", label="infeasible trial", **dot))
    if len(evaluated) < len(trials):
        tick = {"linestyle": "none", "marker": "|", "color": SOFT, "markersize": 9, "markeredgewidth": 2}
        handles.append(Line2D([], [], label="not evaluated", **tick))
    if evaluated["chosen"].astype(bool).any():
        ring = {"markerfacecolor": "none", "markeredgecolor": INK, "markersize": 12, "markeredgewidth": 1.6}
        handles.append(Line2D([], [], linestyle="none", marker="o", label="chosen", **ring))
    legend = figure.legend(handles=handles, loc="outside upper left", ncols=5, columnspacing=1.2, title=title)
    legend.get_title().set_fontweight("bold")
    legend.set_alignment("left")
