"""The weakest strength at which enough edits succeed, against thresholds that are known."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.jobs.weakest import Weakest

RESOLUTION = 0.004


class Edits:
    """Edits that succeed from a threshold of their own on, up to ``too_strong``; counts those that are made."""

    def __init__(self, thresholds: np.ndarray, too_strong: float = np.inf) -> None:
        self.thresholds, self.too_strong, self.made = thresholds, too_strong, 0

    def fails(self, strength: float, rows) -> list[bool]:
        self.made += len(rows)
        good = (self.thresholds[list(rows)] <= strength) & (strength < self.too_strong)
        return (~good).tolist()

    def edge(self, allowed: int) -> float:
        return float(np.sort(self.thresholds)[-1 - allowed])


def edits(seed: int, count: int = 160) -> Edits:
    return Edits(np.random.default_rng(seed).beta(4, 5, count))


@pytest.mark.parametrize("start", [0.0, 0.2, 0.6, 1.0])
@pytest.mark.parametrize("allowed", [0, 4, 20])
def test_finds_the_weakest_strength_that_holds_from_wherever_it_begins(start, allowed):
    for seed in range(5):
        asked = edits(seed)
        found = Weakest(asked.fails, 160, range(160), allowed, start, RESOLUTION).find()
        assert asked.edge(allowed) <= found <= asked.edge(allowed) + RESOLUTION


def test_makes_few_edits_where_the_hardest_are_known():
    asked = edits(1)
    hardest = np.argsort(-asked.thresholds)[:32].tolist()
    found = Weakest(asked.fails, 160, hardest, 4, 0.5, RESOLUTION).find()
    assert asked.edge(4) <= found <= asked.edge(4) + RESOLUTION
    assert asked.made < 200  # one strength alone takes 160


def test_learns_of_edits_that_were_taken_to_succeed():
    asked = edits(2)
    easiest = np.argsort(asked.thresholds)[:32].tolist()
    weakest = Weakest(asked.fails, 160, easiest, 4, 0.1, RESOLUTION)
    for _ in range(3):  # as a trial does, which stops at the fifth failure
        found = weakest.find()
        failed = [row for row in range(160) if asked.thresholds[row] > found][:5]
        if len(failed) <= 4:
            break
        weakest.learn(failed)
    assert asked.edge(4) <= found <= asked.edge(4) + RESOLUTION


def test_comes_back_from_a_start_that_is_too_strong():
    asked = Edits(np.random.default_rng(3).uniform(0.1, 0.3, 160), too_strong=0.5)
    found = Weakest(asked.fails, 160, range(160), 4, 0.9, RESOLUTION).find()
    assert asked.edge(4) <= found <= asked.edge(4) + RESOLUTION


def test_holds_at_the_weak_end_or_nowhere():
    assert Weakest(Edits(np.zeros(40)).fails, 40, range(40), 2, 0.7, RESOLUTION).find() == 0.0
    never = Edits(np.linspace(0.5, 2, 40))
    weakest = Weakest(never.fails, 40, range(40), 2, 0.3, RESOLUTION)
    assert weakest.find() is None
    assert weakest.likeliest == 1.0
    with pytest.raises(ValueError, match="nothing was found"):
        weakest.learn([1])
