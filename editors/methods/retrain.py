"""Retraining: the workaround that needs no method, and what a method should be compared with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editors.base import Layers
from editors.hyperparameters import hyperparameter
from editors.registry import register
from editors.replay import Replay, TrainingData


@register("retrain")
@dataclass(frozen=True, kw_only=True)
class Retrain(Replay):
    """Adam on the mean cross-entropy of a training batch + w · l_e, until l_e ≤ 0 and at least ``min_steps`` are done.

    Source: Sinitsin et al., ICLR 2020, section 1 (training anew on data augmented with the mistake, never measured)

    A stand-in for training anew, not the same: it continues from the trained weights for a few steps; only the
    selected layers move; batch statistics stay frozen; training inputs are not augmented; and the mistake enters
    through its constraint, in every batch, with weight w. ``max_steps`` should be larger than for other editors and the
    edits few.

    :ivar min_steps: rounded to a whole number; never more than ``max_steps`` are done.
    """

    min_steps: float | Tensor = hyperparameter(20, low=1, high=100, log=True)

    def statistics(self, model: nn.Module, inputs: Tensor, labels: Tensor, layers: Layers) -> TrainingData:
        return TrainingData(inputs, labels)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    def may_stop(self, steps: int) -> bool:
        return steps >= round(torch.as_tensor(self.min_steps).detach().item())
