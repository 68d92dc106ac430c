"""Adam, kept apart from RMSProp by a lower bound on its first moment's decay."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from editors.descent import DescentEditor, elementwise
from editors.hyperparameters import FRACTION, Domain, hyperparameter
from editors.registry import register


class State(NamedTuple):
    """``mean`` and ``mean_square (..., P)``: the two moments; ``steps (..., 1)``: steps taken so far."""

    mean: Tensor
    mean_square: Tensor
    steps: Tensor


@register("adam")
@dataclass(frozen=True, kw_only=True)
class Adam(DescentEditor):
    """Adam with bias correction; β₁ is at least 0.1, as in the paper, because β₁ = 0 would be RMSProp again.

    Source: Kingma & Ba 2014; the restriction: Sinitsin et al., ICLR 2020, section 4.1
    """

    lr: float | Tensor = hyperparameter(1e-3, low=1e-5, high=1e-1, log=True, stronger="larger")
    beta1: float | Tensor = hyperparameter(
        0.9, low=0.1, high=0.99, domain=Domain("a number >= 0.1 and < 1", lambda value: 0.1 <= value < 1)
    )
    beta2: float | Tensor = hyperparameter(0.999, low=0.1, high=0.999, domain=FRACTION)
    eps: float | Tensor = hyperparameter(1e-8, low=1e-8, high=1.0, log=True)

    def init(self, parameters: Tensor) -> State:
        zeros = torch.zeros_like(parameters)
        return State(mean=zeros, mean_square=zeros, steps=torch.zeros_like(parameters[..., :1]))

    @elementwise
    def update(self, gradients: Tensor, state: State) -> tuple[Tensor, State]:
        steps = state.steps + 1
        mean = torch.lerp(gradients, state.mean, self.beta1)
        mean_square = torch.lerp(gradients.square(), state.mean_square, self.beta2)
        # A root of exactly zero has an infinite derivative; `tiny` changes no digit of any other value.
        tiny = torch.finfo(gradients.dtype).tiny
        root = (mean_square / (1 - self.beta2**steps) + tiny).sqrt()
        updates = -self.lr * (mean / (1 - self.beta1**steps)) / (root + self.eps)
        return updates, State(mean=mean, mean_square=mean_square, steps=steps)
