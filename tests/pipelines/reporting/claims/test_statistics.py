"""Intervals of differences and ratios, and what an interval decides."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.metrics import Estimate, mean, share
from pipelines.reporting.claims.statistics import (
    Allowed,
    Verdict,
    combine,
    holm,
    independent_difference,
    paired_difference,
    paired_ratio,
)

HOLDS, FAILS, UNDECIDED, NOT_MEASURED = Verdict


@pytest.mark.parametrize(
    ("allowed", "low", "high", "verdict"),
    [
        (Allowed(high=0), -2, -1, HOLDS),
        (Allowed(high=0), 1, 2, FAILS),
        (Allowed(high=0), -1, 1, UNDECIDED),
        (Allowed(high=0), -1, 0, UNDECIDED),
        (Allowed(high=0), 0, 1, UNDECIDED),
        (Allowed(high=0), 0, 0, UNDECIDED),
        (Allowed(low=0), 1, 2, HOLDS),
        (Allowed(low=0), -2, -1, FAILS),
        (Allowed(low=0.5), 0.2, 0.4, FAILS),
        (Allowed(-1, 1), -0.9, 0.9, HOLDS),
        (Allowed(-1, 1), -2, 0, UNDECIDED),
        (Allowed(-1, 1), -2, 2, UNDECIDED),
        (Allowed(-1, 1), -3, -2, FAILS),
        (Allowed(-1, 1), 2, 3, FAILS),
        (Allowed(high=0), math.nan, math.nan, UNDECIDED),
    ],
)
def test_an_interval_decides_only_if_all_of_it_lies_on_one_side(allowed, low, high, verdict):
    assert allowed.decide(Estimate((low + high) / 2, low, high)) is verdict


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [
        ([HOLDS, HOLDS], HOLDS),
        ([HOLDS, FAILS, UNDECIDED, NOT_MEASURED], FAILS),
        ([HOLDS, UNDECIDED, NOT_MEASURED], NOT_MEASURED),
        ([HOLDS, UNDECIDED], UNDECIDED),
    ],
)
def test_one_comparison_refutes_a_claim_and_all_together_make_it_hold(verdicts, verdict):
    assert combine(verdicts) is combine(reversed(verdicts)) is verdict


def correlated(rng: np.random.Generator, edits: int, difference: float) -> tuple[np.ndarray, np.ndarray]:
    """Two rows on the same edits: some edits are hard in both, and all values are skewed, as drawdown is."""
    hard = rng.exponential(4.0, edits)
    return hard + rng.exponential(0.5, edits) + difference, hard + rng.exponential(0.5, edits)


def test_pairs_see_what_separate_intervals_cannot():
    first, second = correlated(np.random.default_rng(0), 150, -0.3)
    paired = paired_difference(first, second, "test")
    apart = independent_difference(mean(first), mean(second))
    assert paired.value == pytest.approx(apart.value)
    assert (paired.high - paired.low) < 0.25 * (apart.high - apart.low)
    assert Allowed(high=0).decide(paired) is HOLDS
    assert Allowed(high=0).decide(apart) is UNDECIDED


@pytest.mark.parametrize("compute", [paired_difference, paired_ratio])
def test_the_paired_interval_covers_the_truth_about_95_times_in_100(compute, monkeypatch):
    monkeypatch.setattr("pipelines.reporting.claims.statistics._RESAMPLES", 500)
    rng = np.random.default_rng(1)
    truth = {paired_difference: -0.3, paired_ratio: 4.2 / 4.5}[compute]
    estimates = [compute(*correlated(rng, 100, -0.3), "test") for _ in range(300)]
    covered = sum(estimate.low <= truth <= estimate.high for estimate in estimates)
    assert 270 <= covered <= 297


def test_without_an_effect_a_verdict_is_rare(monkeypatch):
    monkeypatch.setattr("pipelines.reporting.claims.statistics._RESAMPLES", 500)
    rng = np.random.default_rng(2)
    verdicts = [Allowed(high=0).decide(paired_difference(*correlated(rng, 100, 0.0), "test")) for _ in range(200)]
    assert verdicts.count(UNDECIDED) >= 180


def test_a_difference_is_the_mean_difference_with_its_bootstrap_interval():
    first, second = correlated(np.random.default_rng(3), 200, -0.3)
    estimate = paired_difference(first, second, "test")
    differences = first - second
    assert estimate.value == pytest.approx(differences.mean())
    half = 1.96 * differences.std(ddof=1) / math.sqrt(200)
    assert (estimate.low, estimate.high) == pytest.approx((estimate.value - half, estimate.value + half), abs=0.02)
    assert estimate == paired_difference(first, second, "test")
    assert estimate != paired_difference(first, second, "another")


def test_a_ratio_is_that_of_the_means_and_knows_no_unit():
    first, second = correlated(np.random.default_rng(4), 100, 0.0)
    estimate = paired_ratio(first, second, "test")
    assert estimate.value == pytest.approx(first.mean() / second.mean())
    assert estimate.low < estimate.value < estimate.high
    hundredfold = paired_ratio(100 * first, 100 * second, "test")
    assert (hundredfold.low, hundredfold.high) == pytest.approx((estimate.low, estimate.high))


def test_identical_rows_differ_by_nothing_and_decide_nothing():
    values = np.array([0.0, 1.0, 5.0])
    assert paired_difference(values, values, "test") == Estimate(0.0, 0.0, 0.0)
    assert Allowed(high=0).decide(paired_difference(values, values, "test")) is UNDECIDED


@pytest.mark.parametrize("compute", [paired_difference, paired_ratio])
@pytest.mark.parametrize(
    ("first", "second"),
    [([], []), ([1.0], [2.0]), ([1.0, math.nan], [1.0, 2.0]), ([1.0, math.inf], [1.0, 2.0])],
)
def test_what_cannot_vary_has_no_interval(compute, first, second):
    estimate = compute(np.array(first), np.array(second), "test")
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)
    assert Allowed(high=0).decide(estimate) is UNDECIDED


@pytest.mark.parametrize("second", [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
def test_a_ratio_to_nothing_has_no_interval(second):
    assert math.isnan(paired_ratio(np.ones(3), np.array(second), "test").high)


def test_two_shares_differ_as_in_newcombes_paper():
    # Statistics in Medicine 17 (1998) 873-890, table II, method 10: 56/70 - 48/80 and 10/10 - 0/10.
    estimate = independent_difference(share(56, 70), share(48, 80))
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((20.0, 5.24, 33.39), abs=0.005)
    estimate = independent_difference(share(10, 10), share(0, 10))
    assert (estimate.low, estimate.high) == pytest.approx((60.75, 100.0), abs=0.005)


def test_a_difference_of_independent_estimates_is_antisymmetric():
    first, second = Estimate(3.0, 2.5, 4.0), Estimate(1.0, 0.8, 1.1)
    forth, back = independent_difference(first, second), independent_difference(second, first)
    assert (forth.value, forth.low, forth.high) == pytest.approx((-back.value, -back.high, -back.low))
    assert math.isnan(independent_difference(first, Estimate(1.0, math.nan, math.nan)).low)


def test_a_normal_difference_is_known_by_hand():
    z = stats.norm.ppf(0.975)
    estimate = independent_difference(Estimate(5.0, 5 - 3 * z, 5 + 3 * z), Estimate(1.0, 1 - 4 * z, 1 + 4 * z))
    assert (estimate.low, estimate.high) == pytest.approx((4 - 5 * z, 4 + 5 * z))


def test_a_p_value_is_that_of_the_bound_that_is_least_sure_and_agrees_with_the_verdict():
    one_sided = Allowed(high=0).p_value(Estimate(-2.0, -3.0, -1.0))
    assert one_sided == pytest.approx(2 * stats.norm.sf(2 * stats.norm.ppf(0.975)))
    assert Allowed(-1, 3).p_value(Estimate(0.0, -0.5, 1.0)) == pytest.approx(one_sided)
    assert Allowed(high=0).p_value(Estimate(2.0, 1.0, 4.0)) == pytest.approx(one_sided)  # the width towards the bound
    assert Allowed(high=0).p_value(Estimate(-1.0, -2.0, 0.5)) == 1.0
    assert Allowed(high=0).p_value(Estimate(-1.0, -1.0, -1.0)) == 0.0
    edge = Allowed(high=0).p_value(Estimate(-1.0, -2.0, -1e-9))
    assert edge == pytest.approx(0.05, abs=1e-6)


def test_holms_correction_is_that_of_a_worked_example():
    by_hand = [0.03, 0.06, 0.06, 0.02]  # 0.01, 0.04, 0.03, 0.005, as in R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx(by_hand)
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
