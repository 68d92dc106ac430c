"""A model, a split and requests that the tests of scoring share, and what scoring should find, computed naively."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import editors
from benchmarks import models
from benchmarks.control_set import control_set
from benchmarks.data.corruptions import Shift, taken_again
from benchmarks.data.dataset import Dataset, Split
from benchmarks.scoring.requests import EditRequests, draw_requests
from benchmarks.scoring.scorer import GENERALITY_COPIES, EditRecord, Scorer
from benchmarks.seeds import generator
from tests.benchmarks.conftest import random_split, small_dataset

CLASSES = 4
LARGEST = 3 * 8 * 8 * 4
"""Bytes of the largest activation of the model below, for one image."""
EDITOR = editors.build("rmsprop", lr=0.03, beta=0.5, max_steps=4)


def split(name: str, count: int) -> Split:
    return random_split("scoring", name, count=count, classes=CLASSES, size=8)


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    """A ResNet-18 with random weights, its answers spread over all classes; left in training mode."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = models.make("resnet18", channels=1, classes=CLASSES, width=3)
    inputs = (split("test", 30).images - 127.0) / 73.0
    with torch.no_grad():
        for _ in range(30):
            net(inputs)  # so that batch statistics are those of these images
        logits = net.eval()(inputs)
        net.head.linear.weight /= logits.std(dim=0)[:, None]
        net.head.linear.bias.copy_((net.head.linear.bias - logits.mean(dim=0)) / logits.std(dim=0))
    return net.train()


@pytest.fixture(scope="module")
def dataset(model: nn.Sequential) -> Dataset:
    """Random images with labels of which the model gets one in two wrong."""
    test = split("test", 30)
    right = answers(copy.deepcopy(model).eval(), (test.images - 127.0) / 73.0).argmax(dim=1)
    labelled = Split(test.images, torch.where(torch.arange(30) % 2 == 0, (right + 1) % CLASSES, right))
    return small_dataset(CLASSES, split("train", 20), split("tuning", 5), labelled, flip=True)


@pytest.fixture(scope="module")
def requests(dataset: Dataset) -> EditRequests:
    return draw_requests(dataset.test, CLASSES, 10, 0, "tiny", "test")


