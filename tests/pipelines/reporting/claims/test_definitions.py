"""claims.yaml: what is shipped agrees with the paper's tables; what is wrong is refused in one sentence."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import yaml
from pipelines.reporting.claims.verdicts import Verdict

from benchmarks.errors import InputError
from benchmarks.metrics import Estimate
from pipelines.reporting.claims import definitions
from pipelines.reporting.claims.definitions import METRICS, Paper, Row
from pipelines.reporting.tables import published

SHIPPED = definitions.load()


def test_the_claims_of_the_paper_are_there():
    assert len(SHIPPED) >= 12
    said = " ".join(claim.says for claim in SHIPPED.values())
    for word in (
        "RMSProp",
        "RProp",
        "Momentum",
        "Adam",
        "chain 3",
        "c_loc",
        "CNP",
        "Elastic",
        "DkNN",
        "2.5",
        "SVD",
        "istillation",
        "ranks",
    ):
        assert word in said


@pytest.mark.parametrize("name", SHIPPED)
def test_the_papers_own_numbers_agree_with_what_it_claims(name):
    paper = Paper()
    for condition in SHIPPED[name].conditions:
        if METRICS[condition.metric].source in ("measurement", "mistakes"):
            assert condition.published
            continue
        first, *others = [paper.value(row, condition.metric) for row in condition.rows]
        for other in others:
            assert not math.isnan(first + other)
            value = first / other if condition.scale == "ratio" else first - other
            assert condition.allowed.decide(Estimate(value, value, value)) is Verdict.HOLDS


def test_bounds_are_those_that_their_reasons_derive_from_the_paper():
    paper = Paper()
    small, large = (Row(f"editable-{c_loc}-rmsprop-chain3", "rmsprop", "chain3") for c_loc in ("0.01", "0.1"))
    plain, cnp = Row("plain", "rmsprop", "chain3"), Row("cnp", "condition_vector", "condition")
    price = paper.value(large, "test_error") - paper.value(plain, "test_error")
    excess = 100 * (paper.value(cnp, "drawdown") / paper.value(small, "drawdown") - 1)
    conditions = [condition for claim in SHIPPED.values() for condition in claim.conditions]
    assert {condition.within for condition in conditions} == {None, round(price, 6)}
    assert {condition.within_percent for condition in conditions} == {None, 25}
    assert 23 <= excess < 25


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ("plain/gd/best", 3.8),
        ("plain/adam/best", 19.4),
        ("plain/rmsprop/chain2", 1.85),
        ("plain/gd_ewc/chain3", 1.92),
        ("cnp/condition_vector/condition", 1.06),
        ("dknn-100/flip_labels/votes", 1.05),
    ],
)
def test_the_papers_numbers_are_looked_up_by_our_names(row, value):
    assert Paper().value(Row.parse(row), "drawdown") == value
    table = published.load("table1" if row.endswith("best") else "table2" if "chain2" in row else "table3")
    assert value in table["drawdown"].tolist()


def test_a_number_that_the_paper_does_not_print_is_none():
    assert math.isnan(Paper().value(Row("plain", "gd", "chain1"), "num_steps"))
    assert math.isnan(Paper().value(Row("editable-0.01-gd-all"), "drawdown"))


@pytest.mark.parametrize("row", ["plain/rmspropp/best", "plain/rmsprop/chain5", "dknn-5/flip_labels/votes", "plainer"])
def test_a_row_that_the_paper_does_not_have_is_refused(row):
    with pytest.raises(InputError, match=re.escape(f"the paper has no row {row!r}")):
        Paper().value(Row.parse(row), "drawdown")


GOOD = {"rule": "smaller", "metric": "drawdown", "of": "plain/rmsprop/chain3", "than": ["plain/gd/all"]}
WITHIN = {**GOOD, "rule": "not_larger", "within": 1.0, "reason": "r"}
COST = {"rule": "between", "metric": "cost_ratio", "of": "cnp", "above": 2, "reason": "r", "published": "2.5"}


def written(folder, condition: dict[str, Any], **claim: Any):
    content = {"claims": {"mine": {"says": "s", "source": "t", "conditions": [condition], **claim}}}
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("condition", [GOOD, WITHIN, COST])
def test_what_is_right_is_read(tmp_path, condition):
    (read,) = definitions.load(written(tmp_path, condition))["mine"].conditions
    assert read.of == condition["of"]


WRONG = {
    "unknown rule": ({**GOOD, "rule": "best"}, "claims.mine.conditions.0.rule must be one of"),
    "unknown key": (
        {**GOOD, "then": ["plain/gd/all"]},
        "unknown key 'claims.mine.conditions.0.then'; did you mean 'than'\\? allowed here:",
    ),
    "unknown metric": ({**GOOD, "metric": "drawdwn"}, "unknown metric 'drawdwn'; there are: drawdown"),
    "text for a number": ({**GOOD, "by_more_than": "1"}, "by_more_than must be a number, not '1'"),
    "infinite": ({**WITHIN, "within": math.inf}, "within must be a finite number"),
    "no rule": ({key: GOOD[key] for key in ("metric", "of", "than")}, "claims.mine.conditions.0.rule is missing"),
    "half a row": ({**GOOD, "of": "plain/rmsprop"}, "a row is training/editor/layers.*not 'plain/rmsprop'"),
    "no other row": ({**GOOD, "than": []}, "rule smaller needs 'than'"),
    "row not in the paper": ({**GOOD, "than": ["plain/sgd/all"]}, "claims.mine: the paper has no row 'plain/sgd/all'"),
    "a bound too many": ({**GOOD, "within": 1.0}, "rule smaller takes no 'within'"),
    "no bound": ({**GOOD, "rule": "equivalent", "reason": "r"}, "needs 'within' or 'within_percent'"),
    "two bounds": ({**WITHIN, "within_percent": 5}, "exclude each other"),
    "no reason": ({**WITHIN, "reason": None}, "needs a 'reason'"),
    "percent of an error": (
        {**WITHIN, "metric": "test_error", "within": None, "within_percent": 5},
        "'within_percent' needs pairs of edits",
    ),
    "empty range": ({**COST, "below": 1}, r"'above' \(2\) must be smaller than 'below' \(1\)"),
    "row of a cost": ({**COST, "of": "plain/gd/all"}, "cost_ratio is that of a training alone, not of 'plain/gd/all'"),
    "training of an edit": ({**GOOD, "of": "plain"}, "drawdown is that of training/editor/layers, not of 'plain'"),
    "a stand-in of a row": ({**GOOD, "or_of": ["plain/gd/all"]}, "'or_of' is for what was measured besides edits"),
    "a stand-in that is unknown": ({**COST, "or_of": ["nobody"]}, "claims.mine: the paper has no row 'nobody'"),
    "a number repeated": ({**GOOD, "published": "1.77"}, "looked up in the paper's tables: remove 'published'"),
    "a number missing": ({**COST, "published": None}, "'published' must say what the paper shows of cost_ratio"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_sentence_that_names_file_and_claim(tmp_path, case):
    condition, sentence = WRONG[case]
    path = written(tmp_path, condition)
    with pytest.raises(InputError, match=sentence) as caught:
        definitions.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "claims.mine" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("claims: [", "cannot be read as YAML"),
        ("", "must hold keys and values, found nothing"),
        ("claims: {}", "claims must be at least 1 long"),
        ("claim: {}", "unknown key 'claim'|claims is missing"),
        ("claims:\n  a: {says: s}\n  a: {says: t}\n", "the key 'a' is given twice"),
        ("claims:\n  a: {says: s, source: t, conditions: []}\n", "claims.a.conditions must be at least 1 long"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, content, sentence):
    path = tmp_path / "claims.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=sentence) as caught:
        definitions.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="claims.yaml does not exist: it comes with the repository"):
        definitions.load(tmp_path / "claims.yaml")
