"""Curves and points of one benchmark: drawdown against success, edits in a row, epochs of a training, tuning."""

import textwrap
from collections.abc import Mapping, Sequence

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
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from pipelines.reporting.figures import style
from pipelines.reporting.ranking import REQUIRED_SUCCESS

_TRAINING, _TUNING = "#0072B2", "#D55E00"
_MARKED = 7  # markers on each curve of edits in a row, at places of its own, so that curves that coincide all show
_ROW = 0.24  # inches of a row of the legend
_SUCCESSES = (0, 50, 80, 90, 95, 98, 100)
_LOWEST = 0.09  # of a panel's height: room for the ring around a trial with a drawdown of 0
_DIAMOND = {"markersize": 5, "markerfacecolor": "white", "markeredgecolor": style.INK, "markeredgewidth": 1.1}
_UNSEEN = {"linestyle": "none", "marker": "|", "markersize": 7, "color": style.SOFT}
_WIDE = 10  # from this ratio of the largest to the smallest drawdown on, their scale is logarithmic
_SIZE = 9.0  # of the titles of panels
_TITLE_LINE = 1.35 * _SIZE / 72  # inches


@style.styled
def tradeoff_curves(
    frame: pd.DataFrame, y: str = "drawdown", titles: tuple[str, str] = ("Success rate (%)", "Drawdown (points)")
) -> Figure:
    """A curve per model: each point is all edits with one learning rate, the tuned one is ringed.

    ``frame`` has the columns ``training, editor, layers, factor, success_rate``, ``y`` and, where known, its ``_low``
    and ``_high`` (95 %). At the same success the lower curve is the better model, whatever was tuned.
    """
    figure = style.new_figure(height=5.0)
    axes = figure.subplots()
    lowest = frame["success_rate"].min()
    axes.set_xlim(lowest - 0.03 * (100 - lowest), 100 + 0.02 * (100 - lowest))
    axes.axvspan(REQUIRED_SUCCESS, axes.get_xlim()[1], color=style.FEASIBLE, zorder=0)
    axes.axvline(REQUIRED_SUCCESS, color=style.SOFT, linestyle="--", linewidth=1)
    for look, rows in style.curves(frame):
        rows = rows.sort_values("factor")
        axes.plot(rows["success_rate"], rows[y], markersize=5, zorder=3, **look)
        if f"{y}_low" in rows:
            axes.vlines(rows["success_rate"], rows[f"{y}_low"], rows[f"{y}_high"], color=look["color"], alpha=0.45)
        tuned = rows[rows["factor"] == 1]
        axes.plot(tuned["success_rate"], tuned[y], linestyle="none", zorder=4, **style.RING)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(titles[0])
    axes.set_ylabel(titles[1])
    ring = style.marker_entry("tuned learning rate", **style.RING)
    style.legend_above(figure, [*style.curve_keys(frame, markersize=5), ring], most=3)
    return figure


