"""Files of claims: what is shipped agrees with the paper's tables; what is wrong is refused in one sentence."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
import yaml

from benchmarks.errors import InputError
from benchmarks.metrics import Estimate
from benchmarks.scoring.measures import IMAGES
from pipelines.reporting.claims import definitions
from pipelines.reporting.claims.definitions import Row, in_paper, metrics_of, published_value
from pipelines.reporting.claims.statistics import Verdict
from pipelines.tasks import kinds, task_of
from pipelines.tasks.images import CLASSIFIERS
from tests.pipelines.conftest import committed

SHIPPED = {
    f"{task.name}: {name}": (claim, metrics_of(task.measures))
    for task in kinds()
    for name, claim in definitions.load(task.presentation.claims).items()
}
OURS = definitions.load(definitions.OURS)
COMMITTED = sorted(definitions.OURS.parent.glob("*/claims.csv"))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_papers_own_numbers_agree_with_what_it_claims(name):
    claim, metrics = SHIPPED[name]
    for condition in claim.conditions:
        condition.check(metrics, of_paper=True)
        if metrics[condition.metric].source in ("measurement", "mistakes"):
            assert condition.published
            continue
        first, *others = [published_value(row, condition.metric) for row in condition.rows]
        for other in others:
            assert not math.isnan(first + other)
            value = first / other if condition.scale == "ratio" else first - other
            assert condition.allowed.decide(Estimate(value, value, value)) is Verdict.HOLDS


def test_bounds_are_those_that_their_reasons_derive_from_the_paper():
    small, large = (Row(f"editable-{c_loc}-rmsprop-chain3", "rmsprop", "chain3") for c_loc in ("0.01", "0.1"))
    plain, cnp = Row("plain", "rmsprop", "chain3"), Row("cnp", "condition_vector", "condition")
    price = published_value(large, "test_error") - published_value(plain, "test_error")
    excess = 100 * (published_value(cnp, "drawdown") / published_value(small, "drawdown") - 1)
    conditions = [one for claim in definitions.load(CLASSIFIERS.claims).values() for one in claim.conditions]
    assert {condition.within for condition in conditions} == {None, round(price, 6)}
    assert {condition.within_percent for condition in conditions} == {None, 25}
    assert 23 <= excess < 25


@pytest.mark.parametrize("benchmark", sorted({name for claim in OURS.values() for name in claim.benchmarks}))
def test_our_claims_are_about_rows_that_their_benchmarks_have(benchmark):
    settings = committed()
    block, measures = settings.benchmark(benchmark), task_of(settings, benchmark).measures
    claims = {name: claim for name, claim in OURS.items() if benchmark in claim.benchmarks}
    definitions.check(definitions.OURS, claims, measures)
    for row in (row for claim in claims.values() for one in claim.conditions for row in one.rows):
        parts = block.layers_of(row.editor)[row.training]
        assert row.layers in parts or (row.layers == definitions.BEST and parts)
    for row in (row for claim in claims.values() for one in claim.conditions for row in one.rows if row.edits):
        source, count, manner = row.edits.split("/")
        assert tuple(row.cell.split("/")) in {tuple(cell) for cell in block.joint.cells}
        assert source in block.joint.sources
        assert int(count) in {"jointly": block.joint.counts, "in_a_row": block.joint.in_a_row}[manner]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_committed_verdicts_are_on_todays_claims(path):
    settings, benchmark = committed(), path.parent.name
    told, trainings = task_of(settings, benchmark).presentation, {*settings.benchmark(benchmark).trainings}
    names = {told.published_training(settings, benchmark, name) for name in trainings}
    claims = definitions.about(benchmark, names | trainings, told.claims, told.measures)
    judged = pd.read_csv(path).drop_duplicates("claim").set_index("claim")["says"]
    again = f"run `python -m pipelines.report {benchmark}`"
    assert judged.to_dict() == {name: claim.says for name, claim in claims.items()}, again


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ("plain/gd/best", 3.8),
        ("plain/adam/best", 19.4),
        ("plain/rmsprop/chain2", 1.85),
        ("plain/gd_ewc/chain3", 1.92),
        ("cnp/condition_vector/condition", 1.06),
        ("dknn-100/flip_labels/votes", 1.05),
        ("densenet169-extended/rmsprop/extra", 9.05),
    ],
)
def test_the_papers_numbers_are_looked_up_by_our_names(row, value):
    assert published_value(Row.parse(row), "drawdown") == value


def test_rows_of_table_6_are_named_with_their_learning_rate():
    for name, value in (("plain/rmsprop_1e-3", 0.76), ("editable-100-rmsprop-last_decoder_layer/rmsprop_3e-4", 0.17)):
        assert published_value(Row.parse(f"{name}/last_decoder_layer"), "bleu_drawdown") == value
    assert in_paper(Row.parse("plain/rmsprop/last_decoder_layer")).empty


def test_a_number_that_the_paper_does_not_print_is_none():
    assert math.isnan(published_value(Row("plain", "gd", "chain1"), "num_steps"))
    assert math.isnan(published_value(Row("editable-0.01-gd-all"), "drawdown"))
    assert math.isnan(published_value(Row("plain", "covariance", "chain3"), "drawdown"))


def test_a_benchmark_has_the_papers_claims_about_its_trainings_and_those_of_ours_that_name_it():
    everything = definitions.load(CLASSIFIERS.claims)

    def about(benchmark, trainings):
        return definitions.about(benchmark, trainings, CLASSIFIERS.claims, IMAGES)

    assert set(about("other", {"dknn-10", "dknn-100"})) == {
        *("editable-training-beats-its-baselines", "dknn-larger-k-trades-error-for-drawdown")
    }
    assert list(about("other", {"none"})) == list(everything)
    assert not everything.keys() & about("tiny_imagenet_joint", {"none"}).keys()  # ours are enough
    found = about("cifar10_second", {"plain"})
    assert "rank-one-beats-the-covariance" in found
    assert "covariance-breaks-least" not in found
    assert list(found) == sorted(found, key=lambda name: name not in everything)


GOOD = {"rule": "smaller", "metric": "drawdown", "of": "plain/rmsprop/chain3", "than": ["plain/gd/all"]}
WITHIN = {**GOOD, "rule": "not_larger", "within": 1.0, "reason": "r"}
COST = {"rule": "between", "metric": "cost_ratio", "of": "cnp", "above": 2, "reason": "r", "published": "2.5"}


def written(folder, condition: dict[str, Any], **claim: Any):
    claim = {"source": "t"} | claim
    content = {"claims": {"mine": {"says": "s", "conditions": [condition], **claim}}}
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("condition", [GOOD, WITHIN, COST])
def test_what_is_right_is_read(tmp_path, condition):
    claims = definitions.load(path := written(tmp_path, condition))
    definitions.check(path, claims, IMAGES)
    assert claims["mine"].conditions[0].of == condition["of"]


def test_a_claim_of_ours_is_about_rows_and_metrics_that_no_paper_has(tmp_path):
    condition = {"rule": "larger", "metric": "generality", "of": "mine/covariance_views/head", "than": ["plain/gd/all"]}
    path = written(tmp_path, condition, source=None, benchmarks=["digits"])
    definitions.check(path, definitions.load(path), IMAGES)
    for whose in ({"source": None}, {"source": "Table 1", "benchmarks": ["digits"]}):
        with pytest.raises(
            InputError, match="claims.mine: a claim has either a 'source' in the paper, or 'benchmarks'"
        ):
            definitions.load(written(tmp_path, condition, **whose))


WRONG = {
    "unknown rule": (
        {**GOOD, "rule": "best"},
        "claims.mine.conditions.0.rule should be 'smaller', .*, not 'best'",
    ),
    "unknown key": (
        {**GOOD, "then": ["plain/gd/all"]},
        "claims.mine.conditions.0: unknown key 'then'; did you mean 'than'\\? allowed here:",
    ),
    "unknown metric": ({**GOOD, "metric": "drawdwn"}, "metric: unknown 'drawdwn'; did you mean 'drawdown'"),
    "text for a number": ({**GOOD, "by_more_than": "1"}, "by_more_than should be a valid number, not '1'"),
    "infinite": ({**WITHIN, "within": math.inf}, "within should be a finite number"),
    "no rule": ({key: GOOD[key] for key in ("metric", "of", "than")}, "claims.mine.conditions.0.rule is missing"),
    "half a row": ({**GOOD, "of": "plain/rmsprop"}, "a row is training/editor/layers.*not 'plain/rmsprop'"),
    "no other row": ({**GOOD, "than": []}, "rule smaller needs 'than'"),
    "row not in the paper": ({**GOOD, "than": ["plain/sgd/all"]}, "claims.mine: the paper has no row 'plain/sgd/all'"),
    "a bound too many": ({**GOOD, "within": 1.0}, "rule smaller takes no 'within'"),
    "two scales": ({**GOOD, "times": 0.5, "by_more_than": 1}, "'times' and 'by_more_than' exclude each other"),
    "no pairs": ({**GOOD, "metric": "test_error", "times": 0.5}, "'times' needs pairs of edits"),
    "no bound": ({**GOOD, "rule": "equivalent", "reason": "r"}, "needs 'within' or 'within_percent'"),
    "two bounds": ({**WITHIN, "within_percent": 5}, "exclude each other"),
    "no reason": ({**WITHIN, "reason": None}, "needs a 'reason'"),
    "percent of an error": (
        {**WITHIN, "metric": "test_error", "within": None, "within_percent": 5},
        "'within_percent' needs pairs of edits",
    ),
    "empty range": ({**COST, "below": 1}, r"'above' \(2\) must be smaller than 'below' \(1\)"),
    "row of a cost": ({**COST, "of": "plain/gd/all"}, "cost_ratio is that of a training alone, not of 'plain/gd/all'"),
    "training of an edit": (
        {**GOOD, "of": "plain"},
        "drawdown is that of single edits: training/editor/layers, not of 'plain'",
    ),
    "many edits of a metric of single ones": (
        {**GOOD, "of": "plain/rmsprop/chain3/random/25/jointly"},
        "drawdown is that of single edits: training/editor/layers, not of 'plain/rmsprop/chain3/random/25/jointly'",
    ),
    "a single edit of a metric of many": (
        {**GOOD, "metric": "joint_fixed"},
        "joint_fixed is that of many edits together: training/editor/layers/source/count/manner, not of",
    ),
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
        definitions.check(path, definitions.load(path), IMAGES)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "claims.mine" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("claims: [", "cannot be read as YAML"),
        ("", "must hold keys and values, found nothing"),
        ("claims: {}", "claims: Dictionary should have at least 1 item"),
        ("claim: {}", "unknown key 'claim'|claims is missing"),
        ("claims:\n  a: {says: s}\n  a: {says: t}\n", "found duplicate key .a."),
        (
            "claims:\n  a: {says: s, source: t, conditions: []}\n",
            "claims.a.conditions: List should have at least 1 item",
        ),
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
