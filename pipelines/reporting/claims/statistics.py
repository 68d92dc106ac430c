"""Intervals of differences and ratios, what an interval decides, and what it takes to decide many."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np

from benchmarks.metrics import CONFIDENCE, Estimate, bootstrap, seeded

Z, Z_POWER = NormalDist().inv_cdf(0.975), NormalDist().inv_cdf(0.8)
"""Standard errors from a value to the end of its 95 % interval, and what a power of 80 % takes besides."""
HOLM = 0.05
"""The probability that any of a page's verdicts is wrong, up to which none of them is marked."""
_RESAMPLES = 10_000
"""More than tables need: near a bound, the verdict should not hang on the seed."""
NOTHING = Estimate(math.nan, math.nan, math.nan)


class Verdict(StrEnum):
    """What the numbers say about a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNDECIDED = "undecided"
    NOT_MEASURED = "not measured"

    @property
    def decided(self) -> bool:
        """Whether the numbers decide."""
        return self in (Verdict.HOLDS, Verdict.FAILS)


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

    def p_value(self, estimate: Estimate) -> float:
        """That of :meth:`decide`, two-sided, normal with the widths of the interval; 1 if nothing is decided."""
        above, below = estimate.value - self.low, self.high - estimate.value
        down, up = estimate.value - estimate.low, estimate.high - estimate.value
        verdict = self.decide(estimate)
        if verdict is Verdict.UNDECIDED:
            return 1.0
        sides = [(above, down), (below, up)] if verdict is Verdict.HOLDS else [max((-above, up), (-below, down))]
        return max(math.erfc(Z * distance / width / math.sqrt(2)) if width > 0 else 0.0 for distance, width in sides)


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on a claim all of whose comparisons must hold.

    One that does not hold refutes the claim; else one that was not measured leaves it not measured, and one that is
    undecided leaves it undecided.
    """
    found = set(verdicts)
    return next(one for one in (Verdict.FAILS, Verdict.NOT_MEASURED, Verdict.UNDECIDED, Verdict.HOLDS) if one in found)


def paired_difference(first: np.ndarray, second: np.ndarray, name: str) -> Estimate:
    """Mean of ``first - second`` over pairs ``(N,)`` with a bootstrap interval over pairs.

    Percentile method, seeded by ``name``; no interval (``nan``) for fewer than two pairs.
    """
    return _paired(first, second, lambda one, other, axis: np.mean(one - other, axis=axis), name)


def paired_ratio(first: np.ndarray, second: np.ndarray, name: str) -> Estimate:
    """``mean(first) / mean(second)`` with its interval, as :func:`paired_difference`.

    ``nan`` where the second mean is 0; no interval where that of a resample is.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return _paired(first, second, lambda one, other, axis: one.mean(axis=axis) / other.mean(axis=axis), name)


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
    found = bootstrap([first, second], statistic, seeded(name), resamples=_RESAMPLES, batch=500)
    return found if math.isfinite(found.value) else NOTHING


def student(values: np.ndarray) -> Estimate:
    """The mean of ``(N,)`` with Student's interval, which suits few draws; none (nan) for fewer than two."""
    if len(values) < 2:
        return Estimate(float(values.mean()) if len(values) else math.nan, math.nan, math.nan)
    from scipy import stats  # takes a second: only for whoever computes intervals

    value, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * error
    return Estimate(value, value - half, value + half)


def holm(values: Sequence[float]) -> list[float]:
    """p-values (N,) corrected for their number: all verdicts at most 0.05 together err with a probability of 5 %.

    Holm's step-down method (*Scandinavian Journal of Statistics* 6, 1979).
    """
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(np.sort(values) * np.arange(len(values), 0, -1))
    return list(np.minimum(stepped, 1.0)[np.argsort(order, kind="stable")])
