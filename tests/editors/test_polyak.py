"""Polyak's step, plain and with the diagonal Fisher information."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import editors
from editors import EditError
from editors.constraints import predicts
from editors.fisher import Fisher, diagonal_fisher


@pytest.fixture
def linear(generator: torch.Generator) -> nn.Module:
    layer = nn.Linear(4, 3, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(3, 4, generator=generator, dtype=torch.float64))
    return layer


@pytest.fixture
def inputs(generator: torch.Generator) -> Tensor:
    return torch.randn(1, 4, generator=generator, dtype=torch.float64)


def first_coordinate(outputs: Tensor) -> Tensor:
    return outputs[0, 0] + 20


def test_one_step_is_the_shortest_change_that_satisfies_a_linear_constraint(linear, inputs):
    edit = editors.build("polyak", overshoot=1.0, max_steps=1).edit(linear, inputs, first_coordinate)
    change = (edit.parameters["weight"] - linear.weight).detach().numpy()
    needed = -first_coordinate(linear(inputs)).item()
    shortest = np.linalg.lstsq(inputs.numpy(), [needed], rcond=None)[0]  # the least-norm solution of ⟨x, Δ⟩ = −l_e
    np.testing.assert_allclose(change, [shortest, np.zeros(4), np.zeros(4)], rtol=0, atol=1e-12)
    assert edit.loss.abs() < 1e-12


def test_overshoot_stretches_the_step(linear, inputs):
    before = first_coordinate(linear(inputs)).item()
    for overshoot in (0.25, 1.5):
        edit = editors.build("polyak", overshoot=overshoot, max_steps=1).edit(linear, inputs, first_coordinate)
        assert edit.loss.item() == pytest.approx((1 - overshoot) * before)
        assert edit.succeeded == (overshoot > 1)


def test_no_step_is_longer_than_its_bound(linear, inputs):
    editor = editors.build("polyak", max_steps=1, longest=0.01)
    edit = editor.edit(linear, inputs, first_coordinate)
    change = edit.parameters["weight"] - linear.weight
    assert change.norm().item() == pytest.approx(0.01 * linear.weight.norm().item())


def test_where_the_gradient_vanishes_the_parameters_stay_finite(linear):
    edit = editors.build("polyak", max_steps=3).edit(linear, torch.zeros(1, 4).double(), first_coordinate)
    assert (edit.steps, edit.succeeded) == (3, False)
    assert torch.equal(edit.parameters["weight"], linear.weight)


def test_fisher_makes_the_smallest_change_in_the_metric_of_the_information(model, images):
    data, labels = images.flatten(0, 1), torch.arange(12) % 5
    editor = editors.build("fisher", damping=0.2, overshoot=1.0, max_steps=1)
    known = editor.statistics(model, data, labels, "head")
    expected = diagonal_fisher(model, data, labels, "head")
    assert all(torch.equal(value, known.diagonal[name]) for name, value in expected.diagonal.items())
    rival, label = copy.deepcopy(model).eval()(images[0])[0].argsort(descending=True)[:2].tolist()
    edit = editor.informed(known).edit(model, images[0], predicts(label), layers="head")
    assert edit.steps == 1
    assert edit.loss.abs() < 1e-9  # the margin to one rival is linear in the last layer
    importance = torch.cat([value.flatten() for value in expected.diagonal.values()])
    metric = {name: value + 0.2 * importance.mean() for name, value in expected.diagonal.items()}
    # Of the smallest change, metric · Δ is a multiple of the constraint's gradient: the features, for label and rival.
    weight, bias = (
        metric[name] * (edit.parameters[name] - model.get_parameter(name)) for name in ("head.weight", "head.bias")
    )
    features = []
    model.head.register_forward_pre_hook(lambda module, given: features.append(given[0][0]))
    copy.deepcopy(model).eval()(images[0])
    gradient = bias[label] * torch.eye(5, dtype=torch.float64)[label] + bias[rival] * torch.eye(5).double()[rival]
    assert bias[label] > 0
    torch.testing.assert_close(bias[rival], -bias[label], rtol=1e-9, atol=0)
    torch.testing.assert_close(bias, gradient, rtol=0, atol=1e-12)
    torch.testing.assert_close(weight, gradient.outer(features[0]), rtol=0, atol=1e-10)


def test_fisher_says_what_it_needs(model, images):
    editor = editors.build("fisher")
    zero = Fisher({"head.weight": torch.zeros(5, 36).double(), "head.bias": torch.zeros(5).double()})
    with pytest.raises(EditError, match="the Fisher information is zero everywhere"):
        editor.informed(zero).edit(model, images[0], predicts(0), layers="head")
    with pytest.raises(EditError, match="not computed for parameter 'chain1"):
        editor.informed(zero).edit(model, images[0], predicts(0), layers="chain1")
