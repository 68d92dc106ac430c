"""A table as horizontal bars: drawdown, what else a row is judged by, published values; and bars of ranks."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from pipelines.reporting.figures import style
from pipelines.reporting.ranking import BELOW, NO_FURTHER, ON_FRONT, carries_further, on_front, reaches_success

_WIDTHS = (3, 1.6, 1.6)
_LINE = 0.42  # inches of a row
_BAR, _BELOW = 0.5, 0.3
"""Heights of a bar and of the line of published values below it, in rows: beside a bar stands its own number only."""
_GAP = 0.6  # rows between two groups
_ROWS = 14  # of side effects
_SIDE_EFFECTS = {
    "worst_class": ("Worst class", "o"),
    "sensitive": ("Sensitive images", "D"),
    "corrupted": ("Corrupted images", "^"),
}
"""What is shown of each row beside its drawdown: columns, with their words and markers."""
_BARS = 20
"""Up to as many classes each rank has bars; of more, curves over a logarithmic axis."""
_TRAINED, _EVALUATED = "#0072B2", "#E69F00"
_COMPARABLE = 3.0
"""A published value further beyond ours than this would flatten all bars: its number stands at the axis's end."""


@style.styled
def table_bars(
    frame: pd.DataFrame,
    *,
    drawdown: str = "drawdown",
    quality: str = "test_error",
    titles: tuple[str, str] = ("Drawdown (points)", "Test error (%)"),
    group: str | None = None,
    required: float | None = None,
) -> Figure:
    """Drawdown, generality (where known) and quality of each row, with 95 % intervals and the paper's values.

    ``frame`` has the columns ``training, editor, layers, success_rate``, the two named and, where known, their ``_low``
    and ``_high`` and ``published_…``. Rows without a measured drawdown are left out; bars clearly below 95 % success
    are hatched, those of rows not clearly more general than the unedited network striped; names of rows on the front
    are bold.

    :param titles: of the two axes.
    :param group: a column whose values, in their order, keep rows together.
    :param required: of ``quality``: a line is drawn there, and its axis need not begin at zero.
    """
    several = frame["training"].nunique() > 1
    names = [style.row_title(row, training=several) for row in frame.to_dict("records")]
    rows = frame.assign(_name=names)[frame[drawdown].notna()]
    rows = rows.sort_values(group, kind="stable") if group else rows
    places = np.arange(len(rows), dtype=float)
    if group:
        places += _GAP * np.cumsum(rows[group].ne(rows[group].shift()).to_numpy()) - _GAP
    panels = {drawdown: titles[0], quality: titles[1]}
    if "generality" in rows:
        panels = {drawdown: titles[0], "generality": "Generality (%)", quality: titles[1]}
    figure = style.new_figure(6 + len(panels), height=1.5 + _LINE * (places[-1] + 1))
    drawn = figure.subplots(1, len(panels), sharey=True, width_ratios=_WIDTHS[: len(panels)])
    axes_of, left = dict(zip(panels, drawn, strict=True)), drawn[0]
    hatches = np.where(reaches_success(rows), "", "////")
    hatches[~carries_further(rows) & (hatches == "")] = "----"
    for place, value, editor, hatch in zip(places, rows[drawdown], rows["editor"], hatches, strict=True):
        colour = style.editor_look(editor).colour
        look = {"facecolor": "white", "edgecolor": colour, "hatch": hatch} if hatch else {"color": colour}
        left.barh(place, value, height=_BAR, **look)
    for metric, axes in axes_of.items():
        title = panels[metric]
        _scale(axes, rows, metric, required if metric == quality else None)
        _published(axes, places, _column(rows, f"published_{metric}"))
        low, high = (_column(rows, f"{metric}_{end}") for end in ("low", "high"))
        axes.hlines(places, low, high, color=style.INK, linewidth=1.1, zorder=3)
        axes.set_xlabel(textwrap.fill(title, 60 if axes is left else 16))
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
    ends = np.fmax(rows[drawdown], _column(rows, f"{drawdown}_high"))
    marks = np.where(hatches == "----", " †", "")  # a short bar shows no stripes
    texts = [f"{value:.2f}{mark}" for value, mark in zip(rows[drawdown], marks, strict=True)]
    _write(left, ends, places, texts, xytext=(6, 0), ha="left")
    for metric, axes in [*axes_of.items()][1:]:
        axes.plot(rows[metric], places, linestyle="none", marker="o", color=style.INK, markersize=5, zorder=4)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        digits = "{:.0f}" if metric == "generality" else "{:.2f}"
        _write(axes, rows[metric], places, rows[metric].map(digits.format), xytext=(0, 8), ha="center")
    left.set_yticks(places, rows["_name"])
    front = on_front(frame, drawdown)[rows.index]
    for label, wins in zip(left.get_yticklabels(), front, strict=True):
        label.set_fontweight("bold" if wins and "generality" in panels else "normal")
    if "generality" in panels and front.any():
        left.set_xlabel(f"{left.get_xlabel()}\nBold names: {ON_FRONT}")
    left.set_ylim(places[-1] + 0.6, -0.6)
    keys: list[Artist] = []
    if any(np.isfinite(_column(rows, f"{metric}_low")).any() for metric in (drawdown, quality)):
        keys.append(Line2D([], [], color=style.INK, label="95 % interval"))
    if any(np.isfinite(_column(rows, f"published_{metric}")).any() for metric in (drawdown, quality)):
        keys.append(style.marker_entry("published, below its row (other data and scale)", "D", **style.HOLLOW))
    words = {"////": BELOW, "----": f"† {NO_FURTHER}"}
    before = _column(rows, "generality_before")
    if "generality" in axes_of and np.isfinite(before).any():
        mark = {"marker": "|", "markersize": 13, "markeredgewidth": 1.5, "color": style.SOFT}
        axes_of["generality"].plot(before, places, linestyle="none", zorder=2, **mark)
        keys.append(style.marker_entry("generality of the unedited network", **mark))
    for hatch in [hatch for hatch in words if hatch in hatches]:
        keys.append(Patch(facecolor="white", edgecolor=style.SOFT, hatch=hatch, label=words[hatch]))
    style.legend_above(figure, keys)
    return figure


