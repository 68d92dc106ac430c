"""Natural gradient with the diagonal of the Fisher information, and Polyak's step."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from editors.batching import Batch
from editors.descent import Objective
from editors.errors import EditError
from editors.fisher import FisherInformed
from editors.hyperparameters import hyperparameter
from editors.polyak import PolyakStep
from editors.registry import register


@register("fisher")
@dataclass(frozen=True, kw_only=True)
class NaturalGradient(FisherInformed, PolyakStep):
    """Polyak's step along g / (F + λ · mean F), with F the diagonal empirical Fisher information.

    Source: Amari 1998 (natural gradient), here on a single edit

    Of all changes that satisfy the linearised constraint it is the one with the smallest Σ (F_i + λ mean F) Δθ_i²:
    elastic weight consolidation's penalty, minimised in closed form.
    """

    damping: float | Tensor = hyperparameter(0.1, low=1e-3, high=10.0, log=True)

    def objective(self, batch: Batch, differentiable: bool) -> Objective:
        importance = self.importance(batch.parameters, "fisher")
        if not importance.any():
            raise EditError("the Fisher information is zero everywhere: the model is sure of every training example")
        stiffness = importance + self.damping * importance.mean()
        return lambda gradients, parameters: gradients / stiffness
