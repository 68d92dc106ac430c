"""Rows as points: drawdown against generality, steps or quality, with the Pareto front and names beside points."""

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipelines.reporting.figures import style
from pipelines.reporting.figures.labels import place_labels
from pipelines.reporting.ranking import BELOW, NO_FURTHER, ON_FRONT, carries_further, on_front, reaches_success

_FRONT = {"color": style.SOFT, "linewidth": 1.2, "linestyle": (0, (4, 3))}
_SAME = {"marker": ".", "markersize": 4, "linewidth": 1.2}
_FIXED = 4  # entries of the key that name no editor
_LOGARITHMIC = 5.0
"""From this ratio of largest to smallest value on, a linear axis presses the good editors into one line."""
_DECADES = 500.0
"""From this ratio on, five ticks for each power of ten would stand on each other."""
_TALL = 6.0  # inches high, so that a long key or many names leave the plot room
_LONGEST_LINE = 90  # characters of small text that fit below a plot
_FEW = 8  # names that fit a picture of the usual height


@style.styled
def scatter(
    frame: pd.DataFrame,
    x: str,
    y: str = "drawdown",
    *,
    titles: tuple[str, str] | None = None,
    logarithmic: bool = False,
    missing: str = "",
    reference: tuple[float, str] | None = None,
    curves: Sequence[pd.DataFrame] = (),
) -> Figure:
    """Rows as points with 95 % intervals, and which are on the Pareto front of ``y``, the drawdown, and generality.

    ``frame`` has the columns ``training, editor, layers``, ``x``, ``y`` and, where known, their ``_low`` and ``_high``
    and ``success_rate``; rows without ``x`` or ``y`` are left out. Colour and shape tell the editor; points that do not
    compete (too little success, not clearly more general than the unedited network) are hollow. Up to 12 rows have
    names beside them: of more, those on the front, then those that no key could tell, and the key names editors. A name
    is editor and part, and the training where it is not that of most rows; the training alone where there is one editor
    only.

    :param titles: of the axes.
    :param logarithmic: let ``x`` have a logarithmic scale, as ``y`` has, when its values span magnitudes.
    :param missing: what editors do whose rows have ``y`` and no ``x``; a line names them.
    :param reference: everything up to this ``x`` is shaded, and what stands there.
    :param curves: frames with the columns ``editor``, ``x`` and ``y``: a line through the points of each.
    """
    rows = frame.dropna(subset=[x, y])
    failing, poor = (~reaches_success(rows)).to_numpy(), (~carries_further(rows)).to_numpy()
    points, competes = rows[[x, y]].to_numpy(dtype=float), ~(failing | poor)
    front = on_front(frame, y)[rows.index].to_numpy()
    usual = rows["training"].value_counts(sort=False).idxmax()
    elsewhere, one_editor = (rows["training"] != usual).to_numpy(), rows["editor"].nunique() == 1
    named, keyed, others = _named(rows, front, elsewhere, y)

    figure = style.new_figure(height=style.HEIGHT if len(rows) <= _FEW else _TALL)
    axes = figure.subplots()
    _scale(axes.yaxis, points[:, 1])
    if logarithmic:
        _scale(axes.xaxis, points[:, 0])
    lines = _draw_points(axes, rows, (x, y), competes, elsewhere & (not one_editor), others)
    left_out = list(dict.fromkeys(frame.loc[frame[x].isna() & frame[y].notna(), "editor"])) if missing else []
    notes = ["Lower right is better: edits that break little and reach far."] if x == "generality" else []
    notes += ["Lines through points are 95 % intervals."] if {f"{x}_low", f"{y}_low"} & set(rows.columns) else []
    if left_out:
        titles_out = ", ".join(style.editor_look(one).title for one in left_out)
        notes.append(textwrap.fill(f"Not shown, as they {missing}: {titles_out}", _LONGEST_LINE))
    axes.set_xlabel("\n".join([(titles or (x, y))[0], *notes]))
    axes.set_ylabel((titles or (x, y))[1])
    axes.margins(x=0.15, y=0.12)
    looks = [style.editor_look(name) for name in keyed]
    keys: list[Artist] = [style.marker_entry(one.title, one.marker, color=one.colour, markersize=7) for one in looks]
    if others:
        keys.append(style.marker_entry(f"{len(others)} other editors", color=style.OTHER, markersize=7))
    if elsewhere.any() and not one_editor:
        dot = {"markersize": 6, "markerfacecolor": "white", "markeredgewidth": 2.5, "markeredgecolor": style.SOFT}
        keys.append(style.marker_entry(f"trained otherwise than {style.shown(usual)}", **dot))
    if not competes.all():
        reasons = [text for text, rows_so in ((BELOW, failing), (NO_FURTHER, poor)) if rows_so.any()]
        keys.append(style.marker_entry("\nor ".join(reasons), markersize=7, **style.HOLLOW))
    if front.any() and x == "generality":
        lines.append(_draw_front(axes, points[front]))
        keys.append(Line2D([], [], label="Pareto front", **_FRONT))
    elif front.any() and "generality" in rows:
        axes.plot(*points[front].T, linestyle="none", zorder=2, **style.RING)
        keys.append(style.marker_entry(ON_FRONT, **style.RING))
    for curve in curves:
        lines.append(curve[[x, y]].to_numpy(dtype=float))
        axes.plot(*lines[-1].T, color=style.editor_look(curve["editor"].iloc[0]).colour, alpha=0.6, zorder=1, **_SAME)
    if curves:
        keys.append(Line2D([], [], color=style.SOFT, label="same editor, other settings", **_SAME))
    style.legend_above(figure, keys)
    if reference is not None:
        lines.append(_shade(axes, *reference))
    alone = one_editor and elsewhere.any()  # its name need not be said
    texts = [style.shown(row["training"]) if alone else _name(row, usual) for _, row in rows[named].iterrows()]
    place_labels(figure, axes, points[named], texts, markers=points, avoid=lines)
    return figure


