"""Rehearsal: against torch's Adam on the model's own answers to stored samples."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import editors
from tests.editors.conftest import head_after_adam


def never(outputs: Tensor) -> Tensor:
    return F.cross_entropy(outputs, torch.tensor([3])) + 1


def test_steps_are_those_of_adam_on_the_divergence_from_the_old_answers(model, images):
    data = images[2:].flatten(0, 1)
    editor = editors.build("rehearsal", lr=0.01, weight=0.2, max_steps=5, batch_size=4, seed=7)
    known = editor.statistics(model, data, torch.zeros(10), "head")
    edit = editor.informed(known).edit(model, images[0], never, layers="head")
    old = copy.deepcopy(model).eval()(data).softmax(dim=1).detach()

    def loss(moving: nn.Module, chosen: Tensor) -> Tensor:
        new = moving(data[chosen]).softmax(dim=1)
        divergence = (old[chosen] * (old[chosen].log() - new.log())).sum(dim=1).mean()
        return divergence + 0.2 * never(moving(images[0]))

    assert edit.steps == 5
    expected = head_after_adam(model, loss, steps=5, lr=0.01, seed=7)
    torch.testing.assert_close(dict(edit.parameters), expected, rtol=0, atol=1e-9)


def test_samples_are_spread_over_the_training_data(model, images):
    data = images.flatten(0, 1)
    stored, answers = editors.build("rehearsal", samples=4).statistics(model, data, torch.zeros(12), None)
    assert torch.equal(stored, data[[0, 4, 7, 11]])
    torch.testing.assert_close(answers, copy.deepcopy(model).eval()(stored).log_softmax(dim=1).detach())
