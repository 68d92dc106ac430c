"""Labels beside points that cover neither each other nor the points."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.reporting.figures.style import BACKING, SOFT, settle

_REACH = 6.0  # how far a marker reaches from its middle, in 1/72 inch
_DIRECTIONS, _SWEEPS = 24, 4  # in which labels are tried, and how often
_LINE, _LEADER = 60.0, 200.0
"""Costs beside covered square pixels: of each point of a line under a label, and of a leader on anything."""
_FAR = 1.5  # times the nearest distance: from there on a line leads to a label
_NONE, _AWAY = np.empty((0, 2)), -1e6


def place_labels(
    figure: Figure,
    axes: Axes,
    points: np.ndarray,
    texts: Sequence[str],
    *,
    markers: np.ndarray = _NONE,
    avoid: Sequence[np.ndarray] = (),
    distances: Sequence[float] = (10, 18, 28, 40, 54, 70, 90),
    looks: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Write each text (N) near its point (N, 2, data coordinates), with a thin line where it stands off.

    Labels should cover neither each other nor ``markers`` (K, 2), which include the points, nor ``avoid``, polylines
    (M, 2), and stay within the axes. They are placed one after another, the most crowded point first, each at the
    nearest of a fixed set of positions that covers least; then each once more, a few times, now that the others are
    known. So equal data gives an equal picture. This ends the figure's automatic layout.

    :param distances: from the point, in 1/72 inch, nearest first; no lines lead to labels that may stand at 0.
    :param looks: of each text, where they differ.
    """
    renderer, scale, to_pixels = settle(figure).get_renderer(), figure.dpi / 72, axes.transData.transform
    look = {"va": "center", "fontsize": 8.5, "zorder": 6, "bbox": BACKING}
    every = [look | dict(own) for own in looks or [{}] * len(texts)]
    measured = [figure.text(0, 0, text, **own) for text, own in zip(texts, every, strict=True)]
    sizes = [label.get_window_extent(renderer).size for label in measured]
    for label in measured:
        label.remove()
    centres = to_pixels(markers)
    places = _places(
        to_pixels(points),
        np.array(sizes).reshape(-1, 2),
        frame=np.array(axes.get_window_extent(renderer).extents),
        covered=np.hstack([centres - _REACH * scale, centres + _REACH * scale]),
        lines=np.concatenate([_NONE, *(_samples(to_pixels(line)) for line in avoid)]),
        distances=np.array(distances) * scale,
    )
    for text, point, place, own in zip(texts, points, places / scale, every, strict=True):
        share = float(_alignment(place[0]))
        leader = {"arrowstyle": "-", "color": SOFT, "linewidth": 0.6, "relpos": (share, 0.5), "shrinkB": 5}
        own |= {"ha": ("left", "center", "right")[int(2 * share)], "annotation_clip": False}
        own |= {"arrowprops": leader if np.hypot(*place) > (_FAR * distances[0] or np.inf) else None}
        axes.annotate(text, point, xytext=place, textcoords="offset points", **own)


def _places(
    points: np.ndarray,
    sizes: np.ndarray,
    *,
    frame: np.ndarray,
    covered: np.ndarray,
    lines: np.ndarray,
    distances: np.ndarray,
) -> np.ndarray:
    """Where labels of these sizes (N, 2) stand from their points (N, 2), all in pixels.

    :param frame: the box (4,) that they should not leave; ``covered`` boxes (K, 4) and ``lines`` points (M, 2) that
        they should not cover.
    """
    turns = np.array([(turn + 1) // 2 * (-1) ** turn for turn in range(_DIRECTIONS)]) * 2 * np.pi / _DIRECTIONS
    rings = distances[:, None, None] * np.column_stack([np.cos(turns), np.sin(turns)])
    steps, far = np.linspace(0, 1, 16)[:, None], _FAR * distances[0] or np.inf
    places, boxes, leads = (np.full((len(points), *shape), _AWAY) for shape in ((2,), (4,), (16, 2)))
    nearest = np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), axis=1)[:, 1:3].sum(axis=1)
    for _ in range(_SWEEPS):
        before = places.copy()
        for label in np.argsort(nearest, kind="stable"):
            others = np.arange(len(points)) != label
            foreign = np.concatenate([covered[_inside(points[label][None], covered) == 0], boxes[others]])
            theirs, least = leads[others].reshape(-1, 2), np.inf
            for ring in rings:
                anchors = np.column_stack([_alignment(ring[:, 0]), np.full(len(ring), 0.5)])
                corners = points[label] + ring - anchors * sizes[label]
                own = np.hstack([corners - 3, corners + sizes[label] + 3])
                cost = 4 * (np.prod(own[:, 2:] - own[:, :2], axis=1) - _overlaps(own, frame[None]))
                cost += _overlaps(own, np.concatenate([covered, boxes[others]]))
                cost += _LINE * _inside(np.concatenate([lines, theirs]), own)
                lead = points[label] + ring[:, None] * steps
                if np.hypot(*ring[0]) <= far:
                    lead = np.full_like(lead, _AWAY)
                else:
                    cost += _LEADER * _inside(lead.reshape(-1, 2), foreign, axis=1).reshape(lead.shape[:2]).sum(axis=1)
                    meets = (np.abs(lead[:, :, None] - theirs).max(axis=3) < 5).any(axis=2)
                    cost += _LEADER * meets.sum(axis=1)
                best = int(np.argmin(cost))
                if cost[best] < least - 1e-6:
                    least, places[label], boxes[label], leads[label] = cost[best], ring[best], own[best], lead[best]
                if least < 1:
                    break
        if np.array_equal(before, places):
            break
    return places


def _samples(line: np.ndarray) -> np.ndarray:
    """Points at most 4 pixels apart along a polyline (M, 2)."""
    # A whisker that ends at zero lies infinitely far below a logarithmic axis.
    line = np.nan_to_num(line.clip(-1e4, 1e4))
    pieces = [line[:1]]
    for start, end in pairwise(line):
        count = max(int(np.linalg.norm(end - start) // 4), 1)
        pieces.append(start + (end - start) * np.linspace(0, 1, count + 1)[1:, None])
    return np.concatenate(pieces)


def _inside(points: np.ndarray, boxes: np.ndarray, axis: int = 0) -> np.ndarray:
    """How many of the points (M, 2) lie in each of the boxes (K, 4); along ``axis`` 1, in how many each point does."""
    return ((points[:, None] > boxes[:, :2]) & (points[:, None] < boxes[:, 2:])).all(axis=2).sum(axis=axis)


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The area that each of the boxes (K, 4) shares with the others (L, 4)."""
    sides = np.minimum(boxes[:, None, 2:], others[:, 2:]) - np.maximum(boxes[:, None, :2], others[:, :2])
    return sides.clip(min=0).prod(axis=2).sum(axis=1)


def _alignment(horizontal: np.ndarray | float) -> np.ndarray:
    """Which share of a label's width lies left of where it is put so far from its point."""
    return np.where(np.abs(horizontal) < 1, 0.5, np.where(np.asarray(horizontal) > 0, 0.0, 1.0))
