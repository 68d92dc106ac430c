"""Each update rule against its formula, computed without this package, on a loss with a known gradient."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import editors

RNG = np.random.default_rng(4)
_FACTOR = RNG.normal(size=(7, 7))
CURVATURE = _FACTOR @ _FACTOR.T / 7 + np.eye(7)
SLOPE = RNG.normal(size=7)
START = RNG.normal(size=7)
STEPS = 5

VALUES = {
    "gd": {"lr": 0.1},
    "scaled_gd": {"lr": 0.4},
    "rprop": {"lr": 0.05},
    "rmsprop": {"lr": 0.05, "beta": 0.7, "eps": 1e-3},
    "momentum": {"lr": 0.1, "mu": 0.6},
    "adam": {"lr": 0.05, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3},
}


@pytest.fixture
def name(rule: str) -> str:
    """Only editors that follow an update rule are asked about it here."""
    return rule


class Quadratic(nn.Module):
    """``½ θᵀAθ + bᵀθ`` of seven numbers that live in two parameters; its gradient is ``Aθ + b``."""

    def __init__(self) -> None:
        super().__init__()
        start = torch.from_numpy(START.copy())
        self.first = nn.Parameter(start[:3])
        self.second = nn.Parameter(start[3:].reshape(2, 2))

    def forward(self, shift: Tensor) -> Tensor:
        theta = torch.cat([self.first, self.second.flatten()])
        return theta @ torch.from_numpy(CURVATURE) @ theta / 2 + torch.from_numpy(SLOPE) @ theta + shift


def never_satisfied(output: Tensor) -> Tensor:
    return output + 1000


def gradient(theta: np.ndarray) -> np.ndarray:
    return CURVATURE @ theta + SLOPE


def gd(lr: float) -> Iterator[np.ndarray]:
    theta = START
    while True:
        theta = theta - lr * gradient(theta)
        yield theta


def scaled_gd(lr: float) -> Iterator[np.ndarray]:
    theta, norm = START, np.sqrt(np.sum(gradient(START) ** 2))
    while True:
        theta = theta - lr * gradient(theta) / norm
        yield theta


def rprop(lr: float) -> Iterator[np.ndarray]:
    theta = START
    while True:
        theta = theta - lr * np.sign(gradient(theta))
        yield theta


def rmsprop(lr: float, beta: float, eps: float) -> Iterator[np.ndarray]:
    theta, v = START, gradient(START) ** 2
    while True:
        theta = theta - lr * gradient(theta) / np.sqrt(v + eps)
        yield theta
        v = beta * v + (1 - beta) * gradient(theta) ** 2


def momentum(lr: float, mu: float) -> Iterator[np.ndarray]:
    theta, velocity = START, np.zeros(7)
    while True:
        velocity = lr * gradient(theta) + mu * velocity
        theta = theta - velocity
        yield theta


def adam(lr: float, beta1: float, beta2: float, eps: float) -> Iterator[np.ndarray]:
    theta, mean, square, step = START, np.zeros(7), np.zeros(7), 0
    while True:
        step += 1
        mean = beta1 * mean + (1 - beta1) * gradient(theta)
        square = beta2 * square + (1 - beta2) * gradient(theta) ** 2
        theta = theta - lr * (mean / (1 - beta1**step)) / (np.sqrt(square / (1 - beta2**step)) + eps)
        yield theta


FORMULAS = {rule.__name__: rule for rule in (gd, scaled_gd, rprop, rmsprop, momentum, adam)}


def edited(name: str, steps: int, **values: float) -> np.ndarray:
    editor = editors.build(name, **values, max_steps=steps)
    edit = editor.edit(Quadratic(), torch.zeros((), dtype=torch.float64), never_satisfied)
    assert edit.steps == steps
    return torch.cat([value.flatten() for value in edit.parameters.values()]).numpy()


@pytest.mark.parametrize("rule", FORMULAS)
def test_every_step_equals_the_formula(rule):
    expected = FORMULAS[rule](**VALUES[rule])
    for steps in range(1, STEPS + 1):
        np.testing.assert_allclose(edited(rule, steps, **VALUES[rule]), next(expected), rtol=0, atol=1e-12)


def test_rules_keep_the_state_of_each_row_apart(name, generator):
    editor = editors.build(name, **VALUES.get(name, {}))
    gradients = torch.randn(4, 3, 7, generator=generator, dtype=torch.float64)
    gradients[:, 1] *= 100
    together = editor.init(torch.zeros(3, 7, dtype=torch.float64))
    alone = [editor.init(torch.zeros(7, dtype=torch.float64)) for _ in range(3)]
    for step in gradients:
        updates, together = editor.update(step, together)
        for row in range(3):
            update, alone[row] = editor.update(step[row], alone[row])
            torch.testing.assert_close(updates[row], update, rtol=0, atol=1e-12)


def test_rules_answer_a_gradient_of_zero_with_finite_updates_and_derivatives(name):
    editor = editors.build(name)
    gradients = torch.zeros(2, 5, requires_grad=True)
    updates, state = editor.update(gradients, editor.init(torch.zeros(2, 5)))
    following, _ = editor.update(gradients, state)
    (derivative,) = torch.autograd.grad((updates + following).sum(), gradients)
    assert torch.equal(updates, torch.zeros(2, 5))
    assert torch.equal(following, torch.zeros(2, 5))
    assert derivative.isfinite().all()
