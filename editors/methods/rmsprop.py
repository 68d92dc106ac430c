"""RMSProp as the paper writes it: the running mean square starts at the first gradient's square, not at zero."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from editors.descent import DescentEditor, elementwise
from editors.hyperparameters import FRACTION, hyperparameter
from editors.registry import register


class State(NamedTuple):
    """``mean_square (..., P)`` of the gradients so far; ``decay (..., 1)``: its weight, at first 0, then β."""

    mean_square: Tensor
    decay: Tensor


@register("rmsprop")
@dataclass(frozen=True, kw_only=True)
class RMSProp(DescentEditor):
    """θ ← θ − α g / √(v + ε), with v₀ = g₀² and v ← β v + (1 − β) g² afterwards, so the first step is about α sign(g).

    So it is while ε is small beside g². Where it is large, this is gradient descent with α / √ε; ε's range has both.

    Source: Sinitsin et al., ICLR 2020, section 4.1; Tieleman & Hinton 2012
    """

    lr: float | Tensor = hyperparameter(1e-3, low=1e-5, high=1e-1, log=True, stronger="larger")
    beta: float | Tensor = hyperparameter(0.5, low=0.0, high=0.99, domain=FRACTION)
    eps: float | Tensor = hyperparameter(1e-6, low=1e-8, high=1.0, log=True)

    def init(self, parameters: Tensor) -> State:
        return State(mean_square=torch.zeros_like(parameters), decay=torch.zeros_like(parameters[..., :1]))

    @elementwise
    def update(self, gradients: Tensor, state: State) -> tuple[Tensor, State]:
        mean_square = torch.lerp(gradients.square(), state.mean_square, state.decay)
        updates = -self.lr * gradients / (mean_square + self.eps).sqrt()
        return updates, State(mean_square=mean_square, decay=torch.zeros_like(state.decay) + self.beta)
