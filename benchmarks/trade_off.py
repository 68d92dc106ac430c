"""Drawdown where a success rate is just reached, so that editors are compared at equal success.

Where a search ends near the required rate moves drawdown by more than an interval over edits. So the edge is not where
tuning ended: it is read from the same edits at several strengths, and found anew in every resample of edits, whose
interval then holds both kinds of noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.metrics import CONFIDENCE, Estimate, seeded

SUCCEEDED, DRAWDOWNS = "edits_succeeded", "edits_drawdown"
"""Columns of a table of strengths that hold a value for each edit, with spaces between them."""
_RESAMPLES = 10_000


@dataclass(frozen=True, eq=False)
class TradeOff:
    """The same edits at F strengths, the smallest first: ``succeeded (F, E)`` and ``drawdowns (F, E)`` in points."""

    succeeded: np.ndarray
    drawdowns: np.ndarray

    @classmethod
    def read(cls, rows: pd.DataFrame) -> TradeOff | None:
        """That of a table with a row for each strength, in their order; None if it has no values of single edits."""
        if not {SUCCEEDED, DRAWDOWNS} <= set(rows):
            return None
        succeeded, drawdowns = (
            np.array([text.split() for text in rows[name]], dtype=float) for name in (SUCCEEDED, DRAWDOWNS)
        )
        return cls(succeeded.astype(bool), drawdowns)

    @property
    def edits(self) -> int:
        """How many there are."""
        return self.succeeded.shape[1]

    def at(self, success: float, shares: np.ndarray) -> np.ndarray:
        """Drawdowns ``(B,)`` where the success rate first reaches ``success`` percent, from one strength to the next.

        ``nan`` where no strength reaches it, or the smallest does already.

        :param shares: of each edit in each resample, ``(B, E)``, which add up to 1.
        """
        rates, means = 100 * shares @ self.succeeded.T, shares @ self.drawdowns.T
        enough = rates >= success - 1e-9
        first, rows = enough.argmax(axis=1), np.arange(len(shares))
        below = np.maximum(first - 1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):  # where both are the same strength, there is no edge
            part = (success - rates[rows, below]) / (rates[rows, first] - rates[rows, below])
            found = means[rows, below] + part * (means[rows, first] - means[rows, below])
        return np.where(enough.any(axis=1) & (first > 0), found, np.nan)


def at_success(
    curves: tuple[TradeOff, ...],
    success: float,
    name: str,
    statistic: Callable[..., np.ndarray] = lambda one: one,
) -> Estimate:
    """A statistic of the drawdowns of curves of the same edits at equal success, by default that of one, with its
    95 % interval over edits and over where the edge lies; ``nan`` where the edits have none at all.

    A resample without an edge, whose drawdowns there may be any, counts as smaller than the low end and as larger than
    the high end: so the interval is infinite where they are more than the ends leave out.

    :param name: seeds the resamples.
    :raises ValueError: for curves of different numbers of edits.
    """
    count = curves[0].edits
    if any(one.edits != count for one in curves):
        raise ValueError(f"curves of {' and '.join(str(one.edits) for one in curves)} edits are not of the same edits")
    drawn = seeded(name).multinomial(count, np.full(count, 1 / count), _RESAMPLES) / count
    value = statistic(*(one.at(success, np.full((1, count), 1 / count)) for one in curves))
    found = statistic(*(one.at(success, drawn) for one in curves))
    unknown = np.isnan(found)
    low = np.quantile(np.where(unknown, -np.inf, found), (1 - CONFIDENCE) / 2, method="lower")
    high = np.quantile(np.where(unknown, np.inf, found), (1 + CONFIDENCE) / 2, method="higher")
    return Estimate(float(value[0]), float(low), float(high))
