"""Edits whose success and drawdown are formulas of momentum's hyperparameters, so that the best values are known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import editors
from benchmarks.scoring.measures import IMAGES
from pipelines.jobs.search import Space

MEASURES = IMAGES
CONTROL = 10_000
BEST_MU = 0.8


@dataclass(frozen=True)
class Rule:
    """An editor by its hyperparameters alone."""

    lr: float
    mu: float
    max_steps: int = 10


@dataclass(frozen=True)
class Outcome:
    succeeded: bool
    steps: int
    rule: Rule


@dataclass(frozen=True)
class Record:
    wrong_before: int
    wrong_after: int
    flips: int
    control_size: int
    control_images: int


class Landscape:
    """A request succeeds from a learning rate on that is its own, smaller with more momentum; drawdown grows with the
    learning rate and has, at the learning rate that is needed, its minimum at ``BEST_MU``.
    """

    control_size = None
    examples = CONTROL

    def __init__(self, count: int) -> None:
        self.requests = range(count)
        self.edits = 0
        self._needed = 10 ** np.random.default_rng(0).normal(-2.0, 0.1, count)

    def edit(self, editor: Rule, rows: Any) -> tuple[list[Outcome], float]:
        self.edits += len(rows)
        push = editor.lr / (1 - editor.mu)
        share = [push / self._needed[row] for row in rows]
        return [Outcome(one >= 1, min(editor.max_steps, 1 + int(9 / one)), editor) for one in share], 0.0

    def records(self, rows: Any, edits: list[Outcome], *, generality: bool = True, every: bool = False) -> list[Record]:
        wrong = [round(CONTROL / 100 * self.drawdown(edit.rule)) for edit in edits]
        return [Record(0, one, one, CONTROL, CONTROL) for one in wrong]

    def drawdown(self, rule: Rule) -> float:
        """In percentage points: 5 at the best values that are feasible."""
        return 500 * rule.lr / (1 - rule.mu) * (1 + 4 * (rule.mu - BEST_MU) ** 2)

    def best(self, allowed: int) -> float:
        """The smallest drawdown at which no more than ``allowed`` edits fail."""
        push = float(np.sort(self._needed)[-1 - allowed])
        return self.drawdown(Rule(push * (1 - BEST_MU), BEST_MU))


def space() -> Space:
    return Space(editors.describe("momentum").hyperparameters, {}, {}, 10)


def at_defaults(landscape: Landscape, allowed: int) -> float:
    """The smallest feasible drawdown with momentum at its default, to the last digit of the learning rate."""
    mu = next(one.default for one in space().hyperparameters if one.name == "mu")
    push = float(np.sort(landscape._needed)[-1 - allowed])
    return landscape.drawdown(Rule(math.nextafter(push * (1 - mu), 1), mu))
