"""Timing several ways to do the same thing in rounds, against the arithmetic limit, and the records of what was found.

In each round every way takes its turn, so whatever else the machine does slows all of them alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.metrics import CONFIDENCE, Estimate
from editors.devices import finish

_RESAMPLES = 2000


@dataclass(frozen=True)
class Conditions:
    """The device on which everything is measured, and the number of rounds."""

    device: torch.device
    turns: int


def in_turns(ways: Mapping[str, Callable[[], object]], turns: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of every way in each of ``turns`` rounds, each round running every way once.

    On a CPU that is the process's CPU time, which other work on the machine hardly touches; on a GPU it is wall time
    until the GPU has finished. Whoever wants a warm start runs every way once before.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            seconds[name].append(timed(way, device))
    return seconds


def timed(way: Callable[[], object], device: torch.device) -> float:
    """Seconds of CPU time, or of wall time on a GPU."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    finish(device)
    began = clock()
    way()
    finish(device)
    return clock() - began


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Estimate:
    """The median of ``slow`` over that of ``fast``, with a 95 % interval (bootstrap over rounds)."""
    pairs = np.array([slow, fast])
    chosen = np.random.default_rng(0).integers(pairs.shape[1], size=(_RESAMPLES, pairs.shape[1]))
    above, below = np.median(pairs[:, chosen], axis=2)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(above / below, [tail, 1 - tail])
    return Estimate(float(np.median(slow) / np.median(fast)), float(low), float(high))


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """p of ``seconds ∝ sizes ** p``, by least squares between the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def operations(way: Callable[[], object]) -> int:
    """Floating-point operations of all convolutions and matrix products that ``way`` calls, two per multiplication."""
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _backward}) as counter:
        way()
    return counter.get_total_flops()


def _backward(
    grad: Sequence[int], inputs: Sequence[int], weight: Sequence[int], *others: Any, out_shape: Any = None, **named: Any
) -> int:
    """Each gradient of a convolution costs what the convolution does; torch's own count is too high for groups."""
    asked = others[-1]  # whether the gradient by inputs, weight and bias is
    return 2 * grad[0] * math.prod(grad[2:]) * math.prod(weight) * sum(asked[:2])


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


@dataclass(frozen=True)
class Goal:
    """What a ratio is about, and what it should reach at least (``floor``) and at best (``stretch``)."""

    title: str
    floor: float
    stretch: float


@dataclass(frozen=True)
class Comparison:
    """Several ways to do the same thing, timed in turns.

    :ivar seconds: of each round, by way: ``ours``, ``naive`` and, for training steps, ``plain``.
    :ivar ratio: naive / ours, the more the better; for training steps ours / plain, the less the better.
    :ivar differences: what ours and the naive way found differently, by what is compared.
    :ivar over_limit: ours / the arithmetic limit, whose references are among ``seconds`` too.
    :ivar naive_ratio: for training steps, naive / plain.
    """

    goal: Goal
    seconds: Mapping[str, Sequence[float]]
    ratio: Estimate
    differences: Mapping[str, float]
    over_limit: Estimate | None = None
    naive_ratio: Estimate | None = None

    def reaches(self, target: float) -> bool:
        """Whether the ratio is as good as ``target``."""
        return self.ratio.value >= target if self.naive_ratio is None else self.ratio.value <= target


@dataclass(frozen=True)
class Counts:
    """What is counted and not timed, such as operations or memory, by way; and what is allowed."""

    title: str
    counts: Mapping[str, float]


@dataclass(frozen=True)
class Growth:
    """Seconds against a size: ``seconds[way][n]`` belongs to ``sizes[n]``; the naive way may stop earlier."""

    title: str
    quantity: str
    sizes: Sequence[int]
    seconds: Mapping[str, Sequence[float]]
    exponents: Mapping[str, float]


Record = Comparison | Counts | Growth
_KINDS = {kind.__name__: kind for kind in (Comparison, Counts, Growth)}


def to_json(record: Record) -> dict[str, Any]:
    return {"kind": type(record).__name__, **asdict(record)}


def from_json(values: Mapping[str, Any]) -> Record:
    """The record among ``values``, which may hold more."""
    kind = _KINDS[values["kind"]]
    given = {field.name: values[field.name] for field in fields(kind)}
    for name, type_ in (("goal", Goal), ("ratio", Estimate), ("over_limit", Estimate), ("naive_ratio", Estimate)):
        if given.get(name) is not None:
            given[name] = type_(**given[name])
    return kind(**given)
