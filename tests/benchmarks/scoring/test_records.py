"""Records of edits, against the same counted naively: one edit, a patched copy, and every image again."""

import copy
from dataclasses import asdict, replace

import pytest
import torch
from torch import Tensor

import editors
from benchmarks.data.augmentation import Augmentation
from benchmarks.scoring.requests import EditRequests
from benchmarks.scoring.scorer import Scorer, shards
from tests.benchmarks.scoring.conftest import EDITOR, LARGEST, answers, assert_same, naive_record, score

FAILING = editors.build("gd", lr=1e-5, max_steps=2)


@pytest.mark.parametrize(
    ("layers", "editor"),
    [("all", EDITOR), ("chain2", EDITOR), ("chain3", FAILING), ("chain4", EDITOR), ("head", EDITOR)],
)
def test_every_field_equals_a_naive_reference(model, dataset, requests, layers, editor):
    found = score(Scorer(model, layers, dataset, dataset.test, requests, chunk_bytes=7 * LARGEST), editor)
    for row, record in enumerate(found):
        assert_same(record, naive_record(model, editor, layers, dataset, requests, row))
        assert record.succeeded == (record.loss <= 0)
    assert editor is EDITOR or any(not record.succeeded for record in found)


def test_the_edits_that_are_compared_differ_in_every_field(model, dataset, requests):
    records = [
        record
        for layers in ("chain4", "head")
        for record in score(Scorer(model, layers, dataset, dataset.test, requests))
    ]
    for name in ("trivial", "steps", "wrong_after", "flips", "views_before", "views_after", "predicted"):
        assert len({getattr(record, name) for record in records}) > 1, name
    assert any(record.wrong_after > record.wrong_before for record in records)
    assert any(record.views_after > record.views_before for record in records)
    assert all(record.flips >= abs(record.wrong_after - record.wrong_before) for record in records)


def test_trivial_edits_take_no_step_and_change_nothing(model, dataset):
    with torch.no_grad():
        targets = copy.deepcopy(model).eval()(dataset.inputs(dataset.test.images)).argmax(dim=1)
    requests = EditRequests(torch.arange(30), targets, tuple(range(30)))
    for record in score(Scorer(model, "chain2", dataset, dataset.test, requests)):
        assert (record.trivial, record.succeeded, record.steps, record.loss) == (True, True, 0, 0.0)
        assert (record.flips, record.kl, record.wrong_after) == (0, 0.0, record.wrong_before)
        assert record.views_after == record.views_before


def test_control_subset_belongs_to_each_edit(model, dataset, requests):
    layers = "chain3"
    found = score(Scorer(model, layers, dataset, dataset.test, requests, control_size=11, chunk_bytes=4 * LARGEST))
    for row, record in enumerate(found):
        assert_same(record, naive_record(model, EDITOR, layers, dataset, requests, row, control_size=11))
    assert {record.control_size for record in found} == {11}
    assert len({record.wrong_before for record in found}) > 1


def test_small_cache_gives_the_same_records(model, dataset, requests):
    cached = score(Scorer(model, "chain3", dataset, dataset.test, requests))
    anew = score(Scorer(model, "chain3", dataset, dataset.test, requests, cache_bytes=100))
    for found, expected in zip(anew, cached, strict=True):
        assert_same(found, expected)


def test_records_do_not_depend_on_the_order_and_the_batch(model, dataset, requests):
    scorer = Scorer(model, "chain4", dataset, dataset.test, requests)
    together = score(scorer)
    for row in (7, 2):
        (edit,), _ = scorer.edit(EDITOR, [row])
        assert_same(scorer.record(row, edit), together[row])


class Diverged(editors.Edit):
    """Answers that are not finite, as after a learning rate that was far too large."""

    succeeded, steps, loss = False, 10, torch.tensor(torch.nan)

    def __init__(self, *logits: float) -> None:
        self.logits = torch.tensor(logits)

    def predict(self, inputs: Tensor) -> Tensor:
        return self.logits.expand(len(inputs), 4)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_answers_that_are_not_finite_are_wrong(model, dataset, requests, place, value):
    logits = [value if place == column else float(column) for column in range(4)]
    record = Scorer(model, "head", dataset, dataset.test, requests).record(0, Diverged(*logits))
    assert record.wrong_after == record.flips == record.control_size == len(dataset.test)
    assert record.views_after == 0


def test_scoring_leaves_the_model_bit_identical(model, dataset, requests):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    score(Scorer(model, "all", dataset, dataset.test, requests))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert all(value.grad is None for value in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_wrong_before_counts_the_whole_split(model, dataset, requests):
    scorer = Scorer(model, "chain3", dataset, dataset.test, requests, control_size=5)
    predicted = answers(copy.deepcopy(model).eval(), dataset.inputs(dataset.test.images)).argmax(dim=1)
    assert scorer.wrong_before == (predicted != dataset.test.labels).nonzero().flatten().tolist() != []


CACHE = editors.build("lookup_cache", epsilon=1e-6)


@pytest.mark.parametrize("layers", ["all", "chain3"])
def test_a_method_without_weights_is_scored_like_any_other(model, dataset, requests, layers):
    padded = replace(dataset, augmentation=Augmentation(crop_padding=2, flip=False))
    for record in score(Scorer(model, layers, padded, padded.test, requests, chunk_bytes=9 * LARGEST), CACHE):
        asked = record.target == record.label
        assert (record.succeeded, record.steps) == (True, not record.trivial)
        assert record.flips == (not record.trivial)
        was_right = record.predicted == record.label
        assert record.wrong_after - record.wrong_before == was_right - asked
        assert (record.kl > 1e-3) or record.trivial


def test_an_edit_that_mends_a_mistake_lowers_the_error(model, dataset):
    mending = EditRequests(torch.arange(30), dataset.test.labels, tuple(range(30)))
    records = score(Scorer(model, "chain3", dataset, dataset.test, mending), CACHE)
    assert {record.wrong_after - record.wrong_before for record in records if not record.trivial} == {-1}
    assert {record.wrong_after - record.wrong_before for record in records if record.trivial} == {0}


def test_milliseconds_are_per_edit(model, dataset, requests):
    edits, milliseconds = Scorer(model, "head", dataset, dataset.test, requests).edit(EDITOR, [3, 1])
    assert len(edits) == 2
    assert milliseconds > 0


@pytest.mark.parametrize(("count", "size"), [(10, 3), (9, 3), (1, 50), (50, 1)])
def test_shards_run_through_every_edit_once_in_order(count, size):
    runs = list(shards(count, size))
    assert [row for run in runs for row in run] == list(range(count))
    assert all(len(run) == size for run in runs[:-1])
    assert 0 < len(runs[-1]) <= size


def test_record_holds_plain_numbers(model, dataset, requests):
    values = asdict(score(Scorer(model, "head", dataset, dataset.test, requests))[0])
    assert {type(value) for value in values.values()} == {int, bool, float}
