"""Claims judged on records made by hand, for which the verdict is known."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.errors import InputError
from benchmarks.metrics import Estimate
from benchmarks.scoring.measures import IMAGES
from benchmarks.translation.metrics import TRANSLATIONS
from pipelines.reporting.claims import definitions, judging
from pipelines.reporting.claims.definitions import Claim, Condition, Verdict
from pipelines.reporting.claims.judging import Evidence, at_equal_failures
from pipelines.reporting.tables.paper import CLASSIFIERS
from pipelines.store.layout import Layout, write_csv
from tests.optional import needs
from tests.pipelines.reporting.cells import image_cell as cell
from tests.pipelines.reporting.cells import positions, translator_cell


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
    if "within_percent" not in rule:
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
    paid = [caveat for caveat in comparison.caveats if "comes with more failures" in caveat]
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


def test_the_table_has_a_line_per_comparison_and_the_same_bytes_every_time(tmp_path):
    claims = definitions.load(CLASSIFIERS.claims)
    results = [cell(GD, failures=12), cell(RMSPROP, -5, failures=12)]
    judged = judging.judge(claims, Evidence(IMAGES, results))
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    write_csv(one, judging.table(judged), digits=6)
    write_csv(two, judging.table(judging.judge(claims, Evidence(IMAGES, results[::-1]))), digits=6)
    assert one.read_bytes() == two.read_bytes()
    read = pd.read_csv(one)
    assert len(read) == sum(len(claim.comparisons) for claim in judged)
    (line,) = read[(read["claim"] == "rmsprop-and-rprop-beat-gd") & (read["of"] == RMSPROP)].to_dict("records")
    assert line["verdict"] == "holds"
    assert line["claim_verdict"] == "not measured"
    assert line["estimate_low"] < line["estimate"] < line["estimate_high"] < line["allowed_below"] == 0
    assert (line["published_of"], line["published_than"]) == (1.77, 3.8)
    assert line["estimate"] == pytest.approx(line["measured_of"] - line["measured_than"], abs=1e-4)
    assert (line["success_of"], line["method"]) == (88, "paired, the same 100 edits of one model")
    assert "plain/rmsprop/chain3: tuned to" in line["caveats"]


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


HALVES, SMALLER_STEPS, COSTS = (
    "editable-training-halves-bleu-drawdown",
    "smaller-steps-are-more-local",
    "locality-costs-steps",
)
EDITED, EDITABLE = "last_decoder_layer", "editable-100-rmsprop-last_decoder_layer"


def translators(**changes):
    """The rows of Table 6, with a training that has a name of its own."""
    return [
        translator_cell(f"plain/rmsprop_1e-3/{EDITED}", 0.8, 2),
        translator_cell(f"mine/rmsprop_1e-3/{EDITED}", 0.4, 3, published=EDITABLE, **changes),
        translator_cell(f"mine/rmsprop_3e-4/{EDITED}", 0.2, 5, published=EDITABLE),
    ]


def judged_translators(results) -> dict[str, judging.Judged]:
    claims = definitions.load(definitions.OURS.parent / "published/table6_claims.yaml")
    return {one.name: one for one in judging.judge(claims, Evidence(TRANSLATIONS, results))}


@needs("sacrebleu")
def test_table_6_as_in_the_paper_holds():
    judged = judged_translators(translators())
    assert {name: one.verdict for name, one in judged.items()} == dict.fromkeys((HALVES, SMALLER_STEPS, COSTS), HOLDS)
    drawdown, quality = judged[HALVES].comparisons
    assert drawdown.estimate.value == pytest.approx(-0.4)
    assert [side.published for side in drawdown.sides] == [0.35, 0.76]
    assert str(drawdown.sides[0].row) == f"mine/rmsprop_1e-3/{EDITED}"
    assert drawdown.method == "paired, the same 40 edits of each of two models"
    assert quality.estimate == Estimate(0.0, 0.0, 0.0)
    assert quality.method == "paired, the same 200 test sentences"


@needs("sacrebleu")
def test_a_worse_translator_does_not_pass_for_an_equal_one():
    worse = np.tile([5, 3, 2, 1, 10, 9, 8, 7, 10, 10], (200, 1))
    judged = judged_translators(translators(counts=worse))[HALVES]
    assert judged.comparisons[0].verdict is HOLDS
    assert judged.verdict is FAILS
    with pytest.raises(InputError, match="cannot be compared: pairs need two translations of one corpus"):
        judged_translators(translators(counts=worse[:100]))


@needs("sacrebleu")
def test_translators_rows_that_failed_lack_or_met_other_edits_are_treated_like_others():
    judged = judged_translators(translators(succeeded=[True, False] * 20))[HALVES]
    assert any("50.0 % success, clearly below 95 %" in note for note in judged.comparisons[0].caveats)
    with pytest.raises(InputError, match="were not measured on the same edits: evaluate them again"):
        judged_translators(translators(sentence=range(1, 41)))
    missing = judged_translators(translators()[:2])[SMALLER_STEPS]
    assert missing.comparisons[0].missing == (f"{EDITABLE}/rmsprop_3e-4/{EDITED}",)


@needs("sacrebleu")
def test_edits_of_which_no_row_has_a_value_are_left_out_and_a_value_that_one_lacks_decides_nothing():
    claim = {"rule": "larger", "metric": "generality", "of": f"mine/rmsprop_1e-3/{EDITED}"}
    claim = {
        "mine": Claim(says="s", source="t", conditions=[Condition(**claim, than=[f"plain/rmsprop_1e-3/{EDITED}"])])
    }
    nothing_near = [0, 5] * 20
    rows = translators(views=nothing_near, views_after=[0, 5] * 20)[:2]
    judged = judging.judge(claim, Evidence(TRANSLATIONS, rows))[0]
    assert judged.verdict is UNDECIDED
    rows[0] = replace(rows[0], records=rows[0].records.assign(views=nothing_near, views_after=[0, 4] * 20))
    judged = judging.judge(claim, Evidence(TRANSLATIONS, rows))[0]
    assert judged.verdict is HOLDS
    assert judged.comparisons[0].method == "paired, the same 20 edits of each of two models"
    assert judged.comparisons[0].estimate.value == pytest.approx(20)


def test_verdicts_are_counted_in_words():
    counted = judging.count(["holds"] * 5 + ["does not hold"] * 2 + ["undecided"] * 3 + ["not measured"])
    assert counted == "5 hold, 2 do not hold, 3 are undecided, 1 was not measured"


HEAD = "training,editor,layers,edits,components_90,components_90_low,components_90_high,own_excess\n"
ROW = "plain,rmsprop,chain3"


@pytest.fixture
def layout(tmp_path):
    return Layout("digits", tmp_path)


def write(path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def measured(layout):
    return judging.measurements(layout, ["plain", "cnp"])


def test_numbers_besides_edits_are_read_by_name_as_far_as_they_are_there(layout):
    assert measured(layout) == {}
    cost = {"cost_ratio": 2.5, "cost_ratio_low": 2.25, "cost_ratio_high": 2.75, "seconds": 12}
    write(layout.described("cnp") / "cost.json", json.dumps(cost))
    write(layout.described("editable-0.1-rmsprop-chain3") / "cost.json", "{")  # of another run
    write(layout.results / "figure2/summary.csv", f"{HEAD}{ROW},400,7,6,9,1.5\nplain,gd,all,400,,,,0.5\n")
    found = measured(layout)
    assert found["cost_ratio/cnp"] == Estimate(2.5, 2.25, 2.75)
    assert found["components_90/plain/rmsprop/chain3"] == Estimate(7, 6, 9)
    assert found["own_excess/plain/gd/all"].value == 0.5
    assert math.isnan(found["own_excess/plain/gd/all"].low)
    assert len(found) == 4


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"cost_ratio": "fast"}', '{"cost_ratio": null}'])
def test_a_damaged_cost_is_refused(layout, content):
    write(layout.described("cnp") / "cost.json", content)
    with pytest.raises(InputError, match=r"cnp.cost.json is broken .*train again"):
        measured(layout)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "summary.csv is broken"),
        ("training,editor,components_90\nplain,gd,3\n", "is broken .*layers"),
        (f"{HEAD}{ROW},400,many,6,9,1\n", "is broken .*many"),
        (f"{HEAD}{ROW},400,7,6,9,1\n{ROW},400,7,6,9,1\n", "is broken .a cell has two rows.: remove it"),
        (f"{HEAD}{ROW},400,7,9,6,1\n", r"components_90 is 7 with the interval \[9, 6\], which cannot be"),
        (f"{HEAD}{ROW},400,inf,6,9,1\n", "components_90 is inf"),
    ],
)
def test_a_damaged_summary_is_refused(layout, content, sentence):
    write(layout.results / "figure2/summary.csv", content)
    with pytest.raises(InputError, match=sentence) as caught:
        measured(layout)
    assert "\n" not in str(caught.value)


def test_rows_with_trade_off_curves_are_compared_at_equal_success(tmp_path):
    """Tuning left the second row with a smaller drawdown, and it is the one that breaks more at 95 % success."""
    needed, costs = np.linspace(0.5, 4.2, 40), np.linspace(0.9, 1.1, 40)
    rows = []
    for name, cost in ((GD, 1.0), (RMSPROP, 2.0)):
        for strength in (1.0, 2.0, 4.0, 8.0):
            succeeded = " ".join("1" if strength >= one else "0" for one in needed)
            drawdowns = " ".join(f"{cost * strength * one:.5g}" for one in costs)
            named = dict(zip(("training", "editor", "layers"), name.split("/"), strict=True))
            rows.append({**named, "edits_succeeded": succeeded, "edits_drawdown": drawdowns})
    layout = Layout("digits", tmp_path)
    write_csv(layout.results / "curves.csv", pd.DataFrame(rows), digits=6)
    results = [cell(GD, 40), cell(RMSPROP, -40)]
    condition = Condition(rule="smaller", metric="drawdown", of=RMSPROP, than=[GD])
    claims = {"mine": Claim(says="s", source="t", conditions=[condition])}
    (alone,) = judging.judge(claims, Evidence(IMAGES, results))
    assert alone.verdict is HOLDS
    (judged,) = judging.judge(claims, Evidence(IMAGES, results, curves=judging.trade_offs(layout)))
    (comparison,) = judged.comparisons
    assert judged.verdict is FAILS
    assert comparison.method == "at 95 % success, read from trade-off curves of the same 40 edits"
    assert 2 < comparison.estimate.low < comparison.estimate.value < comparison.estimate.high
    (layout.results / "curves.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="is broken"):
        judging.trade_offs(layout)