def taught(dataset: Dataset, steps: int) -> nn.Module:
    """A small ResNet-18 that knows some labels of the test images, the more the longer it was trained on them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = models.make("resnet18", channels=1, classes=CLASSES, width=4)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(net(dataset.inputs(dataset.test.images)), dataset.test.labels).backward()
        optimizer.step()
    return net


def answers(model: nn.Module, inputs: Tensor) -> Tensor:
    """Log-probabilities of every image, by the whole model at once."""
    with torch.no_grad():
        return F.log_softmax(model(inputs), dim=1)


def naive_record(
    model: nn.Module,
    editor: editors.Editor,
    layers: str,
    dataset: Dataset,
    requests: EditRequests,
    row: int,
    control_size: int | None = None,
) -> EditRecord:
    """What section 4.1 says, without sharing anything: one edit, a patched copy, and every image again."""
    original = copy.deepcopy(model).eval()
    images, labels = dataset.inputs(dataset.test.images), dataset.test.labels
    image, target = int(requests.images[row]), int(requests.targets[row])
    edit = editor.edit(
        original,
        images[image : image + 1],
        editors.constraints.predicts(target),
        layers=None if layers == "all" else layers,
    )
    patched = edit.apply(original)
    chosen = control_set(len(labels), control_size, requests.seeds[row])
    chosen = torch.arange(len(labels)) if chosen is None else chosen
    before, after = answers(original, images[chosen]), answers(patched, images[chosen])
    old, new, true = before.argmax(dim=1).tolist(), after.argmax(dim=1).tolist(), labels[chosen].tolist()
    divergences = [(p.exp() * (p - q)).sum() for p, q in zip(before.double(), after.double(), strict=True)]
    copies = torch.stack([dataset.test.images[image]] * GENERALITY_COPIES)
    taken = taken_again(copies, dataset.augmentation, generator(requests.seeds[row], "views"))
    views = dataset.inputs(taken)
    predicted = int(answers(original, images[image : image + 1]).argmax())
    return EditRecord(
        edit=row,
        image=image,
        label=int(labels[image]),
        target=target,
        predicted=predicted,
        trivial=predicted == target,
        succeeded=edit.succeeded,
        steps=edit.steps,
        loss=float(edit.loss),
        control_images=len(labels),
        control_size=len(chosen),
        wrong_before=sum(a != b for a, b in zip(old, true, strict=True)),
        wrong_after=sum(a != b for a, b in zip(new, true, strict=True)),
        flips=sum(a != b for a, b in zip(old, new, strict=True)),
        kl=float(torch.stack(divergences).mean()),
        views=GENERALITY_COPIES,
        views_before=answers(original, views).argmax(dim=1).tolist().count(target),
        views_after=answers(patched, views).argmax(dim=1).tolist().count(target),
        **naive_side_effects(original, patched, dataset, requests, before, after, true, control_size),
    )


def naive_side_effects(
    original: nn.Module,
    patched: nn.Module,
    dataset: Dataset,
    requests: EditRequests,
    before: Tensor,
    after: Tensor,
    true: list[int],
    control_size: int | None,
) -> dict[str, Any]:
    """Image by image, class by class, bin by bin."""
    old, new = before.argmax(dim=1).tolist(), after.argmax(dim=1).tolist()
    leading = [sorted(row.exp().tolist())[-2:] for row in before]
    near = [place for place, (second, first) in enumerate(leading) if first - second <= 0.05]
    changes = []
    for name in range(len(dataset.classes)):
        members = [place for place, label in enumerate(true) if label == name]
        if members:
            wrong = [sum(given[place] != name for place in members) for given in (old, new)]
            changes.append(100 * (wrong[1] - wrong[0]) / len(members))

    def calibration(answer: Tensor) -> float:
        confidences, gap = answer.exp().amax(dim=1).tolist(), 0.0
        for number in range(15):
            inside = [place for place, one in enumerate(confidences) if number / 15 < one <= (number + 1) / 15]
            right = [answer[place].argmax().item() == true[place] for place in inside]
            gap += abs(sum(confidences[place] for place in inside) - sum(right))
        return 100 * gap / len(true)

    source = generator(requests.seeds[0], "corrupted")
    count = max(1, round(0.05 * (control_size or len(dataset.test))))
    places = torch.randperm(len(dataset.test), generator=source)[:count]
    shift = Shift(rotation=15, scale=0.15, shear=10, translation=1, noise=16)
    corrupted = dataset.inputs(shift.apply(dataset.test.images[places], source))
    answered = [answers(net, corrupted).argmax(dim=1) for net in (original, patched)]
    wrong = [int((labels != dataset.test.labels[places]).sum()) for labels in answered]
    return {
        "broken": sum(a == c != b for a, b, c in zip(old, new, true, strict=True)),
        "sensitive": len(near),
        "sensitive_wrong_before": sum(old[place] != true[place] for place in near),
        "sensitive_wrong_after": sum(new[place] != true[place] for place in near),
        "worst_class": max(changes),
        "class_spread": float(np.std(changes)),
        "calibration_before": calibration(before),
        "calibration_after": calibration(after),
        "corrupted": count,
        "corrupted_wrong_before": wrong[0],
        "corrupted_wrong_after": wrong[1],
    }


def assert_same(found: EditRecord, expected: EditRecord) -> None:
    exact = {"loss": 0.0, "kl": 0.0}
    for name in ("worst_class", "class_spread", "calibration_before", "calibration_after"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=5e-3)
        exact[name] = 0.0
    assert replace(found, **exact) == replace(expected, **exact)
    assert found.loss == pytest.approx(expected.loss, abs=2e-4)
    assert found.kl == pytest.approx(expected.kl, rel=1e-3, abs=1e-6)


def score(scorer: Scorer, editor: editors.Editor = EDITOR, **options: Any) -> list[EditRecord]:
    rows = range(len(scorer.requests))
    return [scorer.record(row, edit, **options) for row, edit in zip(rows, scorer.edit(editor, rows)[0], strict=True)]
