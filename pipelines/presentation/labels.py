"""Labels beside points that cover neither each other nor the points."""

import math
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from pipelines.presentation.style import SOFT

_DIRECTIONS = 24
_DISTANCES = (10, 18, 28, 40, 54, 70)  # in points (1/72 inch)
_MARKER = 6.0
_FAR = 1e4  # pixels, outside every figure
# Costs beside overlapping area (square pixels): a line under a label, a leader through another label.
_LINE_UNDER, _LEADER_THROUGH = 60.0, 300.0


def place_labels(
    figure: Figure,
    axes: Axes,
    points: np.ndarray,
    texts: list[str],
    *,
    markers: np.ndarray,
    avoid: list[np.ndarray],
    size: float = 8.5,
) -> None:
    """Write each text (N) near its point (N, 2, data coordinates), with a thin line where it stands off.

    Labels should not cover ``markers`` (K, 2), which include the points, nor ``avoid``, polylines (M, 2) such
    as whiskers. They are placed one after another, the most crowded point first, each at the nearest of a
    fixed set of positions that covers least; so equal data gives an equal picture. This ends the figure's
    automatic layout.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")
    renderer = canvas.get_renderer()
    scale = figure.dpi / 72
    pixels = axes.transData.transform(points)
    reach = _MARKER * scale
    scene = _Scene(
        frame=axes.get_window_extent(renderer),
        boxes=[
            Bbox.from_bounds(x - reach, y - reach, 2 * reach, 2 * reach) for x, y in axes.transData.transform(markers)
        ],
        lines=[_samples(axes.transData.transform(line)) for line in avoid],
    )
    for index in _crowded_first(pixels):
        label = axes.annotate(texts[index], points[index], xytext=(0, 0), textcoords="offset points", fontsize=size)
        extent = label.get_window_extent(renderer)
        label.remove()
        offset = _best_offset(scene, pixels[index], extent.width, extent.height, scale)
        scene.labels.append(_box(pixels[index], offset, extent.width, extent.height, scale))
        start = {"left": 0.0, "center": 0.5, "right": 1.0}[_alignment(offset[0])]
        leader = {"arrowstyle": "-", "color": SOFT, "linewidth": 0.6, "relpos": (start, 0.5), "shrinkB": 5}
        if far := _is_far(offset):
            scene.lines.append(_leader(pixels[index], offset, scale))
        axes.annotate(
            texts[index],
            points[index],
            xytext=offset,
            textcoords="offset points",
            fontsize=size,
            ha=_alignment(offset[0]),
            va="center",
            annotation_clip=False,
            arrowprops=leader if far else None,
        )


@dataclass
class _Scene:
    """What is drawn already, in pixels: the plot's frame, markers, lines as samples (M, 2), labels."""

    frame: Bbox
    boxes: list[Bbox]
    lines: list[np.ndarray]
    labels: list[Bbox] = field(default_factory=list)

    def cost(self, box: Bbox, leader: np.ndarray | None) -> float:
        """How much a label in ``box`` with this leader would cover or cross."""
        outside = box.width * box.height - _overlap(box, self.frame)
        cost = 4 * outside + sum(_overlap(box, other) for other in [*self.boxes, *self.labels])
        cost += _LINE_UNDER * sum(_inside(line, box) for line in self.lines)
        if leader is not None:
            cost += _LEADER_THROUGH * sum(_inside(leader, other) for other in self.labels)
        return cost


def _crowded_first(pixels: np.ndarray) -> np.ndarray:
    distance = np.linalg.norm(pixels[:, None] - pixels[None, :], axis=2)
    nearest = np.sort(distance, axis=1)[:, 1:3].sum(axis=1)
    return np.argsort(nearest, kind="stable")


def _best_offset(scene: _Scene, pixel: np.ndarray, width: float, height: float, scale: float) -> tuple[float, float]:
    """The offset in points that costs least; of several that cost nothing, the nearest."""
    best, least = (float(_DISTANCES[0]), 0.0), math.inf
    for distance in _DISTANCES:
        for turn in range(_DIRECTIONS):
            angle = 2 * math.pi * ((turn + 1) // 2) * (-1) ** turn / _DIRECTIONS
            offset = (distance * math.cos(angle), distance * math.sin(angle))
            leader = _leader(pixel, offset, scale) if _is_far(offset) else None
            cost = scene.cost(_box(pixel, offset, width, height, scale), leader)
            if cost < least - 1e-6:
                best, least = offset, cost
        if least < 1.0:
            break
    return best


def _is_far(offset: tuple[float, float]) -> bool:
    return math.hypot(*offset) > 1.5 * _DISTANCES[0]


def _leader(pixel: np.ndarray, offset: tuple[float, float], scale: float) -> np.ndarray:
    return _samples(np.array([pixel, pixel + np.array(offset) * scale]))


def _samples(line: np.ndarray) -> np.ndarray:
    """Points at most 4 pixels apart along a polyline (M, 2)."""
    # A whisker that ends at zero lies infinitely far below a logarithmic axis.
    line = np.nan_to_num(line.clip(-_FAR, _FAR))
    pieces = [line[:1]]
    for start, end in pairwise(line):
        count = max(int(np.linalg.norm(end - start) // 4), 1)
        pieces.append(start + (end - start) * np.linspace(0, 1, count + 1)[1:, None])
    return np.concatenate(pieces)


def _inside(points: np.ndarray, box: Bbox) -> int:
    x, y = points.T
    return int(((x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1)).sum())


def _box(pixel: np.ndarray, offset: tuple[float, float], width: float, height: float, scale: float) -> Bbox:
    x, y = pixel[0] + offset[0] * scale, pixel[1] + offset[1] * scale
    left = {"left": x, "center": x - width / 2, "right": x - width}[_alignment(offset[0])]
    return Bbox.from_bounds(left - 3, y - height / 2 - 3, width + 6, height + 6)


def _alignment(horizontal: float) -> str:
    if abs(horizontal) < 1.0:
        return "center"
    return "left" if horizontal > 0 else "right"


def _overlap(one: Bbox, other: Bbox) -> float:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(width, 0.0) * max(height, 0.0)
