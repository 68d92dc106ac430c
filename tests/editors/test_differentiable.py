"""``differentiable=True`` against central differences in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import editors
from tests.editors.conftest import Informed

VALUES = {"lr": 0.02, "eps": 0.02, "beta": 0.6, "mu": 0.7, "beta1": 0.8, "beta2": 0.9, "ewc_lambda": 3.0, "weight": 2.0}
VALUES |= {"damping": 0.3, "overshoot": 0.1}
COUNTS = {"min_steps": 1}  # whole numbers, which have no derivative
BY_LOSS = ("covariance", "fisher", "polyak")  # the loss decides the length of their steps

Make = Callable[..., editors.Editor]


@pytest.fixture
def name(rule: str) -> str:
    """Only editors that follow an update rule are asked about it here."""
    return rule


@pytest.fixture
def make(name: str) -> Make:
    counts = {key: value for key, value in COUNTS.items() if key in _declared(name)}
    return lambda **values: Informed(editors.build(name, **counts, **values))


class Net(nn.Module):
    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.before = nn.Linear(4, 5)
        self.inside = nn.Sequential(nn.Linear(5, 5), nn.ELU(), nn.Linear(5, 4))
        self.after = nn.Linear(4, 3)
        self.double()
        with torch.no_grad():
            for value in self.parameters():
                value.copy_(torch.randn(value.shape, generator=generator, dtype=torch.float64) * 0.7)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.after(torch.tanh(self.inside(torch.tanh(self.before(inputs)))))


@pytest.fixture
def net(generator: torch.Generator) -> Net:
    return Net(generator)


@pytest.fixture
def inputs(generator: torch.Generator) -> Tensor:
    return torch.randn(2, 2, 4, generator=generator, dtype=torch.float64)


@pytest.fixture
def hyperparameters(name: str) -> dict[str, Tensor]:
    keys = [key for key in _declared(name) if key not in COUNTS]
    return {key: torch.tensor(VALUES[key], dtype=torch.float64, requires_grad=True) for key in keys}


def _declared(name: str) -> list[str]:
    return [parameter.name for parameter in editors.describe(name).hyperparameters]


def unreachable(outputs: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, torch.tensor([0, 2])) + 5


def central_difference(function: Callable[[], Tensor], value: Tensor, direction: Tensor) -> float:
    """The derivative along ``direction`` from four points, so that the error is of fourth order; 0 of a constant."""
    size = 5e-5
    original = value.detach().clone()
    found = {}
    for place in (-2, -1, 1, 2):
        with torch.no_grad():
            value.copy_(original + place * size * direction)
        found[place] = function().item()
    with torch.no_grad():
        value.copy_(original)
    return (8 * (found[1] - found[-1]) - (found[2] - found[-2])) / (12 * size)


@pytest.mark.parametrize("most", [1, 4, 20])
def test_gradients_equal_finite_differences_everywhere(name, make, net, inputs, hyperparameters, most, generator):
    if most == 20 and name in BY_LOSS:
        pytest.skip("another limit of the loss makes other steps")
    editor = make(**hyperparameters, max_steps=most)
    limit = 0.0
    if most == 20:  # this edit succeeds after three steps, and so it does for all values nearby
        losses = [
            make(**hyperparameters, max_steps=steps).edit(net, inputs[0], unreachable, "inside").loss
            for steps in (2, 3)
        ]
        limit = (losses[0] + losses[1]).item() / 2
    steps = []

    def objective() -> Tensor:
        edit = editor.edit(
            net, inputs[0], lambda outputs: unreachable(outputs) - limit, layers="inside", differentiable=True
        )
        steps.append(edit.steps)
        return edit.predict(inputs[1]).square().sum() + 3 * edit.loss

    wanted = {**dict(net.named_parameters()), **hyperparameters}
    gradients = torch.autograd.grad(objective(), list(wanted.values()), allow_unused=True)
    for (key, value), gradient in zip(wanted.items(), gradients, strict=True):
        direction = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        expected = central_difference(objective, value, direction)
        found = 0.0 if gradient is None else (gradient * direction).sum().item()
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-7), key
        flat = key in set(hyperparameters) - {"lr"} and expected == 0  # a rule may use only the sign of what it makes
        assert most != 4 or flat or gradient.abs().max() > 1e-6, key
    assert set(steps) == {3 if most == 20 else most}


def test_differentiable_edits_have_the_values_of_plain_ones(make, net, inputs, hyperparameters):
    editor = make(**hyperparameters, max_steps=4)
    plain = editor.edit(net, inputs[0], unreachable, layers="inside")
    graph = editor.edit(net, inputs[0], unreachable, layers="inside", differentiable=True)
    assert plain.steps == graph.steps == 4
    assert not any(value.requires_grad for value in (*plain.parameters.values(), plain.loss))
    for key, value in graph.parameters.items():
        torch.testing.assert_close(value.detach(), plain.parameters[key], rtol=0, atol=1e-12)


def test_many_differentiable_edits_carry_the_same_gradients_as_single_ones(make, net, inputs, hyperparameters):
    editor = make(**hyperparameters, max_steps=3)
    requests = [(inputs[0], unreachable), (inputs[1], unreachable)]
    many = editor.edit_many(net, requests, layers="inside", differentiable=True)
    single = [editor.edit(net, *request, layers="inside", differentiable=True) for request in requests]
    wanted = [*net.parameters(), *hyperparameters.values()]
    found = torch.autograd.grad(sum(edit.loss for edit in many), wanted)
    expected = torch.autograd.grad(sum(edit.loss for edit in single), wanted)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_hyperparameters_are_differentiable_though_the_model_is_frozen(make, net, inputs, hyperparameters):
    net.requires_grad_(False)
    editor = make(**hyperparameters, max_steps=3)

    def objective() -> Tensor:
        return editor.edit(net, inputs[0], unreachable, layers="inside", differentiable=True).loss

    gradients = torch.autograd.grad(objective(), list(hyperparameters.values()))
    for value, gradient in zip(hyperparameters.values(), gradients, strict=True):
        expected = central_difference(objective, value, torch.ones_like(value))
        assert gradient.item() == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_graph_is_kept_though_gradients_are_switched_off_around_the_edit(make, net, inputs, hyperparameters):
    editor = make(**hyperparameters, max_steps=2)
    with torch.no_grad():
        edit = editor.edit(net, inputs[0], unreachable, layers="inside", differentiable=True)
    (gradient,) = torch.autograd.grad(edit.loss, next(iter(hyperparameters.values())))
    assert gradient.abs() > 1e-6
