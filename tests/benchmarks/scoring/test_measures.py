"""What records of edits of a classifier say, against numbers that are reckoned by hand."""

import io
import math

import numpy as np
import pandas as pd
import pytest

from benchmarks.metrics import paired_change, share
from benchmarks.scoring.measures import IMAGES, ErrorRate


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
            "control_images": [50, 50, 50, 200],
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


@pytest.mark.parametrize("name", IMAGES.names)
def test_metric_equals_the_one_reckoned_by_hand(records, name):
    table = IMAGES.summarise(records)
    assert len(table) == 2 * len(IMAGES.names)
    assert table[name].value == pytest.approx(BY_HAND[name][0], rel=1e-12)
    assert table[f"{name}_nontrivial"].value == pytest.approx(BY_HAND[name][1], rel=1e-12)


def test_intervals_hold_their_value(records):
    many = pd.concat([records] * 20, ignore_index=True)
    for name, estimate in IMAGES.summarise(many).items():
        assert estimate.low < estimate.value < estimate.high, name


def test_summary_does_not_depend_on_going_through_a_file(records):
    text = records.to_csv(index=False)
    assert "False" in text
    assert IMAGES.summarise(pd.read_csv(io.StringIO(text))) == IMAGES.summarise(records)


def test_summary_is_reproducible_and_leaves_records_and_global_random_state(records):
    before, state = records.copy(), np.random.get_state()[1].copy()
    assert IMAGES.summarise(records) == IMAGES.summarise(records)
    assert np.array_equal(np.random.get_state()[1], state)
    pd.testing.assert_frame_equal(records, before)


def test_without_views_generality_is_not_a_number(records):
    table = IMAGES.summarise(records.assign(views=0, views_before=0, views_after=0))
    assert math.isnan(table["generality"].value)
    assert table["drawdown"].value == 4.75


def test_no_records_give_no_numbers(records):
    for estimate in IMAGES.summarise(records.iloc[:0]).values():
        assert all(math.isnan(number) for number in (estimate.value, estimate.low, estimate.high))


def test_only_trivial_records_leave_the_nontrivial_half_empty(records):
    table = IMAGES.summarise(records[records["trivial"]])
    assert table["success_rate"].value == 100
    assert all(math.isnan(table[f"{name}_nontrivial"].value) for name in IMAGES.names)


def test_one_record_has_a_value_but_a_mean_no_interval(records):
    table = IMAGES.summarise(records.iloc[:1])
    assert table["drawdown"].value == 4
    assert math.isnan(table["drawdown"].low)
    assert math.isnan(table["drawdown"].high)
    assert 0 < table["success_rate"].low < table["success_rate"].high == 100


def test_a_share_is_0_or_100_of_each_edit(records):
    assert IMAGES.per_edit("success_rate", records).tolist() == [100, 100, 0, 100]
    with pytest.raises(KeyError):
        IMAGES.per_edit("edit", records)


def test_the_error_of_a_model_is_compared_image_by_image():
    first, second = (ErrorRate.of({"wrong_before_editing": wrong, "test_images": 50}) for wrong in ("1 2 3 9", "3 4"))
    assert first.estimate == share(4, 50)
    assert first.difference(second, "any") == (paired_change(3, 1, 50), "paired, the same 50 test images")
    assert ErrorRate.of({"wrong_before_editing": "", "test_images": 50}).estimate.value == 0
    with pytest.raises(ValueError, match=r"different test images \(50 and 40\)"):
        first.difference(ErrorRate(frozenset(), 40), "any")
