"""Resilient backpropagation in its simplest form: only the gradient's sign counts."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from editors.descent import DescentEditor, elementwise
from editors.hyperparameters import hyperparameter
from editors.registry import register


@register("rprop")
@dataclass(frozen=True, kw_only=True)
class RProp(DescentEditor):
    """θ ← θ − α sign(g).

    Source: Sinitsin et al., ICLR 2020, section 4.1; SignSGD, Bernstein et al. 2018
    """

    lr: float | Tensor = hyperparameter(1e-3, low=1e-5, high=1e-1, log=True, stronger="larger")

    def init(self, parameters: Tensor) -> Any:
        return None

    @elementwise
    def update(self, gradients: Tensor, state: Any) -> tuple[Tensor, Any]:
        return -self.lr * gradients.sign(), state
