"""Timing several ways to do the same thing in turns: whatever else the machine does slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.metrics import Estimate, bootstrap

_RESAMPLES = 2000


@dataclass(frozen=True)
class Conditions:
    """Where and how often everything is measured."""

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
            seconds[name].append(timed(way, device)[0])
    return seconds


def timed(way: Callable[[], object], device: torch.device) -> tuple[float, object]:
    """Seconds (CPU time, or wall time on a GPU) and what came out."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    _finish(device)
    began = clock()
    outcome = way()
    _finish(device)
    return clock() - began, outcome


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Estimate:
    """The median of ``slow`` over that of ``fast``, with a 95 % interval (bootstrap over rounds)."""
    samples = [np.array(slow), np.array(fast)]
    found = bootstrap(samples, _of_medians, np.random.default_rng(0), resamples=_RESAMPLES)
    return found if len(slow) > 1 else Estimate(found.value, found.value, found.value)


def _of_medians(slow: np.ndarray, fast: np.ndarray, axis: int) -> np.ndarray:
    return np.median(slow, axis=axis) / np.median(fast, axis=axis)


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """p of ``seconds ∝ sizes ** p``, by least squares between the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
