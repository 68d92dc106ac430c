"""From two samples to a verdict: differences and ratios with 95 % intervals, and what an interval decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from benchmarks.metrics import Estimate, bootstrap, seeded

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
    return _paired(first, second, _difference, name)


def paired_ratio(first: np.ndarray, second: np.ndarray, name: str) -> Estimate:
    """``mean(first) / mean(second)`` with its interval, as :func:`paired_difference`.

    ``nan`` where the second mean is 0; no interval where that of a resample is.

    :raises ValueError: for samples of different lengths.
    """
    return _paired(first, second, _ratio, name)


def independent_difference(first: Estimate, second: Estimate) -> Estimate:
    """``first - second`` of two estimates from independent samples, the interval made from theirs.

    Newcombe's square-and-add method (*Statistics in Medicine* 17, 1998, method 10, where both are shares with
    Wilson's interval). For samples that are positively correlated it is too wide, never too narrow.
    """
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value, value - below, value + above)


def at_equal_failures(values: Sequence[np.ndarray], succeeded: Sequence[np.ndarray]) -> list[np.ndarray] | None:
    """Two rows' drawdowns ``(N,)`` as if both had failed equally often.

    Smaller steps break less and fail more, whatever the editor. So of the row with the larger mean, the costliest
    edits that succeeded cost nothing, as if they had not been made: as many as the other one failed more often. That
    favours the larger as much as so many failures can.

    :param succeeded: bool ``(N,)`` of each row, over the same edits.
    :returns: None if the smaller mean is that of the row that failed no more often.
    """
    smaller, larger = sorted((0, 1), key=lambda row: float(values[row].mean()))
    more = int(succeeded[larger].sum()) - int(succeeded[smaller].sum())
    if more <= 0:
        return None
    matched = [row.copy() for row in values]
    costs = np.where(succeeded[larger], values[larger], -np.inf)
    matched[larger][np.argsort(-costs, kind="stable")[:more]] = 0.0
    return matched


def _paired(first: np.ndarray, second: np.ndarray, statistic: Callable[..., np.ndarray], name: str) -> Estimate:
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"pairs need two samples of one length, found {first.shape} and {second.shape}")
    found = bootstrap([first, second], statistic, seeded(name), resamples=_RESAMPLES, batch=_BATCH)
    return found if math.isfinite(found.value) else Estimate(math.nan, math.nan, math.nan)


def _difference(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
    return np.mean(first - second, axis=axis)


def _ratio(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.mean(first, axis=axis) / np.mean(second, axis=axis)