def _draw_points(
    axes: Axes, rows: pd.DataFrame, metrics: tuple[str, str], full: np.ndarray, dotted: np.ndarray, grey: Sequence[str]
) -> list[np.ndarray]:
    """A marker for each row, hollow unless ``full``; editors of ``grey`` are not told apart. Returns the intervals."""
    (x, y), intervals = metrics, []
    for row, filled, dot in zip(rows.to_dict("records"), full, dotted, strict=True):
        ends = [[(row.get(f"{x}_{end}", np.nan), row[y]) for end in ("low", "high")]]
        ends += [[(row[x], row.get(f"{y}_{end}", np.nan)) for end in ("low", "high")]]
        whiskers = [line for line in np.array(ends, dtype=float) if np.isfinite(line).all()]
        look = style.editor_look(row["editor"])
        colour = style.OTHER if row["editor"] in grey else look.colour
        axes.add_collection(LineCollection(whiskers, colors=colour, linewidths=0.9, zorder=2))
        face, inner = (colour, "white") if filled else ("white", colour)
        mark = {"color": colour, "marker": look.marker, "markersize": 8, "markeredgewidth": 1.5, "linestyle": "none"}
        axes.plot(row[x], row[y], markerfacecolor=face, zorder=2.5, **mark)
        if dot:
            axes.plot(row[x], row[y], marker="o", markersize=3, markeredgewidth=0, color=inner, zorder=4)
        intervals += whiskers
    return intervals


def _shade(axes: Axes, reach: float, text: str) -> np.ndarray:
    """Shade everything up to ``reach`` and write there; returns the line (2, 2) along the text."""
    left, right = axes.get_xlim()
    room = 0.06 * (right - left)  # for the shade and its text, where no point lies in it
    axes.set_xlim(min(left, reach - room), max(right, reach))
    axes.axvspan(axes.get_xlim()[0], reach, color=style.GRID, alpha=0.6, linewidth=0, zorder=0)
    where = {"transform": axes.get_xaxis_transform(), "ha": "right", "va": "top", "rotation": 90}
    axes.text(reach, 0.99, text, fontsize=8.5, color=style.SOFT, **where)
    heights = axes.transData.inverted().transform(axes.transAxes.transform([[0, 0.6], [0, 1]]))[:, 1]
    return np.column_stack([[reach, reach], heights])


def _named(
    rows: pd.DataFrame, front: np.ndarray, elsewhere: np.ndarray, y: str
) -> tuple[np.ndarray, list[str], list[str]]:
    """Which rows (N,) have a name beside them, which editors the key names, and which nothing does.

    A point is easier to find by its name, an editor of many points by the key.
    """
    if len(rows) <= style.MOST_NAMES:
        return np.ones(len(rows), dtype=bool), [], []
    editors = rows["editor"].to_numpy()
    by_drawdown = np.argsort(rows[y].to_numpy(), kind="stable")
    named = np.zeros(len(rows), dtype=bool)

    def name(wanted: np.ndarray, most: int) -> None:
        free = style.MOST_NAMES - int(named.sum())
        named[[place for place in by_drawdown if wanted[place] and not named[place]][: min(most, free)]] = True

    name(front, style.MOST_NAMES)
    counts = rows.loc[~named, "editor"].value_counts()
    unnamed = sorted(dict.fromkeys(editors[~named]), key=lambda editor: -counts[editor])
    keyed, rare = unnamed[: style.MOST_NAMES - _FIXED], unnamed[style.MOST_NAMES - _FIXED :]
    for editor in rare:
        name(editors == editor, 1)
    name(elsewhere, style.MOST_NAMES)
    others = [editor for editor in rare if editor not in editors[named]]
    if others:
        others.append(keyed.pop())
    return named, [editor for editor in keyed if (~named & (editors == editor)).any()], others


def _name(row: pd.Series, usual: str) -> str:
    editing = style.row_title(row, between=", ", training=False)
    return editing if row["training"] == usual else f"{editing}\non {style.shown(row['training'])}"


def _scale(axis: Axis, values: np.ndarray) -> None:
    """A logarithmic scale for values of several magnitudes."""
    if values.min() > 0 and values.max() / values.min() > _LOGARITHMIC:
        many = values.max() / values.min() > _DECADES
        style.logarithmic(axis, (1.0, 3.0) if many else (1.0, 2.0, 3.0, 5.0, 7.0))


def _draw_front(axes: Axes, points: np.ndarray) -> np.ndarray:
    """Draw the front towards more ``x`` and less ``y`` through its points (N, 2), a stair; returns its corners."""
    columns, heights = points[np.lexsort((points[:, 1], points[:, 0]))].T
    columns, heights = np.repeat(columns, 2), np.repeat(heights, 2)
    stair = np.column_stack([columns[:-1], heights[1:]])
    axes.plot(*stair.T, zorder=1, label="Pareto front", **_FRONT)
    return stair
