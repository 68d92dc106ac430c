"""From one record per edit to the numbers of a table row, each with a 95 % interval, for every kind of task."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

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


@dataclass(frozen=True)
class Column:
    """How a number is shown: the words above it, its unit, the decimals."""

    label: str
    unit: str
    digits: int


class Quality(Protocol):
    """How good a model is before any edit: its test error, say.

    :ivar name: the metric's, such as ``test_error``.
    :ivar measured_on: of what the estimate is, in words, such as ``400 test images``.
    :ivar signature: how it is computed, where there are several ways; else nothing.
    :ivar timings: wall times that were measured with it, by the names of columns.
    """

    name: str

    @property
    def estimate(self) -> Estimate: ...

    @property
    def measured_on(self) -> str: ...

    @property
    def signature(self) -> str: ...

    @property
    def timings(self) -> Mapping[str, float]: ...

    def difference(self, other: Self, name: str) -> tuple[Estimate, str]:
        """This minus the other, paired over the same test examples, and in words how that was computed.

        :param name: seeds what is drawn.
        :raises ValueError: if they were not measured on the same examples.
        """
        ...


@dataclass(frozen=True)
class Measures:
    """What the records of one kind of task say: a row per edit, with the columns ``edit``, ``trivial``, ``succeeded``.

    :ivar drawdown: the metric that tuning minimises.
    :ivar quality: the name of the :class:`Quality` of its models.
    :ivar means: by name, a function from records to a value for each edit. Rankings need ``num_steps``, ``generality``
        and ``generality_before``, that of the network that is not edited yet.
    :ivar shares: by name, the column that says for each edit yes or no; ``success_rate`` is one of them.
    :ivar columns: how each of these is shown.
    :ivar asked: the columns that say what is asked: two rows that agree in them met the same edits.
    :ivar tuned: in place of the drawdown's values in tuning, where each edit is scored on few examples.
    :ivar misleads: whether a sample of control examples says too little for the mean drawdown of these records;
        evaluation then looks at all of them.
    :ivar signed: the metric that the drawdown is the size of, if it has no sign itself.
    :ivar completed: the records, with what only their description says; see :mod:`pipelines.evaluate`.
    :ivar side_effects: from records to whom each edit hurts, a column for each of ``side_effect_columns``; None where
        that is not measured. It raises KeyError for records of earlier versions, which lack it.
    :ivar texts: columns of text, in which "null" is a word and nothing an empty text.
    :ivar skips_missing: means leave out the edits without a value (``nan``), as where nothing lies near an edit.
    """

    drawdown: str
    quality: str
    means: Mapping[str, Callable[[pd.DataFrame], pd.Series]]
    columns: Mapping[str, Column]
    asked: tuple[str, ...]
    shares: Mapping[str, str] = field(default_factory=lambda: {"success_rate": "succeeded"})
    tuned: Callable[[pd.DataFrame], pd.Series] | None = None
    misleads: Callable[[pd.DataFrame], bool] = lambda records: False
    signed: str = ""
    completed: Callable[[pd.DataFrame, Mapping[str, Any]], pd.DataFrame] = lambda records, description: records
    side_effects: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    side_effect_columns: Mapping[str, Column] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    skips_missing: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics that records give."""
        return (*self.shares, *self.means)

    def per_edit(self, name: str, records: pd.DataFrame) -> pd.Series:
        """A metric of each edit; of a share 0 or 100.

        :raises KeyError: for a metric that there is not.
        """
        if name in self.shares:
            return 100.0 * records[self.shares[name]].astype(float)
        return self.means[name](records)

    def in_tuning(self, records: pd.DataFrame) -> pd.Series:
        """The drawdown of each edit, on as few examples as tuning looks at."""
        return self.tuned(records) if self.tuned else self.per_edit(self.drawdown, records)

    def least(self, records: pd.DataFrame) -> pd.Series:
        """Drawdowns ``(N,)`` whose mean is at most that on the whole control set, whatever a sample adds to them.

        |mean change| ≤ mean |change|; where a sample misleads, the former is all that it says for sure.
        """
        if not self.misleads(records):
            return self.per_edit(self.drawdown, records)
        values = self.per_edit(self.signed, records)
        return -values if values.mean() < 0 else values

    def summarise(self, records: pd.DataFrame) -> dict[str, Estimate]:
        """Every metric over all edits, and under ``<metric>_nontrivial`` over those in which there was something to do.

        Means have a bootstrap interval over edits, shares Wilson's. Intervals say how the mean would vary with other
        edits of the same model; they say nothing of other trainings. Where a sample of control examples misleads, the
        drawdown is at most what is found, and its interval begins where that of :meth:`least` does.
        """
        table: dict[str, Estimate] = {}
        for suffix, rows in (("", records), ("_nontrivial", records[~records["trivial"].astype(bool)])):
            for name, column in self.shares.items():
                table[f"{name}{suffix}"] = share(int(rows[column].sum()), len(rows))
            for name, metric in self.means.items():
                values = metric(rows).dropna() if self.skips_missing else metric(rows)
                found = mean(values.to_numpy(dtype=float), name)
                if name == self.drawdown and self.misleads(rows):
                    least = mean(self.least(rows).to_numpy(dtype=float), name)
                    found = replace(found, low=max(0.0, min(least.low, found.low)))
                table[f"{name}{suffix}"] = found
        return table


