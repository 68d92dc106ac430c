import io
import math

import numpy as np
import pandas as pd
import pytest

from benchmarks import metrics
from benchmarks.metrics import NAMES, Estimate, mean, share, summarise


@pytest.fixture
def records() -> pd.DataFrame:
    """Four edits that can be reckoned by hand; the second is trivial."""
    return pd.DataFrame(
        {
            "edit": [0, 1, 2, 3],
            "trivial": [False, True, False, False],
            "succeeded": [True, True, False, True],
            "steps": [3, 0, 10, 2],
            "loss": [0.0, 0.0, 1.5, 0.0],
            "control_size": [50, 50, 50, 200],
            "wrong_before": [10, 10, 10, 40],
            "wrong_after": [12, 10, 5, 50],
            "flips": [4, 0, 9, 30],
            "kl": [0.25, 0.0, 0.75, 1.0],
            "views": [5, 5, 5, 5],
            "views_before": [0, 4, 1, 0],
            "views_after": [5, 4, 1, 3],
        }
    )


BY_HAND = {
    "success_rate": (75.0, 200 / 3),
    "drawdown": ((4 + 0 + 10 + 5) / 4, (4 + 10 + 5) / 3),
    "drawdown_signed": ((4 + 0 - 10 + 5) / 4, (4 - 10 + 5) / 3),
    "flip_rate": ((8 + 0 + 18 + 15) / 4, (8 + 18 + 15) / 3),
    "generality": ((100 + 80 + 20 + 60) / 4, (100 + 20 + 60) / 3),
    "generality_before": ((0 + 80 + 20 + 0) / 4, (0 + 20 + 0) / 3),
    "kl": (0.5, 2 / 3),
    "num_steps": (3.75, 5.0),
}


def test_every_metric_has_an_example() -> None:
    assert set(BY_HAND) == set(NAMES)


@pytest.mark.parametrize("name", BY_HAND)
def test_metric_equals_the_one_reckoned_by_hand(records: pd.DataFrame, name: str) -> None:
    table = summarise(records)
    assert table[name].value == pytest.approx(BY_HAND[name][0], rel=1e-12)
    assert table[f"{name}_nontrivial"].value == pytest.approx(BY_HAND[name][1], rel=1e-12)


def test_summary_holds_every_metric_twice_and_nothing_else(records: pd.DataFrame) -> None:
    assert list(summarise(records)) == [f"{name}{suffix}" for suffix in ("", "_nontrivial") for name in NAMES]


def test_drawdown_is_absolute_for_each_edit_before_averaging(records: pd.DataFrame) -> None:
    assert metrics.drawdown(records).tolist() == [4, 0, 10, 5]
    assert metrics.drawdown_signed(records).tolist() == [4, 0, -10, 5]
    assert summarise(records)["drawdown"].value > abs(summarise(records)["drawdown_signed"].value)


def test_intervals_hold_their_value(records: pd.DataFrame) -> None:
    many = pd.concat([records] * 20, ignore_index=True)
    for name, estimate in summarise(many).items():
        assert estimate.low < estimate.value < estimate.high, name


def test_summary_does_not_depend_on_going_through_a_file(records: pd.DataFrame) -> None:
    text = records.to_csv(index=False)
    assert "False" in text
    assert summarise(pd.read_csv(io.StringIO(text))) == summarise(records)


def test_summary_is_reproducible_and_leaves_records_and_global_random_state(records: pd.DataFrame) -> None:
    before, state = records.copy(), np.random.get_state()[1].copy()
    assert summarise(records) == summarise(records)
    assert np.array_equal(np.random.get_state()[1], state)
    pd.testing.assert_frame_equal(records, before)


def test_without_views_generality_is_not_a_number(records: pd.DataFrame) -> None:
    table = summarise(records.assign(views=0, views_before=0, views_after=0))
    assert math.isnan(table["generality"].value)
    assert table["drawdown"].value == 4.75


def test_no_records_give_no_numbers(records: pd.DataFrame) -> None:
    for estimate in summarise(records.iloc[:0]).values():
        assert all(math.isnan(number) for number in (estimate.value, estimate.low, estimate.high))


