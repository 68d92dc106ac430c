"""Gradient descent whose first step has a fixed length, whatever the size of the first gradient."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from editors.descent import DescentEditor
from editors.hyperparameters import hyperparameter
from editors.registry import register


class State(NamedTuple):
    """``norm (..., 1)``: global norm of the first step's gradient, 0 before the first step."""

    norm: Tensor


@register("scaled_gd")
@dataclass(frozen=True, kw_only=True)
class ScaledGradientDescent(DescentEditor):
    """θ ← θ − α g / ‖g₀‖, with g₀ the first step's gradient over all edited parameters.

    Source: Sinitsin et al., ICLR 2020, section 4.1
    """

    lr: float | Tensor = hyperparameter(1e-1, low=1e-3, high=10.0, log=True, stronger="larger")

    def init(self, parameters: Tensor) -> State:
        return State(norm=torch.zeros_like(parameters[..., :1]))

    def update(self, gradients: Tensor, state: State) -> tuple[Tensor, State]:
        # `tiny` keeps a gradient of zero from dividing by zero, here and in the norm's own derivative.
        tiny = torch.finfo(gradients.dtype).tiny
        first = (gradients.square().sum(dim=-1, keepdim=True) + tiny).sqrt()
        norm = torch.where(state.norm == 0, first, state.norm)
        return -self.lr * gradients / norm, State(norm=norm)
