"""Conditions of claims on records made by hand, for which the answer is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.errors import InputError
from benchmarks.metrics import Estimate
from benchmarks.scoring.measures import IMAGES
from pipelines.reporting.claims import judging
from pipelines.reporting.claims.comparing import Evidence
from pipelines.reporting.claims.definitions import Claim, Condition
from pipelines.reporting.claims.statistics import Verdict, at_equal_failures
from tests.pipelines.reporting.cells import image_cell as cell
from tests.pipelines.reporting.cells import positions


def judge(results, measured=None, **condition) -> judging.Judged:
    condition = {"rule": "smaller", "metric": "drawdown", "of": "plain/rmsprop/chain3", **condition}
    claim = Claim(says="s", source="t", conditions=[Condition(**condition)])
    (judged,) = judging.judge({"mine": claim}, Evidence(IMAGES, results, (), measured or {}))
    return judged


GD, RMSPROP = "plain/gd/all", "plain/rmsprop/chain3"
HOLDS, FAILS, UNDECIDED, NOT_MEASURED = Verdict


@pytest.mark.parametrize(
    ("rule", "breaks", "verdict"),
    [
        ({"rule": "smaller"}, -5, HOLDS),
        ({"rule": "smaller"}, 5, FAILS),
        ({"rule": "smaller"}, 0, UNDECIDED),
        ({"rule": "smaller", "by_more_than": 0.2}, -5, HOLDS),
        ({"rule": "smaller", "by_more_than": 0.5}, -5, UNDECIDED),
        ({"rule": "smaller", "by_more_than": 1.0}, -5, FAILS),
        ({"rule": "smaller", "times": 0.5}, -90, HOLDS),
        ({"rule": "smaller", "times": 0.5}, -5, FAILS),
        ({"rule": "larger"}, 5, HOLDS),
        ({"rule": "larger"}, -5, FAILS),
        ({"rule": "not_larger", "within": 1.0, "reason": "r"}, 5, HOLDS),
        ({"rule": "not_larger", "within": 1.0, "reason": "r"}, -90, HOLDS),
        ({"rule": "not_larger", "within": 0.2, "reason": "r"}, 5, FAILS),
        ({"rule": "not_larger", "within_percent": 10.0, "reason": "r"}, 5, HOLDS),
        ({"rule": "not_larger", "within_percent": 2.0, "reason": "r"}, 5, FAILS),
        ({"rule": "equivalent", "within": 1.0, "reason": "r"}, 5, HOLDS),
        ({"rule": "equivalent", "within": 1.0, "reason": "r"}, -90, FAILS),
        ({"rule": "equivalent", "within_percent": 10.0, "reason": "r"}, -5, HOLDS),
        ({"rule": "equivalent", "within_percent": 10.0, "reason": "r"}, -90, FAILS),
    ],
)
def test_each_rule_on_records_where_the_answer_is_known(rule, breaks, verdict):
    # A difference of 5 answers in 1,000 is half a point, small beside the 6 points between edits.
    judged = judge([cell(GD), cell(RMSPROP, breaks)], than=[GD], **rule)
    (comparison,) = judged.comparisons
    assert judged.verdict is comparison.verdict is verdict
    assert comparison.caveats == ()
    if not {"within_percent", "times"} & set(rule):
        assert comparison.estimate.value == pytest.approx(breaks / 10, abs=0.1)
        assert comparison.estimate.high - comparison.estimate.low < 0.2


def test_edits_are_paired_by_their_number_and_not_by_their_place():
    shuffled = cell(RMSPROP, -5)
    shuffled = replace(shuffled, records=shuffled.records.sample(frac=1, random_state=0))
    straight = judge([cell(GD), cell(RMSPROP, -5)], than=[GD]).comparisons[0]
    assert judge([cell(GD), shuffled], than=[GD]).comparisons[0].estimate == straight.estimate


def test_a_claim_about_mistakes_is_judged_on_mistakes_alone():
    rows = ["editable-rmsprop-extra-match_ranks/rmsprop/extra", "editable-rmsprop-extra-mistakes/rmsprop/extra"]
    condition = {"metric": "mistakes_drawdown", "of": rows[0], "than": rows[1:], "published": "less (a picture)"}
    conditions = [Condition(rule="smaller", **condition)]
    claims_made = {"mine": Claim(says="s", source="t", conditions=conditions)}
    on_test, on_mistakes = [cell(rows[0], 9), cell(rows[1])], [cell(rows[0], -9), cell(rows[1])]
    (judged,) = judging.judge(claims_made, Evidence(IMAGES, on_test, on_mistakes))
    assert judged.verdict is HOLDS
    assert judged.comparisons[0].estimate.value == pytest.approx(-0.9, abs=0.1)
    assert judging.judge(claims_made, Evidence(IMAGES, on_test))[0].verdict is NOT_MEASURED
    assert judged.claim.trainings == {row.partition("/")[0] for row in rows}


@pytest.mark.parametrize("column", ["image", "target", "edit"])
def test_rows_that_met_other_edits_are_not_compared(column):
    other = cell(RMSPROP)
    other = replace(other, records=other.records.assign(**{column: other.records[column] + 1}))
    with pytest.raises(InputError, match="plain/rmsprop/chain3 and plain/gd/all were not measured on the same edits"):
        judge([cell(GD), other], than=[GD])


def test_a_missing_row_is_named_and_the_others_still_decide():
    others = [GD, "plain/gd/chain3"]
    judged = judge([cell(GD), cell(RMSPROP, -5)], than=others)
    assert [comparison.verdict for comparison in judged.comparisons] == [HOLDS, NOT_MEASURED]
    assert judged.comparisons[1].missing == ("plain/gd/chain3",)
    assert judged.verdict is NOT_MEASURED
    assert judge([cell(GD), cell(RMSPROP, 5)], than=others).verdict is FAILS
    assert judge([], than=others).comparisons[0].missing == (RMSPROP, GD)


def test_the_best_of_several_beats_each_of_them():
    rest = [f"plain/rmsprop/{layers}" for layers in ("all", "chain2", "chain4")]
    worse = [cell(name, 10) for name in rest]
    assert judge([cell(RMSPROP), *worse], than=rest).verdict is HOLDS
    assert judge([cell(RMSPROP), *worse[:2], cell(rest[2], 0)], than=rest).verdict is UNDECIDED
    assert judge([cell(RMSPROP), *worse[:2], cell(rest[2], -10)], than=rest).verdict is FAILS


def test_best_is_the_part_that_tuning_chose():
    parts = [cell("plain/rmsprop/chain4", 20, tuned_to=0.5), cell("plain/rmsprop/chain3", -20, tuned_to=0.7)]
    judged = judge([cell(GD), *parts], of="plain/rmsprop/best", than=["plain/gd/best"])
    first, second = judged.comparisons[0].sides
    assert (str(first.row), str(second.row), first.best) == ("plain/rmsprop/chain4", GD, True)
    assert (first.published, second.published) == (1.77, 3.8)
    assert judged.verdict is FAILS
    assert judge(parts, of="plain/rmsprop/best", than=["plain/gd/best"]).comparisons[0].missing == ("plain/gd/best",)


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"failures": 12}, "plain/rmsprop/chain3: tuned to 96.0 % success on the tuning split, clearly below 95 %"),
        ({"feasible": False}, "plain/rmsprop/chain3: no trial of the tuning reached 95 % success"),
        ({"failures": 6}, None),
    ],
)
def test_a_row_below_the_required_success_carries_a_caveat(changes, note):
    (comparison,) = judge([cell(GD, failures=12), cell(RMSPROP, -5, **changes)], than=[GD]).comparisons
    assert comparison.verdict is HOLDS
    assert comparison.sides[0].success == 100 - changes.get("failures", 0)
    found = [caveat for caveat in comparison.caveats if caveat.startswith("plain/rmsprop")]
    assert [caveat[: len(note)] for caveat in found] == ([note] if note else [])


@pytest.mark.parametrize(
    ("breaks", "failures", "others_failures", "verdict"),
    [
        (-5, 1, 0, HOLDS),  # half a point, of which one edit in a hundred costs 0.16
        (-5, 5, 0, UNDECIDED),
        (-30, 5, 0, HOLDS),
        (-5, 6, 6, HOLDS),
        (-5, 12, 20, HOLDS),
        (5, 0, 5, UNDECIDED),  # the other one's drawdown is smaller, with more failures
        (5, 5, 0, FAILS),
    ],
)
def test_a_smaller_drawdown_that_is_paid_for_with_failures_decides_nothing(breaks, failures, others_failures, verdict):
    rows = [cell(GD, failures=others_failures), cell(RMSPROP, breaks, failures=failures)]
    (comparison,) = judge(rows, than=[GD]).comparisons
    assert comparison.verdict is verdict
    paid = [caveat for caveat in comparison.caveats if "has the smaller drawdown, and more failures" in caveat]
    assert len(paid) == (verdict is UNDECIDED)


def test_steps_and_test_errors_are_compared_whatever_the_successes():
    rows = [cell(GD), cell(RMSPROP, -5, failures=20)]
    (comparison,) = judge(rows, metric="num_steps", than=[GD]).comparisons
    assert not comparison.bought


def test_at_equal_failures_the_costliest_successes_of_the_other_row_cost_nothing():
    small, large = np.array([1.0, 0.0, 2.0, 1.0]), np.array([4.0, 9.0, 5.0, 3.0])
    failed_twice, failed_once = np.array([True, False, False, True]), np.array([True, False, True, True])
    (first, second) = at_equal_failures([small, large], [failed_twice, failed_once])
    assert first.tolist() == small.tolist()
    assert second.tolist() == [4.0, 9.0, 0.0, 3.0]  # the edit of 9 points failed already
    (second, first) = at_equal_failures([large, small], [failed_once, failed_twice])
    assert second.tolist() == [4.0, 9.0, 0.0, 3.0]
    assert at_equal_failures([small, large], [failed_once, failed_twice]) is None
    assert at_equal_failures([small, large], [failed_once, failed_once]) is None
    assert large.tolist() == [4.0, 9.0, 5.0, 3.0]


def test_a_number_of_a_row_below_the_required_success_carries_the_caveat_too():
    condition = {"rule": "between", "metric": "own_excess", "of": RMSPROP, "above": 0.0, "reason": "r"}
    measured = {f"own_excess/{RMSPROP}": Estimate(3.0, 2.0, 4.0)}
    judged = judge([cell(RMSPROP, failures=12)], measured, **condition, published="above 0")
    assert judged.verdict is HOLDS
    assert judged.comparisons[0].caveats[0].startswith("plain/rmsprop/chain3: tuned to")


@pytest.mark.parametrize(
    ("rule", "wrong", "verdict"),
    [
        ({"rule": "larger"}, range(200), HOLDS),
        ({"rule": "larger"}, range(60), HOLDS),  # ten images more, all others alike: pairs tell what counts do not
        ({"rule": "larger"}, range(40, 100), UNDECIDED),
        ({"rule": "larger"}, range(10), FAILS),
        ({"rule": "equivalent", "within": 5.0, "reason": "r"}, range(55), HOLDS),
        ({"rule": "equivalent", "within": 0.89, "reason": "r"}, range(50), HOLDS),
        ({"rule": "equivalent", "within": 0.89, "reason": "r"}, range(50, 100), UNDECIDED),
        ({"rule": "equivalent", "within": 0.89, "reason": "r"}, range(200), FAILS),
    ],
)
def test_test_errors_are_compared_image_by_image(rule, wrong, verdict):
    other = cell("dknn-100/flip_labels/votes", failures=50, wrong_before_editing=positions(wrong))
    results = [cell("dknn-10/flip_labels/votes"), other]
    judged = judge(
        results, metric="test_error", of="dknn-100/flip_labels/votes", than=["dknn-10/flip_labels/votes"], **rule
    )
    (comparison,) = judged.comparisons
    assert judged.verdict is verdict
    assert comparison.estimate.value == pytest.approx(len(wrong) / 10 - 5)
    assert comparison.caveats == ()  # the error before editing does not depend on edits that fail
    assert comparison.method == "paired, the same 1000 test images"


def test_test_errors_on_other_images_are_not_compared():
    other = cell("dknn-100/flip_labels/votes", test_images=400)
    with pytest.raises(InputError, match=r"different test images \(400 and 1000\)"):
        judge(
            [cell("dknn-10/flip_labels/votes"), other],
            metric="test_error",
            of="dknn-100/flip_labels/votes",
            than=["dknn-10/flip_labels/votes"],
        )


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(2.2, 2.8, HOLDS), (1.2, 1.8, FAILS), (3.1, 3.5, FAILS), (1.8, 2.4, UNDECIDED)]
)
def test_a_number_is_held_against_bounds(low, high, verdict):
    condition = {"rule": "between", "metric": "cost_ratio", "of": "cnp", "above": 2.0, "below": 3.0, "reason": "r"}
    measured = {"cost_ratio/cnp": Estimate((low + high) / 2, low, high)}
    assert judge([], measured, **condition, published="2.5").verdict is verdict
    missing = judge([], **condition, published="2.5")
    assert missing.verdict is NOT_MEASURED
    assert missing.comparisons[0].missing == ("cost_ratio/cnp",)


INSTEAD = {"or_of": ["editable-0.1-rmsprop-chain3", "editable-0.01-gd-chain3"], "of": "editable-0.01-rmsprop-chain3"}
INSTEAD |= {"rule": "between", "metric": "cost_ratio", "above": 2.0, "below": 3.0, "reason": "r", "published": "2.5"}


@pytest.mark.parametrize(
    ("measured", "shown", "noted"),
    [
        (["editable-0.01-gd-chain3", "editable-0.01-rmsprop-chain3"], "editable-0.01-rmsprop-chain3", False),
        (["editable-0.01-gd-chain3", "editable-0.1-rmsprop-chain3"], "editable-0.1-rmsprop-chain3", True),
        (["editable-0.01-gd-chain3", "cnp"], "editable-0.01-gd-chain3", True),
    ],
)
def test_the_first_stand_in_that_was_measured_takes_the_place_and_is_named(measured, shown, noted):
    estimates = {f"cost_ratio/{name}": Estimate(2.5, 2.4, 2.6) for name in measured}
    (comparison,) = judge([], estimates, **INSTEAD).comparisons
    assert comparison.verdict is HOLDS
    assert str(comparison.sides[0].row) == shown
    said = f"{shown}: stands in for {INSTEAD['of']}, which this run lacks"
    assert comparison.caveats == ((said,) if noted else ())


def test_without_any_stand_in_the_row_that_is_spoken_of_is_missing():
    (comparison,) = judge([], {"cost_ratio/cnp": Estimate(2.5, 2.4, 2.6)}, **INSTEAD).comparisons
    assert (comparison.verdict, comparison.missing) == (NOT_MEASURED, (f"cost_ratio/{INSTEAD['of']}",))


def test_two_numbers_are_compared_by_their_own_intervals():
    names = [GD, RMSPROP]
    measured = {
        f"components_90/{name}": Estimate(value, value - 1, value + 1)
        for name, value in zip(names, (7, 10), strict=True)
    }
    condition = {"rule": "larger", "metric": "components_90", "of": RMSPROP, "than": [GD], "published": "more"}
    (comparison,) = judge([], measured, **condition).comparisons
    assert comparison.verdict is HOLDS
    assert (comparison.estimate.low, comparison.estimate.high) == pytest.approx((3 - 2**0.5, 3 + 2**0.5))


@pytest.mark.parametrize(
    ("metric", "difference", "verdict"),
    [
        ("generality", 0.0, UNDECIDED),
        ("flip_rate", 1.0, HOLDS),
        ("drawdown_signed", 0.5, HOLDS),
        ("success_rate", -10.0, FAILS),
    ],
)
def test_any_measure_of_any_row_can_be_claimed(metric, difference, verdict):
    other = cell("mine/covariance_views/head", 5, failures=10)
    other = replace(other, records=other.records.assign(flips=110))
    judged = judge([cell(GD), other], rule="larger", metric=metric, of="mine/covariance_views/head", than=[GD])
    (comparison,) = judged.comparisons
    assert comparison.estimate.value == pytest.approx(difference, abs=0.1)
    assert judged.verdict is verdict
    assert math.isnan(comparison.sides[0].published)
