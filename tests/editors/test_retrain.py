"""Retraining: against torch's Adam on the same batches, and when it stops."""

import copy

import pytest
import torch
from torch import Tensor, nn

import editors
from editors.constraints import predicts
from tests.editors.conftest import head_after_adam, wrong_answer


@pytest.fixture
def data(images: Tensor) -> tuple[Tensor, Tensor]:
    return images[2:].flatten(0, 1), torch.arange(10) % 5


def retrain(model: nn.Module, data: tuple[Tensor, Tensor], **values: float) -> editors.Editor:
    editor = editors.build("retrain", **values)
    return editor.informed(editor.statistics(model, *data, "head"))


def test_steps_are_those_of_adam_on_training_batches_and_the_mistake(model, images, data):
    constraint = predicts(wrong_answer(model, images[0]))
    editor = retrain(model, data, lr=0.01, weight=3.0, min_steps=5, max_steps=5, batch_size=4, seed=7)
    edit = editor.edit(model, images[0], constraint, layers="head")

    def loss(moving: nn.Module, chosen: Tensor) -> Tensor:
        training = nn.functional.cross_entropy(moving(data[0][chosen]), data[1][chosen])
        return training + 3.0 * constraint(moving(images[0]))

    assert edit.steps == 5
    expected = head_after_adam(model, loss, steps=5, lr=0.01, seed=7)
    torch.testing.assert_close(dict(edit.parameters), expected, rtol=0, atol=1e-9)


def test_it_goes_on_until_the_constraint_holds_and_the_steps_are_done(model, images, data):
    constraint = predicts(wrong_answer(model, images[0]))
    quick = retrain(model, data, lr=0.05, weight=20.0, min_steps=1, max_steps=100)
    first = quick.edit(model, images[0], constraint).steps
    assert 1 < first < 90
    for least, expected in ((first - 1, first), (first, first)):
        editor = retrain(model, data, lr=0.05, weight=20.0, min_steps=least, max_steps=100)
        assert editor.edit(model, images[0], constraint).steps == expected
    longer = retrain(model, data, lr=0.05, weight=20.0, min_steps=first + 5, max_steps=100)
    edit = longer.edit(model, images[0], constraint)
    assert edit.succeeded
    assert edit.steps >= first + 5
    capped = retrain(model, data, lr=0.05, weight=20.0, min_steps=100, max_steps=first - 1)
    edit = capped.edit(model, images[0], constraint)
    assert (edit.steps, edit.succeeded) == (first - 1, False)


def test_what_the_model_answers_already_needs_no_training(model, images, data):
    label = int(copy.deepcopy(model).eval()(images[0]).argmax())
    edit = retrain(model, data, min_steps=50).edit(model, images[0], predicts(label))
    assert (edit.succeeded, edit.steps, edit.unchanged) == (True, 0, True)
