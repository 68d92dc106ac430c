"""Edits in a row, against the same done by hand with the whole model and no cached activations."""

import copy
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import editors
from benchmarks import models
from benchmarks.augmentation import Augmentation
from benchmarks.dataset import Dataset, Split
from benchmarks.errors import InputError
from benchmarks.seeds import generator
from benchmarks.sequential import SequentialScorer, by_number

CLASSES = 4


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    def noise(name: str, count: int) -> Split:
        images = torch.randint(256, (count, 1, 8, 8), generator=generator("sequential", name)).to(torch.uint8)
        labels = torch.randint(CLASSES, (count,), generator=generator("sequential labels", name))
        return Split(images, labels)

    splits = [noise(name, count) for name, count in (("train", 8), ("tuning", 12), ("test", 90))]
    augmentation = Augmentation(crop_padding=1, flip=False)
    return Dataset("noise", ("a", "b", "c", "d"), *splits, (127.0,), (74.0,), augmentation, "Made by a test.")


@pytest.fixture(scope="module")
def model(dataset: Dataset) -> nn.Module:
    """Trained on the test labels for a while, so that edits break something."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = models.make("resnet18", channels=1, classes=CLASSES, width=4)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(25):
        optimizer.zero_grad()
        F.cross_entropy(net(dataset.inputs(dataset.test.images)), dataset.test.labels).backward()
        optimizer.step()
    return net


EDITOR = {"lr": 7e-4, "max_steps": 4}


def answers(model: nn.Module, dataset: Dataset, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return copy.deepcopy(model).eval()(dataset.inputs(images)).argmax(dim=1)


def test_every_number_is_that_of_editing_the_whole_model_by_hand(model: nn.Module, dataset: Dataset) -> None:
    before = copy.deepcopy(model.state_dict())
    editor = editors.build("rmsprop", **EDITOR)
    edited, control = dataset.tuning, dataset.test
    places = [4, 0, 7, 2, 9, 11, 5, 1]
    scorer = SequentialScorer(model, "chain3", dataset, edited, control)
    records = scorer.run(editor, places, order=3)
    current, errors, expected = model, [], []
    for number, place in enumerate(places):
        target = int(edited.labels[place])
        errors.append(int((answers(current, dataset, control.images) != control.labels).sum()))
        predicted = int(answers(current, dataset, edited.images[place : place + 1]))
        edit = editor.edit(
            current,
            dataset.inputs(edited.images[place : place + 1]),
            editors.constraints.predicts(target),
            layers="chain3",
        )
        if edit.succeeded:
            current = edit.apply(current)
        done = places[: number + 1]
        holding = answers(current, dataset, edited.images[done]) == edited.labels[done]
        expected.append((predicted, edit.succeeded, edit.steps, int(holding[:-1].sum()), bool(holding[-1])))
    errors.append(int((answers(current, dataset, control.images) != control.labels).sum()))
    at_end = (answers(current, dataset, edited.images[places]) == edited.labels[places]).tolist()
    found = [(one.predicted, one.succeeded, one.steps, one.earlier_in_force, one.in_force) for one in records]
    assert found == expected
    assert [one.wrong_before for one in records] == errors[:-1]
    assert [one.wrong_after for one in records] == errors[1:]
    assert [one.in_force_at_end for one in records] == at_end
    assert [(one.order, one.edit, one.image) for one in records] == [
        (3, number, place) for number, place in enumerate(places, start=1)
    ]
    # The example must tell the columns apart: some fail, some are forgotten, errors change.
    assert {one.succeeded for one in records} == {True, False}
    assert any(one.in_force and not one.in_force_at_end for one in records)
    assert len(set(errors)) > 3
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_each_row_starts_from_the_original_weights(model: nn.Module, dataset: Dataset) -> None:
    scorer = SequentialScorer(model, "chain4", dataset, dataset.tuning, dataset.test)
    editor = editors.build("rmsprop", **EDITOR)
    once, again = (scorer.run(editor, [1, 2, 3]) for _ in range(2))
    assert once == again


def test_editors_that_change_no_weights_are_refused(model: nn.Module, dataset: Dataset) -> None:
    scorer = SequentialScorer(model, "all", dataset, dataset.tuning, dataset.test)
    wrong = int((answers(model, dataset, dataset.tuning.images) != dataset.tuning.labels).nonzero()[0])
    with pytest.raises(InputError, match="changes no weights"):
        scorer.run(editors.build("lookup_cache"), [wrong])


def test_summary_by_number_of_edits_is_reckoned_over_orders() -> None:
    columns = ["order", "edit", "control_size", "wrong_before", "wrong_after", "earlier_in_force", "in_force"]
    rows = [
        (0, 1, 200, 10, 12, 0, True),
        (0, 2, 200, 12, 20, 1, True),
        (1, 1, 200, 10, 16, 0, False),
        (1, 2, 200, 16, 18, 0, True),
    ]
    table = by_number(pd.DataFrame(rows, columns=columns))
    assert table["edits"].tolist() == [0, 1, 2]
    assert table["orders"].tolist() == [2, 2, 2]
    np.testing.assert_allclose(table["error"], [5.0, 7.0, 9.5])
    np.testing.assert_allclose(table["error_std"], [0.0, 2**0.5, 0.5**0.5])
    np.testing.assert_allclose(table["in_force"], [np.nan, 50.0, 75.0])
    np.testing.assert_allclose(table["in_force_std"], [np.nan, 50 * 2**0.5, 25 * 2**0.5])


def test_summary_takes_records_as_they_are(model: nn.Module, dataset: Dataset) -> None:
    scorer = SequentialScorer(model, "chain3", dataset, dataset.tuning, dataset.test)
    editor = editors.build("rmsprop", **EDITOR)
    records = [one for order, places in enumerate(([0, 1], [1, 0])) for one in scorer.run(editor, places, order)]
    table = by_number(pd.DataFrame([asdict(one) for one in records]))
    assert table["edits"].tolist() == [0, 1, 2]
    assert table["error"].iloc[0] == pytest.approx(100 * records[0].wrong_before / 90)