def mean(values: np.ndarray, name: str = "mean") -> Estimate:
    """Mean of ``(N,)`` with a bootstrap interval (2,000 resamples, seeded by ``name``)."""
    return bootstrap([values], np.mean, seeded(name), resamples=_RESAMPLES)


def mean_differences(first: np.ndarray, second: np.ndarray, name: str) -> np.ndarray:
    """Means of each of ``first`` ``(R, N)`` minus each of ``second`` ``(S, N)``, with intervals paired over the N.

    The same as :func:`mean` of every difference, for many at once.

    :returns: value, low, high ``(R, S, 3)``; no interval (``nan``) for fewer than two pairs.
    """
    size = first.shape[1]
    found = np.full((len(first), len(second), 3), math.nan)
    if size:
        found[..., 0] = first.mean(axis=1)[:, None] - second.mean(axis=1)
    if size > 1:
        drawn = seeded(name).integers(0, size, (_RESAMPLES, size)) + size * np.arange(_RESAMPLES)[:, None]
        often = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape) / size
        means, others = often @ first.T, often @ second.T
        percents = [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)]
        for row in range(len(first)):
            found[row, :, 1:] = np.percentile(means[:, [row]] - others, percents, axis=0).T
    return found


def bootstrap(
    samples: Sequence[np.ndarray],
    statistic: Callable[..., np.ndarray],
    rng: np.random.Generator,
    *,
    resamples: int,
    batch: int | None = None,
) -> Estimate:
    """A statistic of one sample ``(N,)``, or of several that are paired, with a bootstrap interval over the N.

    By the percentile method. No interval (``nan``) for fewer than two, or where a number is not finite.

    :param statistic: takes the samples, and the ``axis`` along which to reckon.
    :param batch: how many resamples are looked at together.
    """
    count = len(samples[0])
    value = float(statistic(*samples, axis=-1)) if count else math.nan
    if count < 2 or not all(np.isfinite(sample).all() for sample in (*samples, value)):
        return Estimate(value, math.nan, math.nan)
    from scipy import stats  # takes a second: only for whoever computes intervals

    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            samples,
            statistic,
            paired=len(samples) > 1,
            vectorized=True,
            n_resamples=resamples,
            batch=batch,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=rng,
        ).confidence_interval
    ends = (float(interval.low), float(interval.high))
    return Estimate(value, *(ends if np.isfinite(ends).all() else (math.nan, math.nan)))


def seeded(name: str) -> np.random.Generator:
    """What resamples of a metric are drawn with."""
    return np.random.default_rng(seed("bootstrap", name))


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
