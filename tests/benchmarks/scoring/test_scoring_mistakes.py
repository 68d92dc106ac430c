"""Edits of images that are none of those on which the drawdown is counted: realistic mistakes."""

import copy

import pytest
import torch
from torch import nn

import editors
from benchmarks import datasets
from benchmarks.data.dataset import Dataset
from benchmarks.datasets import digits_finetune
from benchmarks.models import make
from benchmarks.scoring.ranks import ranks
from benchmarks.scoring.requests import corrections, draw_requests
from benchmarks.scoring.scorer import Scorer

EDITOR = {"lr": 0.02, "max_steps": 4}


@pytest.fixture(scope="module")
def data() -> Dataset:
    return datasets.make("digits_finetune", tuning_size=60, test_size=40, pool_size=60)


@pytest.fixture(scope="module")
def candidates():
    return digits_finetune.candidates(60, 40, 60, copies=1)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return make("resnet18_extra", channels=1, classes=10, width=2, extra_width=8).eval()


def test_a_request_for_each_mistake_asks_for_its_true_class(candidates):
    requests = corrections(candidates.images, 0, "test")
    assert requests.images.tolist() == list(range(60))
    assert torch.equal(requests.targets, candidates.images.labels)
    assert len(set(requests.seeds)) == 60
    assert requests.seeds == corrections(candidates.images, 0, "test").seeds


@pytest.mark.parametrize("layers", ["extra", "all"])
def test_mistakes_are_edited_and_the_test_images_counted(data, candidates, model, layers):
    found = candidates.images.select(torch.arange(6))
    requests = corrections(found, 0, "test")
    scorer = Scorer(model, layers, data, data.test, requests, edited=found)
    edits, _ = scorer.edit(editors.build("rmsprop", **EDITOR), range(6))
    whole = copy.deepcopy(model)
    with torch.no_grad():
        answers = whole(data.inputs(found.images))
        before = whole(data.inputs(data.test.images)).argmax(dim=1)
    assert torch.equal(scorer.ranks, ranks(answers, found.labels))
    for row, edit in enumerate(edits):
        record = scorer.record(row, edit)
        wanted = editors.constraints.predicts(int(found.labels[row]))
        alone = editors.build("rmsprop", **EDITOR).edit(
            whole, data.inputs(found.images[row : row + 1]), wanted, None if layers == "all" else layers
        )
        with torch.no_grad():
            after = alone.apply(whole)(data.inputs(data.test.images)).argmax(dim=1)
        assert record.label == record.target == int(found.labels[row])
        assert record.predicted == int(answers[row].argmax())
        assert record.trivial == (record.predicted == record.label)
        assert (record.succeeded, record.steps) == (alone.succeeded, alone.steps)
        assert record.control_size == 40
        assert record.wrong_before == int((before != data.test.labels).sum())
        assert record.wrong_after == int((after != data.test.labels).sum())
        assert record.flips == int((after != before).sum())


def test_editing_the_split_itself_is_the_same_as_naming_it(data, model):
    requests = draw_requests(data.test, 10, 5, 0, "test")
    editor = editors.build("rmsprop", **EDITOR)

    def records(**named):
        scorer = Scorer(model, "extra", data, data.test, requests, **named)
        return [scorer.record(row, edit) for row, edit in enumerate(scorer.edit(editor, range(5))[0])]

    assert records() == records(edited=data.test)
