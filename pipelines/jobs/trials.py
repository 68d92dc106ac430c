"""One trial of a tuning: edits with some hyperparameters, counted and looked at, and the choice between trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

import editors
from benchmarks.metrics import Measures
from benchmarks.scoring.scorer import shards

_SHARD = 25
FINALISTS = 3
"""Trials at most that are looked at on the whole split in the end."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a trial.

    :ivar edits: that are made, of which at most ``allowed`` may fail (:func:`allowed_failures`).
    :ivar scored: of so many of them, the first ones, the drawdown is measured.
    """

    edits: int
    allowed: int
    scored: int

    @property
    def required(self) -> float:
        """The success rate that is feasible, in percent."""
        return 100.0 * (1 - self.allowed / self.edits)


@dataclass(frozen=True)
class Outcome:
    """The edits of a trial in numbers.

    :ivar edits: that were made, fewer than all once too many had failed; ``failed`` are those that did.
    :ivar beaten: the trial is no better than the best one before it, and was stopped for that.
    :ivar drawdowns: percentage points of each edit whose control images were looked at, in order: of all that were to
        be, unless the trial is infeasible or was beaten.
    :ivar hardest: those of the edits that failed or took most steps.
    """

    edits: int
    failed: tuple[int, ...]
    feasible: bool
    beaten: bool
    drawdowns: tuple[float, ...]
    hardest: tuple[int, ...]

    @property
    def success_rate(self) -> float:
        """Percent of the edits that were made."""
        return 100.0 * (self.edits - len(self.failed)) / self.edits

    @property
    def drawdown(self) -> float:
        """Mean over the edits that were looked at: where they are not all, a rough value."""
        return fmean(self.drawdowns)

    @property
    def complete(self) -> bool:
        """Whether the trial can be chosen: feasible, and its drawdown is that of all edits that were to be scored."""
        return self.feasible and not self.beaten

    def compared(self, best: Outcome | None) -> float:
        """The drawdown, from the paired difference to that of ``best`` where fewer edits were looked at."""
        if best is None or len(self.drawdowns) == len(best.drawdowns):
            return self.drawdown
        return best.drawdown + self.drawdown - fmean(best.drawdowns[: len(self.drawdowns)])


def allowed_failures(edits: int, min_success: float, confidence: float) -> int:
    """The most of ``edits`` that may fail so that the true success rate is ``min_success`` percent or more.

    With a posterior probability of ``confidence`` under a uniform prior, as far as this many edits can tell: where not
    even none would do, none may fail.
    """
    failures = np.arange(edits + 1)
    # `stats.beta.sf` is the same, and takes half a second to import.
    sure = special.betaincc(1 + edits - failures, 1 + failures, min_success / 100) >= confidence
    return max(0, int(sure.sum()) - 1)


def try_edits(
    scorer: Any, editor: editors.Editor, asked: Asked, measures: Measures, best: Outcome | None = None
) -> Outcome:
    """Try the scorer's edits; stop as soon as so many failed that the constraint cannot be met any more.

    :param scorer: see :class:`pipelines.tasks.base.Scorer`; ``measures`` say what its records' drawdown is.
    :param best: the best trial so far. One that is no better on all edits that are scored, or on fewer worse by three
        standard errors of the paired difference, is beaten: it is stopped there.
    """
    steps: list[int] = []
    failed: list[int] = []
    drawdowns: list[float] = []
    beaten = False
    for rows in shards(asked.edits, _SHARD):
        edits = scorer.edit(editor, rows)[0]  # a shard at a time: all edits of a large model would fill the memory
        steps += [edit.steps for edit in edits]
        failed += [row for row, edit in zip(rows, edits, strict=True) if not edit.succeeded]
        if rows.start < asked.scored and (not drawdowns or len(failed) <= asked.allowed):
            looked_at = range(rows.start, min(rows.stop, asked.scored))
            records = scorer.records(looked_at, edits[: len(looked_at)], generality=False)
            frame = pd.DataFrame(map(asdict, records))
            drawdowns += measures.in_tuning(frame).tolist()
            beaten = best is not None and _loses(drawdowns, best.drawdowns)
        if beaten or len(failed) > asked.allowed:
            break
    hardest = _hardest(failed, steps, asked)
    return Outcome(len(steps), tuple(failed), len(failed) <= asked.allowed, beaten, tuple(drawdowns), hardest)


def hardest(scorer: Any, editor: editors.Editor, asked: Asked) -> tuple[int, ...]:
    """Numbers of the edits that fail or take most steps, a few times as many as may fail."""
    steps: list[int] = []
    failed: list[int] = []
    for rows in shards(asked.edits, _SHARD):
        edits = scorer.edit(editor, rows)[0]
        steps += [edit.steps for edit in edits]
        failed += [row for row, edit in zip(rows, edits, strict=True) if not edit.succeeded]
    return _hardest(failed, steps, asked)


def _hardest(failed: Sequence[int], steps: Sequence[int], asked: Asked) -> tuple[int, ...]:
    order = sorted(range(len(steps)), key=lambda row: (row not in failed, -steps[row]))
    return tuple(order[: 4 * asked.allowed + 16])


def _loses(drawdowns: Sequence[float], best: Sequence[float]) -> bool:
    if len(drawdowns) == len(best):
        return fmean(drawdowns) >= fmean(best)
    return is_beaten(drawdowns, best)


def is_beaten(drawdowns: Sequence[float], best: Sequence[float]) -> bool:
    """Whether a trial is worse than the best on the same edits, by three standard errors of the paired difference."""
    difference = np.subtract(drawdowns, best[: len(drawdowns)])
    if len(difference) < 2:
        return False
    return bool(difference.mean() > 3 * difference.std(ddof=1) / math.sqrt(len(difference)))


def finalists(found: Sequence[Outcome]) -> list[int]:
    """Positions of the best trials, at most three, between which the control images that they were shown cannot decide.

    Fewer than two are no finalists: a trial that the best one beats on all edits is none.
    """
    complete = sorted((one.drawdown, place) for place, one in enumerate(found) if one.complete)[:FINALISTS]
    places = [place for _, place in complete]
    near = [place for place in places if not is_beaten(found[place].drawdowns, found[places[0]].drawdowns)]
    return near if len(near) > 1 else []


def rescored(scorer: Any, editor: editors.Editor, asked: Asked, measures: Measures) -> float:
    """Mean drawdown of the edits that are scored, in percentage points, each looked at on the whole split."""
    records = []
    for rows in shards(asked.scored, _SHARD):
        edits = scorer.edit(editor, rows)[0]
        records += map(asdict, scorer.records(rows, edits, generality=False, every=True))
    return float(measures.in_tuning(pd.DataFrame(records)).mean())


def choose(trials: pd.DataFrame) -> int:
    """Position of the trial with the smallest drawdown among the feasible; without any, the one that violates least.

    A feasible trial that was beaten is not chosen. Where finalists were looked at on the whole split, that decides.
    """
    if trials["rescored"].notna().any():
        return int(trials["rescored"].idxmin())
    complete = trials[trials["feasible"] & ~trials["beaten"]]
    if complete.empty:
        return int(trials["success_rate"].idxmax())
    return int(complete["drawdown"].idxmin())
