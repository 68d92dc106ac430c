"""Gradient descent: the editor of formula (1)."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from editors.descent import DescentEditor, elementwise
from editors.hyperparameters import hyperparameter
from editors.registry import register


@register("gd")
@dataclass(frozen=True, kw_only=True)
class GradientDescent(DescentEditor):
    """θ ← θ − α g.

    Source: Sinitsin et al., ICLR 2020, formula (1)
    """

    lr: float | Tensor = hyperparameter(1e-2, low=1e-4, high=1.0, log=True, stronger="larger")

    def init(self, parameters: Tensor) -> Any:
        return None

    @elementwise
    def update(self, gradients: Tensor, state: Any) -> tuple[Tensor, Any]:
        return -self.lr * gradients, state
