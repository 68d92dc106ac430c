"""The smallest change of the last layer, in closed form: of rank one for one input."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from editors.base import EditResult, Layers, check_statistics, uninformed
from editors.constraints import Predicts
from editors.covariance import EXAMPLES, Covariances, Layer, Stiffness, covariances, last_linear
from editors.hyperparameters import hyperparameter
from editors.last_layer import LastLayerEditor
from editors.least_change import least_squares_change
from editors.registry import register


@register("rank_one")
@dataclass(frozen=True, kw_only=True)
class RankOne(LastLayerEditor):
    """Of all changes of the last layer that satisfy l_e ≤ 0, the one with the smallest E ‖ΔW h‖².

    Source: ROME (Meng et al., NeurIPS 2022), there inside a network; here exact, as nothing follows the layer

    For one input it is δ (A⁻¹h)ᵀ / hᵀA⁻¹h: h is what reaches the layer, A its second moment on training data, damped as
    in ``covariance``, and δ the smallest change of the logits that lifts the label above all other classes. Of several
    inputs it is the smallest change that mends all of them together, found exactly; if none does, nothing changes.

    :ivar stiffness: from ``statistics``, through ``informed``.
    """

    damping: float | Tensor = hyperparameter(0.1, low=1e-4, high=10.0, log=True)
    stiffness: Stiffness | None = field(default=None, repr=False)

    @property
    def examples(self) -> int:
        return EXAMPLES

    def statistics(self, model: nn.Module, inputs: Tensor, labels: Tensor, layers: Layers) -> Covariances:
        layer = last_linear(model, layers)
        return covariances(model, inputs, [name for name in (layer.weight, layer.bias) if name])

    def informed(self, statistics: Covariances) -> RankOne:
        check_statistics(statistics, Covariances, "rank_one")
        return dataclasses.replace(self, stiffness=statistics.damped(self.damping) if statistics else None)

    def answer(self, model: nn.Module, inputs: Tensor, constraint: Predicts, layers: Layers) -> EditResult:
        if self.stiffness is None:
            raise uninformed("rank_one", "to know the training data")
        return super().answer(model, inputs, constraint, layers)

    def change(self, layer: Layer, rows: Tensor, logits: Tensor, labels: Tensor, margin: float) -> Tensor | None:
        root = torch.linalg.cholesky(self.stiffness.inverse(layer).double())  # A⁻¹ = L Lᵀ, and ΔW = X Lᵀ
        found = least_squares_change(rows.double() @ root, logits, labels, margin)
        return None if found is None else found.to(root.device) @ root.T
