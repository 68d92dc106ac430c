"""Labels beside points that cover neither each other nor the points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox

from pipelines.reporting.figures.style import SOFT

_DIRECTIONS = 24
_DISTANCES = (10, 18, 28, 40, 54, 70, 90)  # in points (1/72 inch)
_MARKER = 6.0
_FAR = 1e4  # pixels, outside every figure
# Costs beside overlapping area (square pixels), for every 4 pixels: a line under a label; a leader through another
# label, through a marker, along another leader.
_LINE_UNDER, _LEADER_THROUGH, _LEADER_OVER, _LEADERS_MEET = 60.0, 300.0, 100.0, 100.0
_SWEEPS = 4


def place_labels(
    figure: Figure,
    axes: Axes,
    points: np.ndarray,
    texts: list[str],
    *,
    markers: np.ndarray,
    avoid: Sequence[np.ndarray] = (),
    taken: Sequence[Bbox] = (),
    size: float = 8.5,
    reach: float = _MARKER,
    **looks: Any,
) -> None:
    """Write each text (N) near its point (N, 2, data coordinates), with a thin line where it stands off.

    Labels should not cover ``markers`` (K, 2), which include the points and reach so far (in 1/72 inch), nor ``avoid``,
    polylines (M, 2) such as whiskers, nor ``taken``, places in pixels. They are placed one after another, the most
    crowded point first, each at the nearest of a fixed set of positions that covers least; then each once more, a few
    times, now that the others are known. So equal data gives an equal picture. This ends the figure's automatic layout.

    :param looks: of the text.
    """
    settle(figure)
    renderer = FigureCanvasAgg(figure).get_renderer()
    scale = figure.dpi / 72
    pixels = axes.transData.transform(points)
    centres = axes.transData.transform(markers)
    lines = [_samples(axes.transData.transform(line)) for line in avoid]
    scene = _Scene(
        frame=np.array(axes.get_window_extent(renderer).extents),
        markers=np.hstack([centres - reach * scale, centres + reach * scale]),
        taken=np.array([box.extents for box in taken]).reshape(-1, 4),
        lines=np.concatenate([np.empty((0, 2)), *lines]),
        scale=scale,
    )
    for text, pixel in zip(texts, pixels, strict=True):
        label = axes.annotate(text, (0, 0), xycoords="figure pixels", fontsize=size, **looks)
        extent = label.get_window_extent(renderer)
        label.remove()
        scene.labels.append(_Label(pixel, extent.width, extent.height))
    order = _crowded_first(pixels)
    for _ in range(1 + _SWEEPS):
        moved = [scene.place(scene.labels[index]) for index in order]
        if not any(moved):
            break
    for text, point, label in zip(texts, points, scene.labels, strict=True):
        start = {"left": 0.0, "center": 0.5, "right": 1.0}[_alignment(label.offset[0])]
        leader = {"arrowstyle": "-", "color": SOFT, "linewidth": 0.6, "relpos": (start, 0.5), "shrinkB": 5}
        axes.annotate(
            text,
            point,
            xytext=label.offset,
            textcoords="offset points",
            fontsize=size,
            ha=_alignment(label.offset[0]),
            va="center",
            annotation_clip=False,
            arrowprops=leader if _is_far(label.offset) else None,
            **looks,
        )


def settle(figure: Figure) -> None:
    """Lay the figure out for good, so that what is placed by pixels stays where it is put."""
    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


@dataclass(eq=False)
class _Label:
    """A text of this size (pixels) for the point at ``pixel``; where it stands, once it does.

    :ivar offset: in points (1/72 inch).
    :ivar box: (4,), with a margin.
    :ivar leader: samples (M, 2) of the line to the point, none of a label close to it.
    """

    pixel: np.ndarray
    width: float
    height: float
    offset: tuple[float, float] = (math.inf, math.inf)
    box: np.ndarray = field(default_factory=lambda: np.full(4, _FAR))
    leader: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))

    def at(self, offset: tuple[float, float], scale: float) -> _Label:
        """The label at this offset."""
        x, y = self.pixel + np.array(offset) * scale
        left = {"left": x, "center": x - self.width / 2, "right": x - self.width}[_alignment(offset[0])]
        box = np.array([left - 3, y - self.height / 2 - 3, left + self.width + 3, y + self.height / 2 + 3])
        line = np.array([self.pixel, self.pixel + np.array(offset) * scale])
        leader = _samples(line) if _is_far(offset) else np.empty((0, 2))
        return _Label(self.pixel, self.width, self.height, offset, box, leader)


@dataclass
class _Scene:
    """What is drawn, in pixels: the plot's frame, boxes (K, 4) of markers and of other things, samples of lines (M, 2),
    labels."""

    frame: np.ndarray
    markers: np.ndarray
    taken: np.ndarray
    lines: np.ndarray
    scale: float
    labels: list[_Label] = field(default_factory=list)

    def place(self, label: _Label) -> bool:
        """Move the label to where it costs least, the nearest such place; whether that is another than before."""
        others = [other for other in self.labels if other is not label]
        best, least = label, math.inf
        for distance in _DISTANCES:
            for turn in range(_DIRECTIONS):
                angle = 2 * math.pi * ((turn + 1) // 2) * (-1) ** turn / _DIRECTIONS
                tried = label.at((distance * math.cos(angle), distance * math.sin(angle)), self.scale)
                cost = self._cost(tried, others)
                if cost < least - 1e-6:
                    best, least = tried, cost
            if least < 1.0:
                break
        moved = best.offset != label.offset
        label.offset, label.box, label.leader = best.offset, best.box, best.leader
        return moved

    def _cost(self, label: _Label, others: list[_Label]) -> float:
        """How much the label and its leader would cover or cross."""
        boxes = np.array([other.box for other in others]).reshape(-1, 4)
        leaders = np.concatenate([np.empty((0, 2)), *(other.leader for other in others)])
        covered = np.concatenate([self.markers, self.taken, boxes])
        outside = np.prod(label.box[2:] - label.box[:2]) - _overlaps(label.box, self.frame[None])
        cost = 4 * outside + _overlaps(label.box, covered)
        cost += _LINE_UNDER * _inside(np.concatenate([self.lines, leaders]), label.box[None])
        if len(label.leader):
            own = ((self.markers[:, :2] < label.pixel) & (label.pixel < self.markers[:, 2:])).all(axis=1)
            cost += _LEADER_THROUGH * _inside(label.leader, np.concatenate([boxes, self.taken]))
            cost += _LEADER_OVER * _inside(label.leader, self.markers[~own])
            apart = np.abs(label.leader[:, None] - leaders[None]).max(axis=2)
            cost += _LEADERS_MEET * int((apart < 3).any(axis=1).sum())
        return float(cost)


def _crowded_first(pixels: np.ndarray) -> np.ndarray:
    distance = np.linalg.norm(pixels[:, None] - pixels[None, :], axis=2)
    nearest = np.sort(distance, axis=1)[:, 1:3].sum(axis=1)
    return np.argsort(nearest, kind="stable")


def _is_far(offset: tuple[float, float]) -> bool:
    return math.hypot(*offset) > 1.5 * _DISTANCES[0]


def _samples(line: np.ndarray) -> np.ndarray:
    """Points at most 4 pixels apart along a polyline (M, 2)."""
    # A whisker that ends at zero lies infinitely far below a logarithmic axis.
    line = np.nan_to_num(line.clip(-_FAR, _FAR))
    pieces = [line[:1]]
    for start, end in pairwise(line):
        count = max(int(np.linalg.norm(end - start) // 4), 1)
        pieces.append(start + (end - start) * np.linspace(0, 1, count + 1)[1:, None])
    return np.concatenate(pieces)


def _inside(points: np.ndarray, boxes: np.ndarray) -> int:
    """How often one of the points (M, 2) lies in one of the boxes (K, 4)."""
    low, high = boxes[None, :, :2], boxes[None, :, 2:]
    return int(((points[:, None] > low) & (points[:, None] < high)).all(axis=2).sum())


def _overlaps(box: np.ndarray, others: np.ndarray) -> float:
    """The area that a box (4,) shares with the others (K, 4)."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return float(sides.clip(min=0).prod(axis=1).sum())


def _alignment(horizontal: float) -> str:
    if abs(horizontal) < 1.0:
        return "center"
    return "left" if horizontal > 0 else "right"
