"""From two samples to a verdict: differences and ratios with 95 % intervals, and what an interval decides."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import stats

from benchmarks.metrics import CONFIDENCE, Estimate
from benchmarks.seeds import seed

_RESAMPLES = 10_000
"""More than tables need: near a bound, the verdict should not hang on the seed."""
_BATCH = 500


class Verdict(StrEnum):
    """What the numbers say about a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNDECIDED = "undecided"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Allowed:
    """Where a number must lie for a claim to hold: strictly above ``low`` and strictly below ``high``."""

    low: float = -math.inf
    high: float = math.inf

    def decide(self, estimate: Estimate) -> Verdict:
        """``holds`` if the whole interval lies inside, ``does not hold`` if the whole of it lies outside.

        An interval that touches an edge, or that is not known (``nan``), decides nothing.
        """
        if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
            return Verdict.UNDECIDED
        if self.low < estimate.low and estimate.high < self.high:
            return Verdict.HOLDS
        if estimate.high < self.low or self.high < estimate.low:
            return Verdict.FAILS
        return Verdict.UNDECIDED


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on a claim all of whose comparisons must hold.

    One that does not hold refutes the claim; else one that was not measured leaves it not measured, and one that is
    undecided leaves it undecided.

    :raises ValueError: for no verdicts at all.
    """
    found = set(verdicts)
    if not found:
        raise ValueError("a claim needs at least one comparison")
    for verdict in (Verdict.FAILS, Verdict.NOT_MEASURED, Verdict.UNDECIDED):
        if verdict in found:
            return verdict
    return Verdict.HOLDS


def paired_difference(first: np.ndarray, second: np.ndarray, name: str) -> Estimate:
    """Mean of ``first - second`` over pairs ``(N,)`` with a bootstrap interval over pairs.

    Percentile method, seeded by ``name``; no interval (``nan``) for fewer than two pairs.

    :raises ValueError: for samples of different lengths.
    """
    return _bootstrap(first, second, _difference, name)


def paired_ratio(first: np.ndarray, second: np.ndarray, name: str) -> Estimate:
    """``mean(first) / mean(second)`` with its interval, as :func:`paired_difference`.

    ``nan`` where the second mean is 0; no interval where that of a resample is.

    :raises ValueError: for samples of different lengths.
    """
    return _bootstrap(first, second, _ratio, name)


def independent_difference(first: Estimate, second: Estimate) -> Estimate:
    """``first - second`` of two estimates from independent samples, the interval made from theirs.

    Newcombe's square-and-add method (*Statistics in Medicine* 17, 1998, method 10, where both are shares with
    Wilson's interval). For samples that are positively correlated it is too wide, never too narrow.
    """
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value, value - below, value + above)


def _bootstrap(first: np.ndarray, second: np.ndarray, statistic: Callable[..., np.ndarray], name: str) -> Estimate:
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"pairs need two samples of one length, found {first.shape} and {second.shape}")
    value = float(statistic(first, second)) if len(first) else math.nan
    if len(first) < 2 or not (np.isfinite(first).all() and np.isfinite(second).all() and math.isfinite(value)):
        return Estimate(value if math.isfinite(value) else math.nan, math.nan, math.nan)
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            (first, second),
            statistic,
            paired=True,
            vectorized=True,
            n_resamples=_RESAMPLES,
            batch=_BATCH,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(seed("bootstrap", name)),
        ).confidence_interval
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return Estimate(value, math.nan, math.nan)
    return Estimate(value, float(interval.low), float(interval.high))


def _difference(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean(first - second, axis=axis)


def _ratio(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.mean(first, axis=axis) / np.mean(second, axis=axis)
