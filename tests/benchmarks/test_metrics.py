import math

import numpy as np
import pandas as pd
import pytest

from benchmarks import metrics
from benchmarks.metrics import Column, Measures, bootstrap, mean, seeded, share


def test_means_leave_out_edits_without_a_value_only_where_a_task_says_so():
    records = pd.DataFrame({"trivial": False, "fine": [True, False, True, True], "off": [1.0, np.nan, 2.0, 6.0]})
    options = {"drawdown": "off", "quality": "error", "asked": (), "shares": {"success_rate": "fine"}}
    options |= {"means": {"off": lambda records: records["off"]}, "columns": {"off": Column("Off", "", 1)}}
    assert math.isnan(Measures(**options).summarise(records)["off"].value)
    found = Measures(**options, skips_missing=True).summarise(records)
    assert found["off"] == mean(np.array([1.0, 2.0, 6.0]), "off")
    assert found["success_rate"] == share(3, 4)


def test_a_bootstrap_of_pairs_draws_pairs():
    first = np.random.default_rng(0).normal(size=60)
    found = bootstrap([first + 1, first], lambda a, b, axis: np.mean(a - b, axis=axis), seeded("pairs"), resamples=500)
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))
    apart = bootstrap([first + 1, first], lambda a, b, axis: np.mean(a * b, axis=axis), seeded("pairs"), resamples=500)
    assert apart == bootstrap(
        [first + 1, first], lambda a, b, axis: np.mean(a * b, axis=axis), seeded("pairs"), resamples=500, batch=7
    )
    assert apart.low < apart.value < apart.high


@pytest.mark.parametrize("values", [[], [1.0], [1.0, np.nan], [1.0, np.inf]])
def test_what_cannot_vary_or_is_not_finite_has_no_interval(values):
    found = bootstrap([np.array(values)], np.mean, seeded("any"), resamples=10)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7])
def test_interval_of_equal_values_has_no_width(value):
    found = mean(np.full(10, value))
    assert (found.value, found.low, found.high) == pytest.approx((value, value, value), rel=1e-12)


def test_value_that_is_not_a_number_is_not_hidden():
    found = mean(np.array([1.0, np.nan, 2.0]))
    assert all(math.isnan(number) for number in (found.value, found.low, found.high))
    assert mean(np.array([1.0, np.inf])).value == math.inf


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (10, 10), (1, 1), (7, 9), (190, 200), (951, 1000)])
def test_share_has_wilsons_interval(hits, count):
    z, rate = 1.959963984540054, hits / count
    centre = (rate + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2))
    found = share(hits, count)
    assert found.value == pytest.approx(100 * rate)
    assert found.low == pytest.approx(100 * (centre - half), abs=1e-9)
    assert found.high == pytest.approx(100 * (centre + half), abs=1e-9)


def test_interval_of_a_mean_covers_the_truth_about_95_times_in_100(monkeypatch):
    monkeypatch.setattr(metrics, "_RESAMPLES", 300)
    source, repetitions, true = np.random.default_rng(2020), 300, 2.0
    intervals = [mean(source.exponential(true, size=80), f"sample {number}") for number in range(repetitions)]
    covered = sum(interval.low <= true <= interval.high for interval in intervals)
    assert 0.90 < covered / repetitions < 0.98
    assert all(interval.low < interval.value < interval.high for interval in intervals)


def test_interval_depends_on_the_name_and_the_values_alone():
    values = np.random.default_rng(0).normal(size=50)
    assert mean(values, "kl") == mean(values, "kl")
    assert mean(values, "kl") != mean(values, "drawdown")


def test_paired_change_is_the_difference_of_errors_with_the_interval_of_agresti_and_min():
    found = metrics.paired_change(worse=9, better=3, count=50)
    # By hand: 4 cells + 0.5 each, so 52 images, 9.5 and 3.5 of them discordant.
    difference, squares = (9.5 - 3.5) / 52, (9.5 + 3.5) / 52
    half = 1.96 * ((squares - difference**2) / 52) ** 0.5
    assert found.value == pytest.approx(12.0)
    assert (found.low, found.high) == pytest.approx((100 * (difference - half), 100 * (difference + half)))


def test_paired_change_of_few_images_that_all_stayed_is_no_certainty():
    found = metrics.paired_change(0, 0, 10)
    assert found.value == 0
    assert found.low == -found.high < -10
    assert np.isnan(metrics.paired_change(0, 0, 0).value)
