"""Edits made together, against the same done by hand with the whole model and no cached activations."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import editors
from benchmarks.data.dataset import Dataset
from benchmarks.errors import InputError
from benchmarks.scoring.joint import IN_A_ROW, MANNERS, JointScorer, by_count
from benchmarks.scoring.requests import Demand
from tests.benchmarks.conftest import random_split, small_dataset
from tests.benchmarks.scoring.conftest import CLASSES, taught

EDITOR = editors.build("rmsprop", lr=1e-3, max_steps=6)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    sizes = {"train": 40, "tuning": 8, "test": 80}
    splits = [random_split("joint", part, count=count, classes=CLASSES, size=8) for part, count in sizes.items()]
    return small_dataset(CLASSES, *splits)


@pytest.fixture(scope="module")
def model(dataset: Dataset) -> nn.Module:
    """Knows some test labels, not all."""
    return taught(dataset, steps=8).eval()


def answers(model: nn.Module, dataset: Dataset) -> torch.Tensor:
    with torch.no_grad():
        return model(dataset.inputs(dataset.test.images)).argmax(dim=1)


def test_every_count_is_that_of_one_edit_by_hand(model: nn.Module, dataset: Dataset) -> None:
    scorer = JointScorer(model, "chain3", dataset, dataset.test)
    draw = scorer.draw_mistakes(6, 0, "seed")
    record, _ = scorer.record(EDITOR, draw)

    before, labels = answers(model, dataset), dataset.test.labels
    places = draw.places
    assert (before[places] != labels[places]).all()
    inputs = dataset.inputs(dataset.test.images[places])
    edit = EDITOR.edit(model, inputs, editors.constraints.predicts(labels[places]), layers="chain3")
    after = answers(edit.apply(model), dataset)
    others = [place for place in range(len(labels)) if place not in places.tolist()]
    kinds = {(int(labels[place]), int(before[place])) for place in places}
    alike = [place for place in others if (int(labels[place]), int(before[place])) in kinds]

    assert (record.count, record.fixed, record.steps) == (6, int((after[places] == labels[places]).sum()), edit.steps)
    assert record.succeeded == edit.succeeded
    assert record.control_size == len(others)
    assert record.wrong_before == int((before != labels)[others].sum())
    assert record.wrong_after == int((after != labels)[others].sum()) != record.wrong_before
    assert record.flips == int((after != before)[others].sum())
    assert record.alike == len(alike) > 0
    assert record.alike_after == int((after == labels)[alike].sum())
    assert record.views == 6 * 5


def test_in_a_row_each_edit_starts_where_the_one_before_ended(model: nn.Module, dataset: Dataset) -> None:
    scorer = JointScorer(model, "chain3", dataset, dataset.test)
    draw = scorer.draw_random(5, 1, "seed")
    record, _ = scorer.record(EDITOR, draw, IN_A_ROW)
    current, steps = model, 0
    for place, target in zip(draw.places.tolist(), draw.targets.tolist(), strict=True):
        inputs = dataset.inputs(dataset.test.images[place : place + 1])
        edit = EDITOR.edit(current, inputs, editors.constraints.predicts(target), layers="chain3")
        current, steps = (edit.apply(current) if edit.succeeded else current), steps + edit.steps
    after = answers(current, dataset)
    assert (record.fixed, record.steps) == (int((after[draw.places] == draw.targets).sum()), steps)
    control = torch.ones(len(after), dtype=torch.bool).index_fill(0, draw.places, False)
    assert record.flips == int((after != answers(model, dataset))[control].sum()) > 0


def test_together_more_holds_in_the_end_than_in_a_row(model: nn.Module, dataset: Dataset) -> None:
    """Later edits of a row undo earlier ones; one request asks for all of them at once."""
    scorer = JointScorer(model, "chain3", dataset, dataset.test)
    editor = editors.build("covariance", overshoot=1.1, damping=0.1, max_steps=20)
    editor = editor.informed(scorer.statistics(editor))
    draws = [scorer.draw_random(8, number, "seed") for number in range(3)]
    together, in_a_row = (sum(scorer.record(editor, draw, how)[0].fixed for draw in draws) for how in MANNERS)
    assert together > in_a_row


def test_views_are_asked_of_every_image(model: nn.Module, dataset: Dataset) -> None:
    plain = JointScorer(model, "chain3", dataset, dataset.test)
    asked = JointScorer(model, "chain3", dataset, dataset.test, Demand(views=8))
    editor = editors.build("rmsprop", lr=1e-3, max_steps=20)
    draw = plain.draw_random(3, 0, "seed")
    assert asked.record(editor, draw)[0].views_after > plain.record(editor, draw)[0].views_after


def test_a_draw_depends_on_its_number_and_its_axes_and_holds_the_smaller_ones(
    model: nn.Module, dataset: Dataset
) -> None:
    scorer = JointScorer(model, "chain3", dataset, dataset.test)
    draw = scorer.draw_random(6, 0, "seed")
    assert draw.places.tolist() == scorer.draw_random(6, 0, "seed").places.tolist()
    assert draw.places[:2].tolist() == scorer.draw_random(2, 0, "seed").places.tolist()
    assert draw.targets[:2].tolist() == scorer.draw_random(2, 0, "seed").targets.tolist()
    assert draw.places.tolist() != scorer.draw_random(6, 1, "seed").places.tolist()
    assert draw.places.tolist() != scorer.draw_random(6, 0, "another").places.tolist()


def test_more_mistakes_than_there_are_and_no_control_images_are_errors(model: nn.Module, dataset: Dataset) -> None:
    scorer = JointScorer(model, "chain3", dataset, dataset.test)
    known = len(scorer.mistakes)
    with pytest.raises(InputError, match=f"{known + 1} mistakes .* the model makes {known}"):
        scorer.draw_mistakes(known + 1, 0)
    with pytest.raises(InputError, match="80 edits together leave none of 80 images"):
        scorer.draw_random(80, 0)


def test_the_model_stays_as_it_is(model: nn.Module, dataset: Dataset) -> None:
    before = copy.deepcopy(model.state_dict())
    scorer = JointScorer(model, "chain3", dataset, dataset.test)
    for how in MANNERS:
        scorer.record(EDITOR, scorer.draw_random(4, 0, "seed"), how)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_means_over_draws_are_those_of_the_counts() -> None:
    common = {
        "source": "random",
        "manner": "jointly",
        "succeeded": True,
        "control_size": 50,
        "flips": 3,
        "views": 10,
        "views_before": 1,
    }
    first = {"draw": 0, "count": 2, "fixed": 2, "steps": 4, "wrong_before": 5, "wrong_after": 8, "views_after": 6}
    second = {"draw": 1, "count": 2, "fixed": 1, "steps": 10, "wrong_before": 6, "wrong_after": 4, "views_after": 2}
    third = {"draw": 0, "count": 9, "fixed": 9, "steps": 1, "wrong_before": 5, "wrong_after": 5, "views_after": 1}
    alike = [{"alike": 4, "alike_after": 1}, {"alike": 0, "alike_after": 0}, {"alike": 2, "alike_after": 2}]
    rows = [common | one | kind for one, kind in zip((first, second, third), alike, strict=True)]
    found = by_count(pd.DataFrame(rows)).set_index("count")
    assert found.loc[2, ["draws", "fixed", "steps", "alike"]].tolist() == [2, 75.0, 7.0, 25.0]
    assert found.loc[2, "drawdown"] == pytest.approx((6 + 4) / 2)
    assert found.loc[2, "drawdown_signed"] == pytest.approx((6 - 4) / 2)
    assert found.loc[2, "drawdown_signed_std"] == pytest.approx(np.std([6, -4], ddof=1))
    assert found["at_own_error"].tolist() == found["drawdown_signed"].tolist()
    assert found.loc[9, ["draws", "fixed", "generality", "generality_before"]].tolist() == [1, 100.0, 10.0, 10.0]


def test_taking_mistakes_out_of_the_control_set_does_not_pass_for_a_loss() -> None:
    """Of 100 images 40 are wrong, 30 of which are edited; the edit loses a tenth of the right and mends half of the
    wrong ones, as it would among all of them.
    """
    record = {"source": "mistakes", "manner": "jointly", "draw": 0, "count": 30, "fixed": 30, "succeeded": True}
    record |= {"steps": 1, "control_size": 70, "wrong_before": 10, "wrong_after": 10 - 5 + 6, "flips": 11}
    record |= {"views": 150, "views_before": 0, "views_after": 75}
    found = by_count(pd.DataFrame([record | {"alike": 10, "alike_after": 5}])).iloc[0]
    assert found["drawdown_signed"] == pytest.approx(100 * 1 / 70)
    assert found["at_own_error"] == pytest.approx(60 * 0.1 - 40 * 0.5)
    bound = by_count(pd.DataFrame([record | {"alike": 4, "alike_after": 2}])).iloc[0]
    assert found["at_own_error"] < bound["at_own_error"] == pytest.approx(60 * 3 / 60 - 40 * 2 / 10)