@style.styled
def sequence_curves(frame: pd.DataFrame, panels: Mapping[str, str]) -> Figure:
    """A curve per training, editor and part: the mean over orders of the edits, with a band of ± 1 standard deviation.

    ``frame`` has the columns ``training, editor, layers, edits`` and, for each panel, its column (in percent) and
    ``…_std``; one row for each number of edits from 0 on.

    :param panels: columns, from left to right, and the titles above them.
    """
    curves = style.curves(frame)
    figure = style.new_figure(height=3.9 + _ROW * min(-(-len(curves) // 2), 6))
    axes_of = dict(zip(panels, figure.subplots(ncols=len(panels), squeeze=False)[0], strict=True))
    every, thick = max(len(curves), int(frame["edits"].max()) // _MARKED), {"markersize": 5.5, "linewidth": 2}
    for place, (look, rows) in enumerate(curves):
        rows, where = rows.sort_values("edits"), (1 + place * every // len(curves), every)
        for name, axes in axes_of.items():
            spread = rows[f"{name}_std"].fillna(0)
            low, high = (rows[name] - spread).clip(lower=0), (rows[name] + spread).clip(upper=100)
            axes.fill_between(rows["edits"], low, high, color=look["color"], alpha=0.15, linewidth=0)
            axes.plot(rows["edits"], rows[name], markevery=where, **look, **thick)
    for name, axes in axes_of.items():
        axes.set_xlabel("Edits in a row")
        axes.set_title(panels[name], fontsize=10)
        axes.set_xlim(0, frame["edits"].max())
        axes.set_ylim(0, min(102, 1.05 * axes.dataLim.y1) or 1.0)
        axes.xaxis.get_major_locator().set_params(integer=True)
    keys = style.curve_keys(frame, **thick)
    figure.legend(handles=keys, loc="outside lower center", ncols=2, handlelength=5)
    return figure


@style.styled
def joint_curves(frame: pd.DataFrame, sources: Mapping[str, str], rows_of: Mapping[str, str]) -> Figure:
    """A curve per training, editor and part against the number of edits made together, a column of panels per source.

    ``frame`` has the columns ``training, editor, layers, source, count, manner`` and those of ``rows_of`` with
    ``…_std``. Pale dotted curves are the same edits one after the other.

    :param sources: what is edited, with a title for each; ``rows_of`` the columns drawn, with the labels of their axes.
    """
    curves, there = style.curves(frame), [source for source in sources if (frame["source"] == source).any()]
    figure = style.new_figure(height=4.8 + _ROW * min(-(-len(curves) // 2), 6))
    grid = figure.subplots(len(rows_of), len(there), squeeze=False, sharex="col")
    for column, source in enumerate(there):
        for look, rows in curves:
            of_model = rows[rows["source"] == source].sort_values("count")
            for manner, more in (("in_a_row", {"linestyle": ":", "alpha": 0.55}), ("jointly", {})):
                chosen = of_model[of_model["manner"] == manner]
                for axes, name in zip(grid[:, column], rows_of, strict=True):
                    axes.plot(chosen["count"], chosen[name], **{"markersize": 5, "linewidth": 1.8, **look, **more})
        grid[0, column].set_title(sources[source], fontsize=10)
        grid[-1, column].set_xlabel("Edits")
        counts = sorted(frame.loc[frame["source"] == source, "count"].unique())
        grid[-1, column].set_xscale("log")
        grid[-1, column].set_xticks(counts, [f"{count}" for count in counts], minor=False)
        grid[-1, column].xaxis.set_minor_locator(NullLocator())
    for axes, label in zip(grid[:, 0], rows_of.values(), strict=True):
        axes.set_ylabel(label)
    for axes in grid[0]:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    keys = style.curve_keys(frame, markersize=5)
    if (frame["manner"] == "in_a_row").any():
        keys.append(Line2D([], [], color=style.SOFT, linestyle=":", label="pale: one after the other"))
    figure.legend(handles=keys, loc="outside lower center", ncols=2, handlelength=5)
    return figure


@style.styled
def training_curves(
    history: pd.DataFrame, chosen_epoch: int, panels: Mapping[str, Sequence[str]], judged: tuple[str, str], title: str
) -> Figure:
    """What a training logged over its epochs, with the epoch that was kept marked.

    ``history`` has the column ``epoch`` and those of ``panels``.

    :param panels: titles of vertical axes, from left to right, and the columns drawn there; ``tuning_error`` is called
        ``tuning``, ``train_loss`` ``training``.
    :param judged: the column that the epoch was chosen by, and its unit.
    """
    chosen = history[history["epoch"] == chosen_epoch]
    figure = style.new_figure(height=3.6)
    handles = {}
    for axes, (label, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name in names:
            split = {"train": "training", "valid": "validation"}.get(word := name.split("_")[0], word)
            look = {"color": _TRAINING if split == "training" else _TUNING, "linewidth": 1.8, "marker": "o"}
            look |= {"markersize": 3.5 if len(history) <= 40 else 0, "label": split}
            (handles[split],) = axes.plot(history["epoch"], history[name], **look)
        axes.set_xlabel("Epoch")
        axes.set_ylabel(label)
        axes.set_ylim(0, 1.08 * axes.dataLim.y1 or 1.0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.axvline(chosen_epoch, color=style.SOFT, linestyle="--", linewidth=1, zorder=1)
        if judged[0] in names:
            _mark(axes, chosen_epoch, float(chosen[judged[0]].iloc[0]), judged)
    figure.legend(handles=list(handles.values()), loc="outside upper right", ncols=2)
    figure.suptitle(style.shown(title), x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _mark(axes: Axes, epoch: int, value: float, judged: tuple[str, str]) -> None:
    axes.plot(epoch, value, **style.RING)
    to_left, to_top = epoch > sum(axes.get_xlim()) / 2, value < sum(axes.get_ylim()) / 2
    look = {"ha": "right" if to_left else "left", "va": "bottom" if to_top else "top", "fontsize": 9}
    where = {"xytext": (-10 if to_left else 10, 22 if to_top else -22), "textcoords": "offset points"}
    name = judged[0].replace("valid_", "validation ").replace("_", " ")
    text = f"chosen: epoch {epoch}\n{name} {value:.2f} {judged[1]}"
    axes.annotate(text, (epoch, value), bbox=style.BACKING, **look, **where)


@style.styled
def tuning_panels(
    studies: Mapping[str, pd.DataFrame],
    threshold: float = REQUIRED_SUCCESS,
    *,
    titles: tuple[str, str] = ("Success rate (%)", "Drawdown (points)"),
    title: str = "Tuning",
) -> Figure:
    """Drawdown against success for the trials of some studies: feasible region shaded, chosen trial ringed.

    The keys of ``studies`` are the panels' titles, to which the chosen trial's drawdown is added. Each frame has the
    columns ``number, success_rate, drawdown, rescored, feasible, chosen`` and the hyperparameters; a trial whose
    drawdown was not looked at stands at the bottom, and one that is ``beaten`` is small: what is known of it is of the
    edits before it was stopped. A diamond is ``rescored``, where there is one: the drawdown of a
    finalist on the whole control set, which decides, so the ring is there. ``lr`` colours the points, where there is
    one, on a logarithmic scale that all panels share.

    :param titles: of the axes.
    """
    together = pd.concat(studies.values(), ignore_index=True)
    norm = _norm(together)
    columns = min(len(studies), 3)
    lines = -(-len(studies) // columns)
    figure = style.new_figure(height=style.HEIGHT if columns == 1 else 0.9 + 2.4 * lines)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    words = {}
    for axes, (study, trials) in zip(panels, studies.items(), strict=False):
        decided = trials.assign(_decisive=trials["rescored"].fillna(trials["drawdown"]))
        words[axes] = [style.shown(study), _draw_panel(axes, decided, threshold, norm)]
    for axes in panels[len(studies) :]:
        axes.set_visible(False)
    figure.supxlabel(titles[0], fontsize=10)
    figure.supylabel(titles[1], fontsize=10)
    if norm is not None:
        mappable = matplotlib.cm.ScalarMappable(norm=norm, cmap="viridis")
        bar = figure.colorbar(mappable, ax=list(panels), pad=0.02, aspect=28, format="{x:g}")
        # Within a decade there is no other number on the bar.
        bar.ax.yaxis.set_minor_formatter("{x:g}" if norm.vmax < 10 * norm.vmin else NullFormatter())
        bar.set_label("Learning rate")
        bar.outline.set_visible(False)
    _key(figure, together, threshold, title)
    _set_titles(figure, words)
    return figure


def _draw_panel(axes: Axes, trials: pd.DataFrame, threshold: float, norm: LogNorm | None) -> str:
    """Draw a study; returns what its title says of the chosen trial."""
    axes.set_xscale("function", functions=(_spread, _gather))
    lowest = min(trials["success_rate"].min(), threshold - 5)
    axes.set_xlim(_gather(_spread(lowest) - 0.1), 100.5)
    axes.set_xticks([tick for tick in _SUCCESSES if tick >= lowest])
    axes.axvspan(threshold, axes.get_xlim()[1], color=style.FEASIBLE, zorder=0)
    axes.axvline(threshold, color=style.SOFT, linestyle="--", linewidth=1)
    for feasible, marker in ((True, "o"), (False, "X")):
        rows = trials[trials["feasible"].astype(bool) == feasible]
        if not rows.empty:
            look = {"color": _TRAINING} if norm is None else {"c": rows["lr"], "cmap": "viridis", "norm": norm}
            look |= {"marker": marker, "s": np.where(_beaten(rows), 14, 46)}
            look |= {"linewidths": 0.6, "edgecolors": "white", "zorder": 3}
            axes.scatter(rows["success_rate"], rows["drawdown"], **look)
    unseen = trials.loc[trials["drawdown"].isna(), "success_rate"]
    axes.plot(unseen, [0.02] * len(unseen), transform=axes.get_xaxis_transform(), zorder=3, **_UNSEEN)
    finalists = trials[trials["rescored"].notna()]
    where, before, after = finalists["success_rate"], finalists["drawdown"], finalists["rescored"]
    axes.vlines(where, before, after, color=style.INK, linewidth=0.9)
    axes.plot(where, after, "D", linestyle="none", zorder=3.5, **_DIAMOND)
    chosen = trials[trials["chosen"].astype(bool)]
    axes.plot(chosen["success_rate"], chosen["_decisive"], linestyle="none", zorder=4, **style.RING)
    drawdowns = pd.concat([trials["drawdown"], trials["_decisive"]]).fillna(0.0 if chosen.empty else np.nan)
    if drawdowns.max() > _WIDE * drawdowns.min() > 0:
        style.logarithmic(axes.yaxis, (1, 2, 5), numticks=5)
        axes.margins(y=0.12)
    else:
        top = 1.12 * max(drawdowns.max(), 0.1)
        # Markers at zero stand whole above the edge; steps this large put no tick below zero.
        axes.set_ylim(-_LOWEST * top if drawdowns.min() < _LOWEST * top else 0, top)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    return ", ".join(f"chosen: {value:.2f}" for value in chosen["_decisive"])


def _beaten(trials: pd.DataFrame) -> pd.Series:
    return trials["beaten"].eq(True) if "beaten" in trials else pd.Series(False, trials.index)


def _spread(success: np.ndarray) -> np.ndarray:
    """Where a success rate (%) stands on its axis: trials compete in its last tenth."""
    return -np.log10(np.maximum(102.0 - np.asarray(success, dtype=float), 0.5))


def _gather(place: np.ndarray) -> np.ndarray:
    """The inverse of :func:`_spread`."""
    return 102.0 - 10.0 ** -np.asarray(place, dtype=float)


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
    if _beaten(trials).any():
        handles.append(style.marker_entry("beaten: stopped after some of the edits", **dot | {"markersize": 4.5}))
    if (~feasible).any():
        handles.append(style.marker_entry("infeasible trial", "X", **dot))
    if trials["drawdown"].isna().any():
        handles.append(style.marker_entry("drawdown not looked at", **_UNSEEN))
    if trials["rescored"].notna().any():
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
