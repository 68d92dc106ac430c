"""Edits in a row, against the same done by hand with the whole model and no cached activations."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import editors
from benchmarks.data.dataset import Dataset, Split
from benchmarks.scoring.requests import Demand, draw_requests
from benchmarks.scoring.scorer import Scorer
from benchmarks.scoring.sequential import SequentialScorer, by_number, turn
from tests.benchmarks.conftest import random_split, small_dataset
from tests.benchmarks.scoring.conftest import CLASSES, taught


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    sizes = {"train": 8, "tuning": 12, "test": 90}
    splits = [random_split("in a row", part, count=count, classes=CLASSES, size=8) for part, count in sizes.items()]
    return small_dataset(CLASSES, *splits)


@pytest.fixture(scope="module")
def model(dataset: Dataset) -> nn.Module:
    """Trained on the test labels for a while, so that edits break something."""
    return taught(dataset, steps=25)


EDITOR = {"lr": 7e-4, "max_steps": 4}


def answers(model: nn.Module, dataset: Dataset, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return copy.deepcopy(model).eval()(dataset.inputs(images)).argmax(dim=1)


def test_every_number_is_that_of_editing_the_whole_model_by_hand(model, dataset):
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


@pytest.mark.parametrize(("name", "layers"), [("grace", "head"), ("lookup_cache", "all")])
def test_editors_that_change_no_weights_follow_each_other(model, dataset, name, layers):
    """What they store adds up: every edit stays in force, and nothing else changes."""
    scorer = SequentialScorer(model, layers, dataset, dataset.tuning, dataset.test)
    records = scorer.run(editors.build(name, epsilon=0.01, max_steps=50), range(12))
    assert [one.earlier_in_force for one in records] == list(range(12))
    assert all(one.succeeded and one.in_force and one.in_force_at_end for one in records)
    assert sum(one.steps > 0 for one in records) > 3
    assert {one.wrong_after for one in records} == {records[0].wrong_before}


@pytest.mark.parametrize("demand", [Demand(), Demand(margin=3.0), Demand(views=4)], ids=str)
def test_a_row_of_one_edit_is_a_single_edit(model, dataset, demand):
    """With the views and the margin that single edits have, on the same images."""
    requests = draw_requests(dataset.test, CLASSES, 20, "single")
    images = Split(dataset.test.images[requests.images], requests.targets)
    single = Scorer(model, "chain3", dataset, dataset.test, requests, views=demand.views, margin=demand.margin)
    rows = SequentialScorer(model, "chain3", dataset, images, dataset.test, demand, requests.seeds)
    editor, known = editors.build("rmsprop", **EDITOR), ("succeeded", "steps", "target", "predicted", "wrong_before")
    for row, edit in enumerate(single.edit(editor, range(20))[0]):
        expected, (found,) = single.record(row, edit), rows.run(editor, [row])
        assert [getattr(found, name) for name in known] == [getattr(expected, name) for name in known]
        # An edit that failed is not put in place.
        assert found.wrong_after == (expected.wrong_after if edit.succeeded else expected.wrong_before)


def test_what_the_editor_remembers_is_handed_on_within_a_row_only(model, dataset):
    """Against the same by hand."""
    wanted = Split(dataset.tuning.images, (dataset.tuning.labels + 1) % CLASSES)
    scorer = SequentialScorer(model, "chain3", dataset, wanted, dataset.test)
    forgetful, remembering = (
        editor.informed(
            editor.statistics(scorer.model, scorer.inputs(dataset.test.images), dataset.test.labels, "chain3")
        )
        for editor in (editors.build("covariance", damping=0.01, memory=memory) for memory in (0.0, 10.0))
    )
    places = [0, 3, 5, 7, 8, 11]
    records = scorer.run(remembering, places)
    assert scorer.run(remembering, places) == records
    assert scorer.run(forgetful, places) != records
    current, editor = scorer.model, remembering
    for place, record in zip(places, records, strict=True):
        inputs, target = scorer.inputs(wanted.images[place : place + 1]), int(wanted.labels[place])
        edit = editor.edit(current, inputs, editors.constraints.predicts(target), layers="chain3")
        assert (edit.succeeded, edit.steps) == (record.succeeded, record.steps)
        if edit.succeeded:
            current = edit.apply(current)
            editor = editor.remember(current, inputs, "chain3")
    assert sum(record.steps for record in records) > 3


def test_the_order_of_edits_depends_on_its_number_and_the_names():
    orders = [turn(30, number, "a", "b") for number in range(5)] + [turn(30, 0, "a", "c"), turn(30, 0, "ab")]
    assert all(sorted(order) == list(range(30)) for order in orders)
    assert len({tuple(order) for order in orders}) == 7
    assert turn(30, 3, "a", "b") == orders[3]


def test_summary_by_number_of_edits_is_reckoned_over_orders():
    counts = ["control_size", "wrong_before", "wrong_after", "earlier_in_force"]
    columns = ["order", "edit", *counts, "in_force", "succeeded"]
    rows = [
        (0, 1, 200, 10, 12, 0, True, True),
        (0, 2, 200, 12, 20, 1, True, True),
        (1, 1, 200, 10, 16, 0, False, False),
        (1, 2, 200, 16, 18, 0, True, True),
    ]
    table = by_number(pd.DataFrame(rows, columns=columns))
    assert table["edits"].tolist() == [0, 1, 2]
    assert table["orders"].tolist() == [2, 2, 2]
    np.testing.assert_allclose(table["error"], [5.0, 7.0, 9.5])
    np.testing.assert_allclose(table["error_std"], [0.0, 2**0.5, 0.5**0.5])
    np.testing.assert_allclose(table["in_force"], [np.nan, 50.0, 75.0])
    np.testing.assert_allclose(table["in_force_std"], [np.nan, 50 * 2**0.5, 25 * 2**0.5])
    np.testing.assert_allclose(table["success_rate"], [np.nan, 50.0, 75.0])
    np.testing.assert_allclose(table["success_rate_std"], [np.nan, 50 * 2**0.5, 25 * 2**0.5])
