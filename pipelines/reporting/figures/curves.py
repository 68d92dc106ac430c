"""Lines: drawdown over the learning rate, edits in a row, the epochs of a training, ranks of true classes."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.reporting.figures import style
from pipelines.reporting.frames import REQUIRED_SUCCESS, require
from pipelines.store.layout import KEYS

_TRAINING, _TUNING, _EVALUATION = "#0072B2", "#D55E00", "#E69F00"
_MARKED = 7  # markers on each curve of edits in a row, at places of its own, so that curves that coincide all show
_ROW = 0.24  # inches of a row of the legend
_BARS = 20
"""Up to as many classes each rank has bars; of more, curves over a logarithmic axis."""


@style.styled
def tradeoff_curves(
    frame: pd.DataFrame, y: str = "drawdown", titles: tuple[str, str] = ("Success rate (%)", "Drawdown (points)")
) -> Figure:
    """A curve per model: each point is all edits with one learning rate, the tuned one is ringed.

    ``frame`` has the columns ``training, editor, layers, factor, success_rate``, ``y`` and, where known, its ``_low``
    and ``_high`` (95 %). At the same success the lower curve is the better model, whatever was tuned.

    :raises ValueError: when there are no rows or a column is missing.
    """
    require(frame, [*KEYS, "factor", y, "success_rate"], "trade-off curves")
    figure = style.new_figure(height=5.0)
    axes = figure.subplots()
    lowest = frame["success_rate"].min()
    axes.set_xlim(lowest - 0.03 * (100 - lowest), 100 + 0.02 * (100 - lowest))
    axes.axvspan(REQUIRED_SUCCESS, axes.get_xlim()[1], color=style.FEASIBLE, zorder=0)
    axes.axvline(REQUIRED_SUCCESS, color=style.SOFT, linestyle="--", linewidth=1)
    models = frame[KEYS].drop_duplicates()
    for (_, model), look in zip(models.iterrows(), style.curve_looks(models), strict=True):
        rows = frame[(frame[KEYS] == model).all(axis=1)].sort_values("factor")
        axes.plot(rows["success_rate"], rows[y], markersize=5, zorder=3, **look)
        if f"{y}_low" in rows:
            axes.vlines(rows["success_rate"], rows[f"{y}_low"], rows[f"{y}_high"], color=look["color"], alpha=0.45)
        tuned = rows[rows["factor"] == 1]
        axes.plot(tuned["success_rate"], tuned[y], linestyle="none", zorder=4, **style.RING)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(titles[0])
    axes.set_ylabel(titles[1])
    ring = style.marker_entry("tuned learning rate", **style.RING)
    style.legend_above(figure, [*style.curve_keys(models, markersize=5), ring], most=3)
    return figure


@style.styled
def sequence_curves(frame: pd.DataFrame, panels: Mapping[str, str]) -> Figure:
    """A curve per training, editor and part: the mean over orders of the edits, with a band of ± 1 standard deviation.

    ``frame`` has the columns ``training, editor, layers, edits`` and, for each panel, its column (in percent) and
    ``…_std``; one row for each number of edits from 0 on.

    :param panels: columns, from left to right, and the titles above them.
    :raises ValueError: when there are no rows or a column is missing.
    """
    require(frame, [*KEYS, "edits", *panels, *(f"{name}_std" for name in panels)], "edits in a row")
    models = frame[KEYS].drop_duplicates()
    figure = style.new_figure(height=3.9 + _ROW * min(-(-len(models) // 2), 6))
    axes_of = dict(zip(panels, figure.subplots(ncols=len(panels), squeeze=False)[0], strict=True))
    every, thick = max(len(models), int(frame["edits"].max()) // _MARKED), {"markersize": 5.5, "linewidth": 2}
    for place, ((_, model), look) in enumerate(zip(models.iterrows(), style.curve_looks(models), strict=True)):
        rows = frame[(frame[KEYS] == model).all(axis=1)].sort_values("edits")
        where = (1 + place * every // len(models), every)
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
    keys = style.curve_keys(models, **thick)
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
    :raises ValueError: when there are no epochs, a column is missing, or ``chosen_epoch`` is not among the epochs.
    """
    require(history, ["epoch", *(name for names in panels.values() for name in names), judged[0]], "training curves")
    chosen = history[history["epoch"] == chosen_epoch]
    if chosen.empty:
        epochs = f"{history['epoch'].min()} to {history['epoch'].max()}"
        raise ValueError(f"training curves: chosen epoch {chosen_epoch} is not among the epochs {epochs}")
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
    text = f"chosen: epoch {epoch}\n{judged[0].replace('_', ' ')} {value:.2f} {judged[1]}"
    axes.annotate(text, (epoch, value), bbox=style.BACKING, **look, **where)


@style.styled
def rank_bars(frame: pd.DataFrame) -> Figure:
    """Shares of mistakes by the true class's rank, those trained on and those evaluated, and probabilities of targets.

    ``frame`` has the columns ``rank`` (0 is the answer itself) and, as shares from 0 to 1, ``training``,
    ``evaluation``, ``drawn`` (targets with matched ranks) and ``random`` (targets drawn from all classes).

    :raises ValueError: when there are no rows or a column is missing.
    """
    names = ["training", "evaluation", "drawn", "random"]
    require(frame, ["rank", *names], "figure of ranks")
    figure = style.new_figure(height=4.0)
    axes = figure.subplots()
    few = len(frame) <= _BARS
    places = frame["rank"].to_numpy(dtype=float) + (0 if few else 1)
    shares = {name: 100 * frame[name].to_numpy(dtype=float) for name in names}
    for side, name, of in ((-1, "training", "of the training part"), (1, "evaluation", "that are evaluated")):
        look = {"color": _TRAINING if side < 0 else _EVALUATION, "label": f"mistakes {of}"}
        if few:
            axes.bar(places + 0.19 * side, shares[name], width=0.36, **look)
        else:
            axes.plot(places, shares[name], linewidth=1.2, **look)
    drawn = {"marker": "o", "markersize": 5} if few else {}
    axes.plot(places, shares["drawn"], color=style.INK, linewidth=1.4, label="targets with matched ranks", **drawn)
    axes.plot(places, shares["random"], color=style.SOFT, linestyle="--", linewidth=1.4, label="random targets")
    axes.set_ylabel("Share (%)")
    axes.set_ylim(0, 1.08 * np.nanmax(list(shares.values())))
    if few:
        axes.set_xlabel("Classes ahead of the wanted one in the pre-trained model's answer")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=_BARS))
        axes.set_xlim(places.min() - 0.6, places.max() + 0.6)
        axes.grid(False, axis="x")
        axes.tick_params(axis="x", length=0)
    else:
        axes.set_xlabel("Place of the wanted class in the pre-trained model's answer (1: the answer itself)")
        axes.set_xscale("log")
        axes.set_xlim(1, len(frame))
        axes.xaxis.set_major_formatter("{x:g}")
    figure.legend(loc="outside upper left", ncols=2, columnspacing=1.4)
    return figure
