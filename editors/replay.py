"""The base of editors whose every step also looks at a batch of training data."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import grad, vmap

from editors.base import check_statistics, uninformed
from editors.batching import Batch
from editors.descent import DescentEditor, Objective
from editors.devices import sent
from editors.hyperparameters import check_whole, hyperparameter
from editors.methods.adam import Adam

_TOGETHER = 16  # edits whose training batches go through the model at once


class TrainingData(NamedTuple):
    """Training ``inputs (N, ...)`` as the model takes them, with the ``targets (N, ...)`` of their outputs."""

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True, kw_only=True)
class Replay(DescentEditor):
    """Adam on the mean loss of a batch of training data + w · l_e.

    Each edit costs a forward and backward pass over a batch per step.

    :ivar batch_size: of the training batches, drawn without replacement until all were seen.
    :ivar seed: decides their order, the same for every edit.
    :ivar data: the training data; from ``statistics``, through ``informed``.
    """

    lr: float | Tensor = hyperparameter(1e-3, low=1e-5, high=1e-2, log=True, stronger="larger")
    weight: float | Tensor = hyperparameter(1.0, low=1e-2, high=1e2, log=True)
    batch_size: int = 64
    seed: int = 0
    data: TrainingData | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("batch_size", self.batch_size, 1)
        check_whole("seed", self.seed, 0)

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss ``()`` of ``outputs (B, C)`` for a training batch."""

    def informed(self, statistics: TrainingData) -> Replay:
        check_statistics(statistics, TrainingData, type(self).__name__)
        return dataclasses.replace(self, data=statistics)

    def init(self, parameters: Tensor) -> Any:
        return Adam(lr=self.lr).init(parameters)

    def update(self, gradients: Tensor, state: Any) -> tuple[Tensor, Any]:
        return Adam(lr=self.lr).update(gradients, state)

    def objective(self, batch: Batch, differentiable: bool) -> Objective:
        if self.data is None or len(self.data.targets) == 0:
            raise uninformed(type(self).__name__.lower(), "the training data")
        batches = self._batches(self.data)

        def follow(gradients: Tensor, parameters: Tensor) -> Tensor:
            inputs, targets = next(batches)

            def loss(vector: Tensor) -> Tensor:
                return self.loss(batch.outputs(vector, inputs, differentiable), targets)

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
            order = sent(torch.randperm(len(data.targets), generator=source), data.targets.device)
            for chosen in order.split(self.batch_size):
                yield TrainingData(data.inputs[chosen.to(data.inputs.device)], data.targets[chosen])
