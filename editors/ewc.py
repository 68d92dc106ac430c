"""Elastic weight consolidation: parameters that matter for the training data are held where they were."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from torch import Tensor, nn

from editors.batching import Batch
from editors.contract import EditError, Layers
from editors.descent import DescentEditor, Objective
from editors.fisher import Fisher, diagonal_fisher
from editors.hyperparameters import NON_NEGATIVE, hyperparameter


@dataclass(frozen=True, kw_only=True)
class ElasticWeightConsolidation(DescentEditor):
    """Any update rule on ``l_e + λ/2 · Σ F_i (θ_i − θ⁰_i)²``; it still stops as soon as ``l_e <= 0``.

    Put it before the rule: ``class X(ElasticWeightConsolidation, Rule)``. The first step has no penalty yet, so only
    edits of two steps and more differ from the rule's own.

    :ivar fisher: F, the diagonal empirical Fisher information; from ``statistics``, through ``informed``.
    """

    ewc_lambda: float | Tensor = hyperparameter(1e3, low=10.0, high=1e6, log=True, domain=NON_NEGATIVE)
    fisher: Fisher | None = field(default=None, repr=False)

    def statistics(self, model: nn.Module, inputs: Tensor, labels: Tensor, layers: Layers) -> Fisher:
        return diagonal_fisher(model, inputs, labels, layers)

    def informed(self, statistics: Fisher) -> ElasticWeightConsolidation:
        return dataclasses.replace(self, fisher=statistics)

    def objective(self, batch: Batch, differentiable: bool) -> Objective:
        if self.fisher is None:
            raise EditError(
                "elastic weight consolidation needs the Fisher information of the training data: "
                "use editor.informed(editor.statistics(model, inputs, labels, layers))"
            )
        importance = self.fisher.vector(batch.parameters)
        original = batch.start(differentiable)[0]
        return lambda gradients, parameters: gradients + self.ewc_lambda * importance * (parameters - original)
