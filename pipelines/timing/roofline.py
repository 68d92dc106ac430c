"""The arithmetic limit of a loop: its convolutions and matrix products at the pace of one that is large."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.metrics import Estimate
from pipelines.timing.stopwatch import ratio


def operations(way: Callable[[], object]) -> int:
    """Floating-point operations of all convolutions and matrix products that ``way`` calls, two per multiplication."""
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _backward}) as counter:
        way()
    return counter.get_total_flops()


@dataclass(frozen=True)
class Reference:
    """Something large to measure a device's float32 pace with; ``operations`` is how many it takes."""

    way: Callable[[], torch.Tensor]
    operations: int


def references(device: torch.device) -> dict[str, Reference]:
    """A matrix product and a convolution that are large enough for ``device``: libraries differ in which is faster."""
    gpu = device.type == "cuda"
    size, images, channels = (8192, 1024, 512) if gpu else (1024, 128, 128)
    source = torch.Generator(device).manual_seed(0)
    rand = partial(torch.rand, generator=source, device=device)
    left, right = rand(size, size), rand(size, size)
    inputs, weight = rand(images, channels, 8, 8), rand(channels, channels, 3, 3)
    return {
        "product": Reference(lambda: left @ right, 2 * size**3),
        "convolution": Reference(
            lambda: F.conv2d(inputs, weight, padding=1), 2 * inputs.numel() * math.prod(weight.shape) // channels
        ),
    }


def over_limit(seconds: Mapping[str, Sequence[float]], count: int, known: Mapping[str, Reference]) -> Estimate:
    """``ours`` over what ``count`` operations take at the pace of the faster reference, ``seconds`` all of one run."""
    fastest = min(known, key=lambda name: float(np.median(seconds[name])) / known[name].operations)
    return ratio(seconds["ours"], [spent * count / known[fastest].operations for spent in seconds[fastest]])


def _backward(
    grad: Sequence[int], inputs: Sequence[int], weight: Sequence[int], *others: Any, out_shape: Any = None, **named: Any
) -> int:
    """Each gradient of a convolution costs what the convolution does; torch's own count is too high for groups."""
    asked = others[-1]  # whether the gradient by inputs, weight and bias is
    return 2 * grad[0] * math.prod(grad[2:]) * math.prod(weight) * sum(asked[:2])
