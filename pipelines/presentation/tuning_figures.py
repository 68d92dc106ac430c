"""What a tuning study saw: drawdown against success, and which hyperparameters mattered."""

from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from pipelines.presentation.checks import require
from pipelines.presentation.style import FEASIBLE, INK, SOFT, axis_title, new_figure, styled
from pipelines.presentation.tables import REQUIRED_SUCCESS

_PLAIN = "#0072B2"


@styled
def tradeoff(
    trials: pd.DataFrame,
    threshold: float = REQUIRED_SUCCESS,
    *,
    colour: str = "lr",
    title: str | None = None,
) -> Figure:
    """Drawdown against success for the trials of a study: feasible region shaded, chosen trial ringed.

    ``trials`` has the columns ``number, success_rate, drawdown, feasible, chosen`` (%, points) and the
    hyperparameters. ``colour`` names the hyperparameter that colours the points, on a logarithmic scale;
    where there is none all points look alike. Trials without a drawdown, not evaluated because they succeed
    too rarely, are ticks on the lower edge.

    Raises:
        ValueError: when there are no trials or a column is missing.
    """
    require(trials, ["number", "success_rate", "drawdown", "feasible", "chosen"], "trade-off figure")
    figure = new_figure()
    axes = figure.subplots()
    norm = _norm(trials, colour)
    evaluated = trials[trials["drawdown"].notna()]
    skipped = trials[trials["drawdown"].isna()]

    axes.set_xlim(*_success_limits(trials, threshold))
    _feasible_region(axes, threshold)
    points = None
    for feasible, marker in ((True, "o"), (False, "X")):
        rows = evaluated[evaluated["feasible"].astype(bool) == feasible]
        if not rows.empty:
            points = _points(axes, rows, marker, colour, norm)
    _ticks(axes, skipped, colour, norm)
    _ring(axes, evaluated[evaluated["chosen"].astype(bool)])

    axes.set_xlabel(axis_title("success_rate"))
    axes.set_ylabel(axis_title("drawdown"))
    if title:
        axes.set_title(title)
    if evaluated.empty:
        axes.set_ylim(0, 1)
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no trial succeeded often enough to be evaluated", transform=axes.transAxes, ha="center")
    else:
        axes.set_ylim(bottom=0)
    if norm is not None:
        mappable = points or matplotlib.cm.ScalarMappable(norm=norm, cmap="viridis")
        bar = figure.colorbar(mappable, ax=axes, pad=0.02, aspect=28)
        bar.set_label(axis_title(colour))
        bar.outline.set_visible(False)
    _key(figure, evaluated, skipped)
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


def _success_limits(trials: pd.DataFrame, threshold: float) -> tuple[float, float]:
    """From the worst evaluated trial to 100 %; unevaluated trials widen this to 35 points below at most."""
    evaluated = trials.loc[trials["drawdown"].notna(), "success_rate"].min()
    skipped = max(trials["success_rate"].min(), threshold - 35)
    low = float(np.nanmin([evaluated, skipped, threshold - 5]))
    return low - 0.04 * (100 - low), 100 + 0.03 * (100 - low)


def _feasible_region(axes: Axes, threshold: float) -> None:
    axes.axvspan(threshold, axes.get_xlim()[1], color=FEASIBLE, zorder=0)
    axes.axvline(threshold, color=SOFT, linestyle="--", linewidth=1)
    axes.annotate(
        f"feasible: success ≥ {threshold:g} %",
        (1, 1),
        xycoords="axes fraction",
        xytext=(0, 4),
        textcoords="offset points",
        ha="right",
        va="bottom",
        color=SOFT,
        fontsize=9,
    )


def _norm(trials: pd.DataFrame, colour: str) -> LogNorm | None:
    if colour not in trials.columns or not (trials[colour] > 0).any():
        return None
    low, high = float(trials[colour].min()), float(trials[colour].max())
    return LogNorm(low, high) if low < high else LogNorm(low / 2, high * 2)


def _points(axes: Axes, rows: pd.DataFrame, marker: str, colour: str, norm: LogNorm | None) -> PathCollection:
    looks = {"color": _PLAIN} if norm is None else {"c": rows[colour], "cmap": "viridis", "norm": norm}
    return axes.scatter(
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
    left = axes.get_xlim()[0]
    for _, row in rows[rows["success_rate"] > left].iterrows():
        shade = _PLAIN if norm is None else shades(norm(row[colour]))
        axes.axvline(row["success_rate"], ymax=0.045, color=shade, linewidth=2)
    if beyond := int((rows["success_rate"] <= left).sum()):
        axes.annotate(
            f"← {beyond} more below {left:.0f} %",
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


def _key(figure: Figure, evaluated: pd.DataFrame, skipped: pd.DataFrame) -> None:
    dot = {"linestyle": "none", "color": SOFT, "markeredgecolor": "white", "markersize": 8}
    handles = []
    feasible = evaluated["feasible"].astype(bool)
    if feasible.any():
        handles.append(Line2D([], [], marker="o", label="feasible trial", **dot))
    if (~feasible).any():
        handles.append(Line2D([], [], marker="X", label="infeasible trial", **dot))
    if not skipped.empty:
        handles.append(
            Line2D(
                [],
                [],
                linestyle="none",
                marker="|",
                color=SOFT,
                markersize=9,
                markeredgewidth=2,
                label="not evaluated",
            )
        )
    if evaluated["chosen"].astype(bool).any():
        ring = {"markerfacecolor": "none", "markeredgecolor": INK, "markersize": 12, "markeredgewidth": 1.6}
        handles.append(Line2D([], [], linestyle="none", marker="o", label="chosen", **ring))
    figure.legend(handles=handles, loc="outside upper left", ncols=4, columnspacing=1.4)
