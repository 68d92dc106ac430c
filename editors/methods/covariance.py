"""The edit that moves the edited layers' outputs on ordinary data least."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from editors.base import Layers, check_statistics, uninformed
from editors.batching import Batch
from editors.covariance import EXAMPLES, Covariances, Stiffness, covariances
from editors.descent import Objective
from editors.errors import EditError
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

    :ivar memory: weight at which :meth:`remember` adds the moments of edited inputs to A, whose own are means over
        training inputs: at 1, an edited input counts as much as all of those together. 0 remembers nothing. Every edit
        that is remembered costs a new factorisation.
    :ivar stiffness: from ``statistics``, through ``informed``; ``known`` are those statistics, if edits are remembered.
    """

    needs_labels: ClassVar[bool] = False

    damping: float | Tensor = hyperparameter(0.1, low=1e-4, high=10.0, log=True)
    memory: float = 0.0
    stiffness: Stiffness | None = field(default=None, repr=False)
    known: Covariances | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.memory, bool) or not isinstance(self.memory, int | float) or not 0 <= self.memory < math.inf:
            raise EditError(f"covariance.memory must be a number >= 0, not {self.memory!r}")

    @property
    def examples(self) -> int:
        return EXAMPLES

    def statistics(self, model: nn.Module, inputs: Any, labels: Tensor | None, layers: Layers) -> Covariances:
        return covariances(model, inputs, layers)

    def informed(self, statistics: Covariances) -> Covariance:
        check_statistics(statistics, Covariances, "covariance")
        stiffness = statistics.damped(self.damping) if statistics else None
        return dataclasses.replace(self, stiffness=stiffness, known=statistics if self.memory else None)

    def remember(self, model: nn.Module, inputs: Any, layers: Layers) -> Covariance:
        if self.known is None:
            return self
        known = self.known.joined_by(covariances(model, inputs, layers), self.memory)
        return dataclasses.replace(self, stiffness=known.damped(self.damping), known=known)

    def objective(self, batch: Batch, differentiable: bool) -> Objective:
        if self.stiffness is None:
            raise uninformed("covariance", "to know the training data")
        divide = self.stiffness.divider(batch.model, batch.parameters, differentiable)
        return lambda gradients, parameters: divide(gradients)