def _column(rows: pd.DataFrame, name: str) -> np.ndarray:
    """The column as floats, NaN throughout where there is none."""
    return rows[name].to_numpy(dtype=float, na_value=np.nan) if name in rows else np.full(len(rows), np.nan)


def _scale(axes: Axes, rows: pd.DataFrame, metric: str, required: float | None) -> None:
    """From zero, with room for every interval and, unless they would flatten all else, the published values."""
    furthest = np.nanmax([*_column(rows, metric), *_column(rows, f"{metric}_high"), 1e-9])
    if required is not None:
        lowest = np.nanmin([required, *_column(rows, metric), *_column(rows, f"{metric}_low")])
        width = max(furthest - lowest, 1.0)
        axes.set_xlim(lowest - 0.15 * width, furthest + 0.2 * width)
        axes.axvline(required, color=style.SOFT, linestyle="--", linewidth=1)
        return
    published = np.nanmax([*_column(rows, f"published_{metric}"), 0.0])
    reach = 1.6 * furthest if published > _COMPARABLE * furthest else 1.25 * max(furthest, published)
    axes.set_xlim(0, min(reach, 108.0) if metric == "generality" else reach)


def _published(axes: Axes, places: np.ndarray, values: np.ndarray) -> None:
    """Hollow diamonds, each below its row; values beyond the axis, being of other data and scale, stand at its end."""
    limit = axes.get_xlim()[1]
    inside = values <= limit
    axes.plot(values[inside], places[inside] + _BELOW, zorder=5, marker="D", markersize=5.5, **style.HOLLOW)
    for place, value in zip(places[values > limit], values[values > limit], strict=True):
        where = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "center"}
        axes.annotate(f"{value:g} →", (1, place + _BELOW), fontsize=8.5, color=style.SOFT, **where)


def _write(axes: Axes, ends: pd.Series, places: np.ndarray, texts: Sequence[str], **look: Any) -> None:
    """Each text beside the end of its bar."""
    look |= {"textcoords": "offset points", "va": "center", "fontsize": 9, "bbox": style.BACKING}
    for end, place, text in zip(ends, places, texts, strict=True):
        if np.isfinite(end):
            axes.annotate(text, (end, place), **look)


@style.styled
def rank_bars(frame: pd.DataFrame) -> Figure:
    """Shares of mistakes by the true class's rank, those trained on and those evaluated, and probabilities of targets.

    ``frame`` has the columns ``rank`` (0 is the answer itself) and, as shares from 0 to 1, ``training``,
    ``evaluation``, ``drawn`` (targets with matched ranks) and ``random`` (targets drawn from all classes).
    """
    figure = style.new_figure(height=4.0)
    axes = figure.subplots()
    few = len(frame) <= _BARS
    places = frame["rank"].to_numpy(dtype=float) + (0 if few else 1)
    shares = {name: 100 * frame[name].to_numpy(dtype=float) for name in ("training", "evaluation", "drawn", "random")}
    for side, name, of in ((-1, "training", "of the training part"), (1, "evaluation", "that are evaluated")):
        look = {"color": _TRAINED if side < 0 else _EVALUATED, "label": f"mistakes {of}"}
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


@style.styled
def side_effect_dots(frame: pd.DataFrame, drawdown: str) -> Figure:
    """Changes of the error on some images, beside the mean change on all.

    Of every editor there is the row that breaks least, and that of the model that most rows edit.

    ``frame`` has the columns ``training, editor, layers, success_rate``, ``drawdown``, the mean over all images, and
    those of side effects with ``_low`` and ``_high`` where known, in points.
    """
    rows = frame[reaches_success(frame)].sort_values(drawdown)
    rows = rows if len(rows) else frame.sort_values(drawdown)
    usual = rows["training"] == rows["training"].value_counts(sort=False).idxmax()
    least = [some.drop_duplicates("editor").index for some in (rows, rows[usual])]
    rows = rows.loc[rows.index.isin(least[0].union(least[1]))].head(_ROWS)
    figure = style.new_figure(height=1.6 + _LINE * len(rows))
    axes, places = figure.subplots(), np.arange(len(rows), dtype=float)
    axes.barh(places, rows[drawdown], height=_BAR, color=[style.editor_look(name).colour for name in rows["editor"]])
    offsets = np.linspace(-0.22, 0.22, len(_SIDE_EFFECTS))
    keys: list[Artist] = [Patch(color=style.SOFT, label="bars: all images (|change|)")]
    for offset, (name, (words, marker)), colour in zip(offsets, _SIDE_EFFECTS.items(), style.MUTED, strict=False):
        low, high = (_column(rows, f"{name}_{end}") for end in ("low", "high"))
        axes.hlines(places + offset, low, high, color=colour, linewidth=1.1, zorder=3)
        look = {"color": colour, "markeredgecolor": "white", "markersize": 7}
        axes.plot(rows[name], places + offset, linestyle="none", marker=marker, zorder=4, **look)
        keys.append(style.marker_entry(words, marker, **look))
    axes.axvline(0, color=style.INK, linewidth=0.8)
    axes.set_yticks(places, [style.row_title(row) for row in rows.to_dict("records")])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("Error after − error before (points)")
    style.legend_above(figure, keys, most=4)
    return figure