def test_only_trivial_records_leave_the_nontrivial_half_empty(records: pd.DataFrame) -> None:
    table = summarise(records[records["trivial"]])
    assert table["success_rate"].value == 100
    assert all(math.isnan(table[f"{name}_nontrivial"].value) for name in NAMES)


def test_one_record_has_a_value_but_a_mean_no_interval(records: pd.DataFrame) -> None:
    table = summarise(records.iloc[:1])
    assert table["drawdown"].value == 4
    assert math.isnan(table["drawdown"].low)
    assert math.isnan(table["drawdown"].high)
    assert 0 < table["success_rate"].low < table["success_rate"].high == 100


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7])
def test_interval_of_equal_values_has_no_width(value: float) -> None:
    found = mean(np.full(10, value))
    assert (found.value, found.low, found.high) == pytest.approx((value, value, value), rel=1e-12)


def test_value_that_is_not_a_number_is_not_hidden() -> None:
    found = mean(np.array([1.0, np.nan, 2.0]))
    assert all(math.isnan(number) for number in (found.value, found.low, found.high))
    assert mean(np.array([1.0, np.inf])).value == math.inf


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (10, 10), (1, 1), (7, 9), (190, 200), (951, 1000)])
def test_share_has_wilsons_interval(hits: int, count: int) -> None:
    z, rate = 1.959963984540054, hits / count
    centre = (rate + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2))
    found = share(hits, count)
    assert found.value == pytest.approx(100 * rate)
    assert found.low == pytest.approx(100 * (centre - half), abs=1e-9)
    assert found.high == pytest.approx(100 * (centre + half), abs=1e-9)


def test_share_of_nothing_is_not_a_number() -> None:
    assert str(share(0, 0)) == str(Estimate(math.nan, math.nan, math.nan))


def test_interval_of_a_mean_covers_the_truth_about_95_times_in_100(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_RESAMPLES", 300)
    source, repetitions, true = np.random.default_rng(2020), 300, 2.0
    intervals = [mean(source.exponential(true, size=80), f"sample {number}") for number in range(repetitions)]
    covered = sum(interval.low <= true <= interval.high for interval in intervals)
    assert 0.90 < covered / repetitions < 0.98
    assert all(interval.low < interval.value < interval.high for interval in intervals)


def test_interval_of_a_mean_is_as_wide_as_the_central_limit_says() -> None:
    values = np.random.default_rng(0).normal(5.0, 3.0, size=400)
    found, error = mean(values), values.std() / math.sqrt(400)
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_interval_depends_on_the_name_and_the_values_alone() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert mean(values, "kl") == mean(values, "kl")
    assert mean(values, "kl") != mean(values, "drawdown")


def test_paired_change_is_the_difference_of_errors_with_the_interval_of_agresti_and_min() -> None:
    found = metrics.paired_change(worse=9, better=3, count=50)
    # By hand: 4 cells + 0.5 each, so 52 images, 9.5 and 3.5 of them discordant.
    difference, squares = (9.5 - 3.5) / 52, (9.5 + 3.5) / 52
    half = 1.96 * ((squares - difference**2) / 52) ** 0.5
    assert found.value == pytest.approx(12.0)
    assert (found.low, found.high) == pytest.approx((100 * (difference - half), 100 * (difference + half)))


def test_paired_change_covers_the_true_change_about_95_times_in_100() -> None:
    source = np.random.default_rng(0)
    worse, better, count = 0.08, 0.02, 60
    covered = []
    for outcome in source.multinomial(count, [worse, better, 1 - worse - better], size=4000):
        found = metrics.paired_change(int(outcome[0]), int(outcome[1]), count)
        covered.append(found.low <= 100 * (worse - better) <= found.high)
    assert 0.93 < np.mean(covered) < 0.98


def test_paired_change_of_few_images_that_all_stayed_is_no_certainty() -> None:
    found = metrics.paired_change(0, 0, 10)
    assert found.value == 0
    assert found.low == -found.high < -10
    assert np.isnan(metrics.paired_change(0, 0, 0).value)
