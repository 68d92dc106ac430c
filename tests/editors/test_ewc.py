"""Elastic weight consolidation: the penalty's gradient, its two limits, and what it needs to know."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import editors
from editors import EditError
from editors.constraints import predicts
from editors.fisher import Fisher, diagonal_fisher

LR = {"gd": 0.05, "rmsprop": 0.02}


@pytest.fixture(params=["gd", "rmsprop"])
def rule(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def fisher(model: nn.Module, images: Tensor) -> Fisher:
    return diagonal_fisher(model, images.flatten(0, 1), torch.arange(12) % 5, "chain1")


def hard(outputs: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, torch.tensor([3])) + 1


def vector_of(edit: editors.EditResult) -> Tensor:
    return torch.cat([value.flatten() for value in edit.parameters.values()])


def test_the_steps_follow_finite_differences_of_the_penalised_loss(model, images, fisher):
    strength, lr = 5.0, 0.05
    parameters = {name: value for name, value in model.named_parameters() if name.startswith("chain1")}
    original = torch.cat([value.detach().flatten() for value in parameters.values()])
    importance = torch.cat([fisher.diagonal[name].flatten() for name in parameters])
    copied = copy.deepcopy(model).eval()

    def objective(vector: Tensor) -> float:
        with torch.no_grad():
            nn.utils.vector_to_parameters(vector, [copied.get_parameter(name) for name in parameters])
            penalty = strength / 2 * (importance * (vector - original) ** 2).sum()
            return float(hard(copied(images[0])) + penalty)

    theta = original.clone()
    for steps in range(1, 4):
        gradient = torch.zeros_like(theta)
        for place in range(len(theta)):
            shift = torch.zeros_like(theta)
            shift[place] = 1e-5
            gradient[place] = (objective(theta + shift) - objective(theta - shift)) / 2e-5
        theta = theta - lr * gradient
        editor = editors.build("gd_ewc", lr=lr, ewc_lambda=strength, max_steps=steps).informed(fisher)
        edit = editor.edit(model, images[0], hard, layers="chain1")
        np.testing.assert_allclose(vector_of(edit), theta, rtol=0, atol=1e-8)
    plain = editors.build("gd", lr=lr, max_steps=3).edit(model, images[0], hard, layers="chain1")
    assert (vector_of(plain) - theta).abs().max() > 1e-4


def test_without_strength_it_is_the_plain_rule_to_the_last_bit(model, images, fisher, rule):
    requests = [(one, predicts(row % 5)) for row, one in enumerate(images)]
    penalised = editors.build(f"{rule}_ewc", lr=LR[rule], ewc_lambda=0.0).informed(fisher)
    plain = editors.build(rule, lr=LR[rule])
    expected = plain.edit_many(model, requests, layers="chain1")
    found = penalised.edit_many(model, requests, layers="chain1")
    assert max(edit.steps for edit in expected) > 1
    for one, other in zip(found, expected, strict=True):
        assert (one.steps, one.succeeded) == (other.steps, other.succeeded)
        assert torch.equal(vector_of(one), vector_of(other))


def test_more_strength_keeps_important_parameters_nearer_to_where_they_were(model, images, fisher, rule):
    parameters = {name: value for name, value in model.named_parameters() if name.startswith("chain1")}
    original = torch.cat([value.detach().flatten() for value in parameters.values()])
    importance = fisher.vector(parameters)
    moved = []
    for strength in (0.0, 1.0, 10.0):
        editor = editors.build(f"{rule}_ewc", lr=LR[rule] / 4, ewc_lambda=strength, max_steps=40).informed(fisher)
        edit = editor.edit(model, images[0], hard, layers="chain1")
        moved.append(float((importance * (vector_of(edit) - original) ** 2).sum()))
    assert moved[0] > 1.1 * moved[1] > 1.1**2 * moved[2] > 0


def test_statistics_are_the_fisher_information_of_the_layers(model, images, rule):
    inputs, labels = images.flatten(0, 1), torch.arange(12) % 5
    editor = editors.build(f"{rule}_ewc")
    found = editor.statistics(model, inputs, labels, "head")
    expected = diagonal_fisher(model, inputs, labels, "head")
    assert found.diagonal.keys() == {"head.weight", "head.bias"}
    assert all(torch.equal(value, found.diagonal[name]) for name, value in expected.diagonal.items())
    assert editor.informed(found) is not editor
    assert editor.fisher is None


def test_statistics_of_other_layers_are_refused(model, images, fisher, rule):
    editor = editors.build(f"{rule}_ewc").informed(fisher)
    with pytest.raises(EditError, match=r"not computed for parameter 'head.weight' of shape \(5, 36\); compute"):
        editor.edit(model, images[0], hard, layers="head")
