"""The arithmetic limit of a loop: its convolutions and matrix products at the pace of one large matrix product."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.metrics import Estimate
from pipelines.stopwatch import ratio

_SIZE = {"cpu": 1024, "cuda": 8192}  # of square matrices: large enough that another size gives the same pace


def operations(way: Callable[[], object]) -> int:
    """Floating-point operations of all convolutions and matrix products that ``way`` calls, two per multiplication."""
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _backward}) as counter:
        way()
    return counter.get_total_flops()


@dataclass(frozen=True)
class Product:
    """A float32 matrix product to measure a device's pace with; ``operations`` is how many it takes."""

    way: Callable[[], torch.Tensor]
    operations: int

    def times(self, seconds: Sequence[float], operations: int, of_product: Sequence[float]) -> Estimate:
        """``seconds`` over those that ``operations`` take at the product's pace, measured in the same rounds."""
        return ratio(seconds, [spent * operations / self.operations for spent in of_product])


def large_product(device: torch.device) -> Product:
    """One that is large enough for ``device``."""
    size = _SIZE[device.type]
    left, right = torch.rand(2, size, size, generator=torch.Generator(device).manual_seed(0), device=device)
    return Product(lambda: left @ right, 2 * size**3)


def _backward(
    grad: Sequence[int], inputs: Sequence[int], weight: Sequence[int], *others: Any, out_shape: Any = None, **named: Any
) -> int:
    """Each gradient of a convolution costs what the convolution does; torch's own count is too high for groups."""
    asked = others[-1]  # whether the gradient by inputs, weight and bias is
    return 2 * grad[0] * math.prod(grad[2:]) * math.prod(weight) * sum(asked[:2])
