"""The edit that moves the edited layers' outputs on ordinary data least."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from torch import Tensor, nn

from editors.batching import Batch
from editors.contract import Layers, uninformed
from editors.covariance import Covariances, Stiffness, covariances
from editors.descent import Objective
from editors.hyperparameters import hyperparameter
from editors.polyak import PolyakStep
from editors.registry import register


@register("covariance")
@dataclass(frozen=True, kw_only=True)
class Covariance(PolyakStep):
    """Polyak's step along G (A + λ · tr(A)/d · I)⁻¹, with A = E[h hᵀ] of each layer's inputs h on training data.

    Source: this suite; kin are K-FAC (Martens & Grosse 2015), OWM (Zeng et al. 2019) and ROME (Meng et al. 2022)

    Of all changes that satisfy the linearised constraint it is the one with the smallest E Σ ‖ΔW h‖² (at λ → 0), the
    sum over edited layers and positions. Parameters other than weights and biases of linear and convolution layers,
    batch norm's among them, are treated as if A were the identity times the mean eigenvalue of the other layers.

    :ivar stiffness: from ``statistics``, through ``informed``.
    """

    damping: float | Tensor = hyperparameter(0.1, low=1e-4, high=10.0, log=True)
    stiffness: Stiffness | None = field(default=None, repr=False)

    def statistics(self, model: nn.Module, inputs: Tensor, labels: Tensor, layers: Layers) -> Covariances:
        return covariances(model, inputs, layers)

    def informed(self, statistics: Covariances) -> Covariance:
        return dataclasses.replace(self, stiffness=statistics.damped(self.damping) if statistics else None)

    def objective(self, batch: Batch, differentiable: bool) -> Objective:
        if self.stiffness is None:
            raise uninformed("covariance", "to know the training data")
        divide = self.stiffness.divider(batch.model, batch.parameters, differentiable)
        return lambda gradients, parameters: divide(gradients)
