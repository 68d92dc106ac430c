"""Retraining: the workaround that needs no method, and what a method should be compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import grad, vmap

from editors.batching import Batch
from editors.contract import EditError, Layers
from editors.descent import DescentEditor, Objective
from editors.hyperparameters import hyperparameter
from editors.methods.adam import Adam
from editors.registry import register

_TOGETHER = 16  # edits whose training batches go through the model at once


class TrainingData(NamedTuple):
    """``inputs (N, ...)`` as the model takes them and ``labels (N,)``."""

    inputs: Tensor
    labels: Tensor


@register("retrain")
@dataclass(frozen=True, kw_only=True)
class Retrain(DescentEditor):
    """Adam on the mean cross-entropy of a training batch + w · l_e, until l_e ≤ 0 and at least ``min_steps`` are done.

    Source: Sinitsin et al., ICLR 2020, section 1 (training anew on data augmented with the mistake, never measured)

    A stand-in for training anew, not the same: it continues from the trained weights for a few steps; only the
    selected layers move; batch statistics stay frozen; training inputs are not augmented; and the mistake enters
    through its constraint, in every batch, with weight w. Each edit costs a forward and backward pass over a batch per
    step, so ``max_steps`` should be larger than for other editors and the edits few.

    :ivar min_steps: rounded to a whole number; never more than ``max_steps`` are done.
    :ivar batch_size: of the training batches, drawn without replacement until all were seen.
    :ivar seed: decides their order, the same for every edit.
    :ivar data: the training data; from ``statistics``, through ``informed``.
    """

    lr: float | Tensor = hyperparameter(1e-3, low=1e-5, high=1e-2, log=True)
    weight: float | Tensor = hyperparameter(1.0, low=1e-2, high=1e2, log=True)
    min_steps: float | Tensor = hyperparameter(20, low=1, high=100, log=True)
    batch_size: int = 64
    seed: int = 0
    data: TrainingData | None = field(default=None, repr=False)

    def statistics(self, model: nn.Module, inputs: Tensor, labels: Tensor, layers: Layers) -> TrainingData:
        return TrainingData(inputs, labels)

    def informed(self, statistics: TrainingData) -> Retrain:
        return dataclasses.replace(self, data=statistics)

    def init(self, parameters: Tensor) -> Any:
        return Adam(lr=self.lr).init(parameters)

    def update(self, gradients: Tensor, state: Any) -> tuple[Tensor, Any]:
        return Adam(lr=self.lr).update(gradients, state)

    def may_stop(self, steps: int) -> bool:
        return steps >= round(torch.as_tensor(self.min_steps).detach().item())

    def objective(self, batch: Batch, differentiable: bool) -> Objective:
        if self.data is None or len(self.data.labels) == 0:
            raise EditError(
                "retrain needs the training data: use editor.informed(editor.statistics(model, inputs, labels, layers))"
            )
        batches = self._batches(self.data)

        def follow(gradients: Tensor, parameters: Tensor) -> Tensor:
            inputs, labels = next(batches)

            def loss(vector: Tensor) -> Tensor:
                return F.cross_entropy(batch.outputs(vector, inputs, differentiable), labels)

            if len(parameters) > 1:
                with torch.enable_grad():
                    return vmap(grad(loss), chunk_size=_TOGETHER)(parameters) + self.weight * gradients
            with torch.enable_grad():  # alone without vmap, which not every model can do
                leaf = parameters if differentiable else parameters.detach().requires_grad_()
                (training,) = torch.autograd.grad(loss(leaf[0]), leaf, create_graph=differentiable)
            return training + self.weight * gradients

        return follow

    def _batches(self, data: TrainingData) -> Iterator[TrainingData]:
        source = torch.Generator().manual_seed(self.seed)
        while True:
            order = torch.randperm(len(data.labels), generator=source).to(data.labels.device)
            for chosen in order.split(self.batch_size):
                yield TrainingData(data.inputs[chosen.to(data.inputs.device)], data.labels[chosen])
