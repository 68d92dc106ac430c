"""Natural gradient with the diagonal of the Fisher information, and Polyak's step."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from torch import Tensor, nn

from editors.batching import Batch
from editors.contract import EditError, Layers
from editors.descent import Objective
from editors.fisher import Fisher, diagonal_fisher
from editors.hyperparameters import hyperparameter
from editors.polyak import PolyakStep
from editors.registry import register


@register("fisher")
@dataclass(frozen=True, kw_only=True)
class NaturalGradient(PolyakStep):
    """Polyak's step along g / (F + λ · mean F), with F the diagonal empirical Fisher information.

    Source: Amari 1998 (natural gradient), here on a single edit

    Of all changes that satisfy the linearised constraint it is the one with the smallest Σ (F_i + λ mean F) Δθ_i²:
    elastic weight consolidation's penalty, minimised in closed form.

    :ivar fisher: from ``statistics``, through ``informed``.
    """

    damping: float | Tensor = hyperparameter(0.1, low=1e-3, high=10.0, log=True)
    fisher: Fisher | None = field(default=None, repr=False)

    def statistics(self, model: nn.Module, inputs: Tensor, labels: Tensor, layers: Layers) -> Fisher:
        return diagonal_fisher(model, inputs, labels, layers)

    def informed(self, statistics: Fisher) -> NaturalGradient:
        return dataclasses.replace(self, fisher=statistics)

    def objective(self, batch: Batch, differentiable: bool) -> Objective:
        if self.fisher is None:
            raise EditError(
                "fisher needs the Fisher information of the training data: "
                "use editor.informed(editor.statistics(model, inputs, labels, layers))"
            )
        importance = self.fisher.vector(batch.parameters)
        if not importance.any():
            raise EditError("the Fisher information is zero everywhere: the model is sure of every training example")
        stiffness = importance + self.damping * importance.mean()
        return lambda gradients, parameters: gradients / stiffness
