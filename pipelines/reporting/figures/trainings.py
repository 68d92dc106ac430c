"""How training went: loss and error over the epochs, and which epoch was kept."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from pipelines.reporting.figures.checks import require
from pipelines.reporting.figures.style import INK, SOFT, new_figure, styled

_TRAINING, _TUNING = "#0072B2", "#D55E00"


@styled
def training_curves(history: pd.DataFrame, chosen_epoch: int | None = None, *, title: str | None = None) -> Figure:
    """Training loss (left), and error on the training and tuning split (right), with the chosen epoch marked.

    ``history`` has the columns ``epoch, train_loss, train_error, tuning_error`` (errors in %). Without
    ``chosen_epoch`` it is the first of those with the smallest tuning error.

    Raises:
        ValueError: when there are no epochs, a column is missing, or ``chosen_epoch`` is not among the
            epochs.
    """
    require(history, ["epoch", "train_loss", "train_error", "tuning_error"], "training curves")
    chosen = _chosen_row(history, chosen_epoch)
    figure = new_figure(height=3.6)
    loss, error = figure.subplots(1, 2)
    style = {"linewidth": 1.8, "marker": "o", "markersize": 3.5 if len(history) <= 40 else 0}
    loss.plot(history["epoch"], history["train_loss"], color=_TRAINING, label="training", **style)
    loss.set_ylabel("Training objective (nats)")
    error.plot(history["epoch"], history["train_error"], color=_TRAINING, label="training", **style)
    error.plot(history["epoch"], history["tuning_error"], color=_TUNING, label="tuning", **style)
    error.set_ylabel("Error (%)")
    for axes in (loss, error):
        axes.set_xlabel("Epoch")
        axes.set_ylim(0, 1.08 * axes.dataLim.y1 or 1.0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.axvline(chosen["epoch"], color=SOFT, linestyle="--", linewidth=1, zorder=1)
    _mark(error, chosen)
    figure.legend(*error.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _mark(axes: Axes, chosen: pd.Series) -> None:
    place = (chosen["epoch"], chosen["tuning_error"])
    axes.plot(*place, marker="o", markersize=11, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.6)
    low, high = axes.get_xlim()
    to_left = chosen["epoch"] > (low + high) / 2
    to_top = chosen["tuning_error"] < sum(axes.get_ylim()) / 2
    axes.annotate(
        f"chosen: epoch {int(chosen['epoch'])}\ntuning error {chosen['tuning_error']:.2f} %",
        place,
        xytext=(-10 if to_left else 10, 22 if to_top else -22),
        textcoords="offset points",
        ha="right" if to_left else "left",
        va="bottom" if to_top else "top",
        fontsize=9,
        path_effects=[withStroke(linewidth=3, foreground="white")],
    )


def _chosen_row(history: pd.DataFrame, chosen_epoch: int | None) -> pd.Series:
    if chosen_epoch is None:
        if history["tuning_error"].isna().all():
            raise ValueError("training curves: no epoch has a tuning error to choose by")
        return history.loc[history["tuning_error"].idxmin()]
    rows = history[history["epoch"] == chosen_epoch]
    if rows.empty:
        epochs = f"{history['epoch'].min()} to {history['epoch'].max()}"
        raise ValueError(f"training curves: chosen epoch {chosen_epoch} is not among the epochs {epochs}")
    return rows.iloc[0]
