"""Gradient descent with momentum."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from editors.descent import DescentEditor, elementwise
from editors.hyperparameters import FRACTION, hyperparameter
from editors.registry import register


class State(NamedTuple):
    """``velocity (..., P)``: the accumulated direction ν, 0 before the first step."""

    velocity: Tensor


@register("momentum")
@dataclass(frozen=True, kw_only=True)
class Momentum(DescentEditor):
    """ν ← α g + μ ν, θ ← θ − ν, with ν₀ = 0.

    Source: Sinitsin et al., ICLR 2020, section 4.1
    """

    lr: float | Tensor = hyperparameter(1e-2, low=1e-4, high=1.0, log=True, stronger="larger")
    mu: float | Tensor = hyperparameter(0.5, low=0.05, high=0.99, domain=FRACTION)

    def init(self, parameters: Tensor) -> State:
        return State(velocity=torch.zeros_like(parameters))

    @elementwise
    def update(self, gradients: Tensor, state: State) -> tuple[Tensor, State]:
        velocity = self.lr * gradients + self.mu * state.velocity
        return -velocity, State(velocity=velocity)
