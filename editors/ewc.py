"""Elastic weight consolidation: parameters that matter for the training data are held where they were."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from editors.batching import Batch
from editors.descent import DescentEditor, Objective
from editors.fisher import FisherInformed
from editors.hyperparameters import NON_NEGATIVE, hyperparameter


@dataclass(frozen=True, kw_only=True)
class ElasticWeightConsolidation(FisherInformed, DescentEditor):
    """Any update rule on ``l_e + λ/2 · Σ F_i (θ_i − θ⁰_i)²``; it still stops as soon as ``l_e <= 0``.

    Put it before the rule: ``class X(ElasticWeightConsolidation, Rule)``. The first step has no penalty yet, so only
    edits of two steps and more differ from the rule's own.
    """

    ewc_lambda: float | Tensor = hyperparameter(1e3, low=10.0, high=1e6, log=True, domain=NON_NEGATIVE)

    def objective(self, batch: Batch, differentiable: bool) -> Objective:
        importance = self.importance(batch.parameters, "elastic weight consolidation")
        original = batch.start(differentiable)[0]
        return lambda gradients, parameters: gradients + self.ewc_lambda * importance * (parameters - original)
