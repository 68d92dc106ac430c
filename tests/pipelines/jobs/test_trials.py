"""Trials: what comes of one, when it stops, and which one is chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

import editors
from benchmarks.scoring.measures import IMAGES
from benchmarks.scoring.scorer import Scorer
from pipelines.jobs import trials
from pipelines.jobs.trials import Asked, Outcome, allowed_failures, try_edits
from tests.pipelines.jobs.conftest import EDITS


@dataclass
class Counting:
    """A scorer that also counts the edits that were carried out; everything is passed on to the real one."""

    images: Scorer
    edits: int = 0

    @property
    def requests(self):
        return self.images.requests

    def edit(self, editor, rows):
        self.edits += len(rows)
        return self.images.edit(editor, rows)

    def records(self, *arguments, **options):
        return self.images.records(*arguments, **options)


LEARNING_RATES = (1e-4, 1e-2, 1e-1)


def asked(required: float, scored: int = EDITS) -> Asked:
    return Asked(EDITS, math.floor(EDITS * (100 - required) / 100 + 1e-9), scored)


@pytest.mark.parametrize(("edits", "expected"), [(30, 0), (59, 0), (80, 1), (160, 4), (300, 9)])
def test_so_many_edits_may_fail_that_the_true_rate_is_high_enough_nine_times_in_ten(edits, expected):
    """Against rates drawn from the prior, kept where as many edits fail: no formula of the posterior."""
    assert allowed_failures(edits, 95.0, 0.9) == expected
    if not expected:
        return
    rng = np.random.default_rng(0)
    rates = rng.uniform(0.8, 1, 2_000_000)
    failed = rng.binomial(edits, 1 - rates)
    assert (rates[failed == expected] >= 0.95).mean() > 0.895
    assert (rates[failed == expected + 1] >= 0.95).mean() < 0.905


def test_fewer_may_fail_for_more_confidence_and_none_where_no_number_would_do():
    counts = [allowed_failures(160, 95.0, confidence) for confidence in (0.5, 0.9, 0.99)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]
    assert allowed_failures(5, 95.0, 0.9) == 0
    assert allowed_failures(40, 0.0, 0.9) == 40


@pytest.fixture(scope="module")
def every(images) -> dict[float, tuple[list[bool], list[float]]]:
    """Whether each edit succeeds, and the damage that each does, with each learning rate."""
    found = {}
    for lr in LEARNING_RATES:
        edits = images.edit(editors.build("gd", lr=lr), range(EDITS))[0]
        records = [images.record(row, edit, generality=False) for row, edit in enumerate(edits)]
        damages = [100 * abs(record.wrong_after - record.wrong_before) / record.control_size for record in records]
        found[lr] = [edit.succeeded for edit in edits], damages
    return found


@pytest.mark.parametrize("lr", LEARNING_RATES)
@pytest.mark.parametrize("required", [0.0, 60.0, 95.0, 100.0])
def test_a_trial_stops_with_the_shard_that_decides_and_decides_as_all_edits_would(images, every, lr, required):
    succeeded, damages = every[lr]
    failures = [row for row in range(EDITS) if not succeeded[row]]
    allowed = asked(required).allowed
    feasible = len(failures) <= allowed
    counting = Counting(images)
    found = try_edits(counting, editors.build("gd", lr=lr), asked(required), IMAGES)
    assert found.feasible == feasible
    # The failure that is one too many decides; shards hold 25 edits.
    expected = EDITS if feasible else min(EDITS, 25 * (failures[allowed] // 25 + 1))
    assert counting.edits == found.edits == expected
    assert found.success_rate == pytest.approx(100 * (1 - sum(row < expected for row in failures) / expected))
    assert (found.success_rate >= required - 1e-9) == feasible
    damage = damages[: EDITS if feasible else max(25, 25 * (failures[allowed] // 25))]
    assert found.drawdown == pytest.approx(sum(damage) / len(damage), abs=1.0)  # batches differ in the last digits


def test_the_cases_above_hold_feasible_and_infeasible_trials(every):
    rates = [100 * np.mean(succeeded) for succeeded, _ in every.values()]
    assert min(rates) < 50 < max(rates)


REQUIRED = 10.0
"""Percent: so few that edits with small steps are feasible, and damage far less than those with large ones."""


@pytest.fixture(scope="module")
def exhaustive(images) -> dict[float, Outcome]:
    """What edits with different learning rates come to when all control images are looked at."""
    rates = [10 ** (-3.5 + step / 2) for step in range(7)]
    return {lr: try_edits(images, editors.build("rmsprop", lr=lr), asked(REQUIRED), IMAGES) for lr in rates}


@pytest.mark.parametrize("order", ["weak first", "strong first", "mixed"])
def test_racing_against_the_best_so_far_chooses_as_looking_at_everything_does(images, exhaustive, order):
    rates = sorted(exhaustive, reverse=order == "strong first")
    rates = rates[::2] + rates[1::2] if order == "mixed" else rates
    best: Outcome | None = None
    scored = 0
    for lr in rates:
        found = try_edits(images, editors.build("rmsprop", lr=lr), asked(REQUIRED), IMAGES, best)
        assert found.drawdowns == exhaustive[lr].drawdowns[: len(found.drawdowns)]
        if not found.beaten:
            assert (found.feasible, found.edits) == (exhaustive[lr].feasible, exhaustive[lr].edits)
        scored += len(found.drawdowns)
        if found.complete:
            assert best is None or found.drawdown < best.drawdown
            best = found
    feasible = [found.drawdown for found in exhaustive.values() if found.feasible]
    assert best.drawdown == min(feasible)
    assert max(feasible) > min(feasible) + 0.5  # there was something to lose
    every = sum(len(found.drawdowns) for found in exhaustive.values())
    assert scored < every if order == "weak first" else scored <= every  # the best comes before those that it beats


def test_a_trial_stops_where_it_is_beaten_and_is_compared_on_the_edits_that_both_have(images, exhaustive):
    best = min((found for found in exhaustive.values() if found.feasible), key=lambda found: found.drawdown)
    lr = next(lr for lr, found in exhaustive.items() if found is best)
    better = replace(best, drawdowns=tuple(value - 1.0 for value in best.drawdowns))
    counting = Counting(images)
    beaten = try_edits(counting, editors.build("rmsprop", lr=lr), asked(REQUIRED), IMAGES, better)
    assert beaten.beaten
    assert not beaten.complete
    assert beaten.drawdowns == best.drawdowns[:25]
    assert counting.edits == 25
    assert beaten.compared(better) == pytest.approx(best.drawdown)
    again = try_edits(images, editors.build("rmsprop", lr=lr), asked(REQUIRED), IMAGES, best)
    assert again.drawdowns == best.drawdowns  # to the end, where it is no better
    assert again.beaten


def test_only_the_first_edits_are_looked_at_where_success_takes_more(images):
    editor = editors.build("rmsprop", lr=1e-3)
    every, few = (try_edits(images, editor, asked(0.0, scored), IMAGES) for scored in (EDITS, 30))
    assert few.drawdowns == every.drawdowns[:30]
    assert (few.edits, few.failed) == (EDITS, every.failed)


def test_the_hardest_edits_are_those_that_fail_and_then_those_of_most_steps(images):
    editor = editors.build("rmsprop", lr=2e-3)
    edits = images.edit(editor, range(EDITS))[0]
    found = trials.hardest(images, editor, Asked(EDITS, 0, EDITS))
    assert found == try_edits(images, editor, asked(0.0), IMAGES).hardest[: len(found)]
    effort = [math.inf if not edit.succeeded else edit.steps for edit in edits]
    others = [effort[row] for row in range(EDITS) if row not in found]
    assert min(effort[row] for row in found) >= max(others)
    assert min(effort) < max(effort)


def table_of(*rows: tuple[float, float, bool]) -> pd.DataFrame:
    known = {"beaten": False, "rescored": math.nan}
    return pd.DataFrame(rows, columns=["success_rate", "drawdown", "feasible"]).assign(**known)


def test_a_beaten_trial_is_not_chosen_however_small_its_drawdown_looks():
    table = table_of((99, 3.0, True), (96, 1.0, True))
    table.loc[1, "beaten"] = True
    assert trials.choose(table) == 0


def test_the_whole_split_decides_between_finalists():
    table = table_of((99, 3.0, True), (96, 1.0, True), (97, 1.1, True))
    table.loc[1:, "rescored"] = [1.3, 1.2]
    assert trials.choose(table) == 2


def outcome(*drawdowns: float, edits: int = 4) -> Outcome:
    return Outcome(edits, (), True, len(drawdowns) < edits, drawdowns, ())


def test_finalists_are_the_best_three_that_the_best_does_not_beat():
    best, close, closer = outcome(1, 2, 3, 4), outcome(2, 1, 4, 4), outcome(1, 2, 3, 4.1)
    far, beaten = outcome(9, 10.5, 11, 12), outcome(0.5, 0.5)
    fourth = outcome(3, 2, 4, 3)
    assert trials.finalists([far, close, beaten, best, closer]) == [3, 4, 1]
    assert trials.finalists([fourth, close, best, closer]) == [2, 3, 1]
    assert trials.finalists([far, best]) == []
    assert trials.finalists([beaten]) == []


def test_the_smallest_drawdown_wins_among_the_feasible():
    assert trials.choose(table_of((99, 3.0, True), (96, 1.0, True), (10, 0.1, False), (100, 2.0, True))) == 1
    assert trials.choose(table_of((10, 0.1, False), (95, 9.0, True))) == 1


def test_the_first_of_equals_wins():
    assert trials.choose(table_of((99, 1.0, True), (96, 1.0, True))) == 0


def test_without_a_feasible_trial_the_least_violating_wins():
    assert trials.choose(table_of((10, 0.1, False), (90, 5.0, False), (80, 0.2, False))) == 1
