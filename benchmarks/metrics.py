"""From one record per edit to the numbers of a table row, each with a 95 % interval."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.seeds import seed

CONFIDENCE = 0.95
_RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A metric with the ends of its 95 % interval; ``nan`` where there is nothing to average or to vary."""

    value: float
    low: float
    high: float


def drawdown(records: pd.DataFrame) -> pd.Series:
    """|error after − error before| of each edit, in percentage points (section 4.1)."""
    return drawdown_signed(records).abs()


def drawdown_signed(records: pd.DataFrame) -> pd.Series:
    """Error after − error before of each edit, in percentage points; negative if the edit mended more than it broke."""
    return 100.0 * (records["wrong_after"] - records["wrong_before"]) / records["control_size"]


def flip_rate(records: pd.DataFrame) -> pd.Series:
    """Share of control images whose prediction changed, in percent (the locality of section 3)."""
    return 100.0 * records["flips"] / records["control_size"]


def generality(records: pd.DataFrame) -> pd.Series:
    """Share of other pictures of the edited thing that the edited model assigns to the target, in percent."""
    return 100.0 * records["views_after"] / records["views"]


def generality_before(records: pd.DataFrame) -> pd.Series:
    """The same share before the edit, in percent."""
    return 100.0 * records["views_before"] / records["views"]


_MEANS = {
    "drawdown": drawdown,
    "drawdown_signed": drawdown_signed,
    "flip_rate": flip_rate,
    "generality": generality,
    "generality_before": generality_before,
    "kl": lambda records: records["kl"],
    "num_steps": lambda records: records["steps"],
}
NAMES = ("success_rate", *_MEANS)
"""The metrics that records give, in percent, percentage points, nats or gradient steps."""


def summarise(records: pd.DataFrame) -> dict[str, Estimate]:
    """Every metric over all edits, and under ``<metric>_nontrivial`` over those whose target was not predicted before.

    Means have a bootstrap interval over edits, shares of successes Wilson's. Intervals say how the mean would vary
    with other edits of the same model; they say nothing of other trainings.

    :param records: one row per edit, columns as in :class:`benchmarks.scoring.scorer.EditRecord`.
    """
    table: dict[str, Estimate] = {}
    for suffix, rows in (("", records), ("_nontrivial", records[~records["trivial"].astype(bool)])):
        table[f"success_rate{suffix}"] = share(int(rows["succeeded"].sum()), len(rows))
        for name, metric in _MEANS.items():
            table[f"{name}{suffix}"] = mean(metric(rows).to_numpy(dtype=float), name)
    return table


def mean(values: np.ndarray, name: str = "mean") -> Estimate:
    """Mean with a bootstrap interval (percentile method, 2,000 resamples, seeded by ``name``)."""
    if len(values) == 0:
        return Estimate(np.nan, np.nan, np.nan)
    value = float(np.mean(values))
    if len(values) < 2 or not np.isfinite(values).all():
        return Estimate(value, np.nan, np.nan)
    from scipy import stats  # takes a second: only for whoever computes intervals

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=_RESAMPLES,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(seed("bootstrap", name)),
        ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high))


def share(hits: int, count: int) -> Estimate:
    """``hits`` of ``count`` in percent, with Wilson's interval."""
    if count == 0:
        return Estimate(np.nan, np.nan, np.nan)
    from scipy import stats  # takes a second: only for whoever computes intervals

    interval = stats.binomtest(hits, count).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(100.0 * hits / count, 100.0 * float(interval.low), 100.0 * float(interval.high))


def paired_change(worse: int, better: int, count: int) -> Estimate:
    """Change of an error rate on the same ``count`` images, of which ``worse`` became wrong and ``better`` right.

    In percentage points. The interval adds half an image to each of the four outcomes before it is computed (Agresti
    and Min, Statistics in Medicine 2005), so that few images without any change do not pass for certainty.
    """
    if count == 0:
        return Estimate(np.nan, np.nan, np.nan)
    padded = count + 2
    middle = (worse - better) / padded
    half = 1.96 * np.sqrt((worse + better + 1) / padded - middle**2) / np.sqrt(padded)
    low, high = max(-1.0, middle - half), min(1.0, middle + half)
    return Estimate(100.0 * (worse - better) / count, 100.0 * float(low), 100.0 * float(high))
