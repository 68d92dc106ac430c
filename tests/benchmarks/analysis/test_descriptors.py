"""Descriptors of edits, compared with one patched copy of the model per edit and every image anew."""

import copy
from collections import OrderedDict
from dataclasses import fields

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import editors
from benchmarks.analysis import descriptors
from benchmarks.data.dataset import Dataset
from benchmarks.errors import InputError
from benchmarks.scoring.requests import draw_requests
from benchmarks.scoring.scorer import Scorer
from tests.benchmarks.conftest import random_split, small_dataset

CLASSES = 3
EDITOR = editors.build("rmsprop", lr=0.02, beta=0.5, max_steps=6)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    splits = (
        random_split("descriptors", name, count=24, classes=CLASSES, size=4) for name in ("train", "tuning", "test")
    )
    return small_dataset(CLASSES, *splits, padding=0)


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        body = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU())
        return nn.Sequential(OrderedDict(body=body, middle=nn.Linear(8, 8), head=nn.Linear(8, CLASSES))).eval()


@pytest.fixture(scope="module")
def scorer(model: nn.Sequential, dataset: Dataset) -> Scorer:
    requests = draw_requests(dataset.test, CLASSES, 12, 0, "tiny")
    return Scorer(model, "middle", dataset, dataset.test, requests)


def probabilities(model: nn.Module, dataset: Dataset) -> Tensor:
    with torch.no_grad():
        return model(dataset.inputs(dataset.test.images)).double().softmax(dim=1)


def test_every_number_is_that_of_a_patched_copy(scorer, model, dataset):
    found = descriptors.describe(scorer, EDITOR, range(12), CLASSES)
    before, labels = probabilities(model, dataset), dataset.test.labels
    for row in range(12):
        image, target = int(scorer.requests.images[row]), int(scorer.requests.targets[row])
        inputs = dataset.inputs(dataset.test.images[image : image + 1])
        edit = EDITOR.edit(model, inputs, editors.constraints.predicts(target), layers="middle")
        after = probabilities(edit.apply(copy.deepcopy(model)), dataset)
        divergence = (before * (before / after).log()).sum(dim=1)
        torch.testing.assert_close(found.kl[row].double(), divergence, rtol=2e-3, atol=2e-6)
        change = (after.argmax(dim=1) != labels).int() - (before.argmax(dim=1) != labels).int()
        per_class = [int(change[labels == label].sum()) for label in range(CLASSES)]
        assert found.wrong_change[row].tolist() == per_class
        assert int(found.edited_wrong_change[row]) == int(change[image])
        expected = (int(labels[image]), int(before[image].argmax()), target)
        names = ("labels", "predicted", "targets")
        assert tuple(getattr(found, name)[row].item() for name in names) == expected
    assert found.kl.shape == (12, 24)
    assert found.kl.dtype == torch.float32
    assert bool(found.wrong_change.any())


def test_an_edit_without_a_step_changes_nothing(scorer):
    found = descriptors.describe(scorer, EDITOR, range(12), CLASSES)
    edits, _ = scorer.edit(EDITOR, range(12))
    still = torch.tensor([edit.steps == 0 for edit in edits])
    assert 0 < int(still.sum()) < 12
    assert torch.equal(still, found.predicted == found.targets)
    for values in (found.kl, found.wrong_change, found.edited_wrong_change):
        assert not values[still].any()
    assert bool(found.kl[~still].any(dim=1).all())


def test_shards_are_the_whole(scorer):
    whole = descriptors.describe(scorer, EDITOR, range(12), CLASSES)
    parts = descriptors.join([descriptors.describe(scorer, EDITOR, rows, CLASSES) for rows in (range(5), range(5, 12))])
    assert len(parts) == 12
    for field in fields(whole):
        torch.testing.assert_close(getattr(parts, field.name), getattr(whole, field.name), rtol=1e-3, atol=1e-6)


def test_a_file_is_read_by_those_only_who_know_what_it_was_made_from(scorer, tmp_path):
    found = descriptors.describe(scorer, EDITOR, range(4), CLASSES)
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    for path in (one, two):
        descriptors.save(found, path, "made so")
    assert one.read_bytes() == two.read_bytes()
    read = descriptors.load(one, "made so")
    assert all(torch.equal(getattr(read, field.name), getattr(found, field.name)) for field in fields(found))
    assert descriptors.load(one, "made otherwise") is None
    assert descriptors.load(tmp_path / "absent.safetensors", "made so") is None
    one.write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"one\.safetensors does not hold readable descriptors: remove it"):
        descriptors.load(one, "made so")


def test_a_file_with_other_tensors_is_read_if_it_has_those_that_are_needed(scorer, tmp_path):
    found = descriptors.describe(scorer, EDITOR, range(4), CLASSES)
    tensors = {field.name: getattr(found, field.name) for field in fields(found)}
    path, known = tmp_path / "other.safetensors", {"fingerprint": "made so"}
    safetensors.torch.save_file(tensors | {"steps": torch.arange(4)}, path, metadata=known)
    assert torch.equal(descriptors.load(path, "made so").kl, found.kl)
    del tensors["kl"]
    safetensors.torch.save_file(tensors, path, metadata=known)
    with pytest.raises(InputError, match=r"other\.safetensors does not hold readable descriptors: remove it"):
        descriptors.load(path, "made so")
