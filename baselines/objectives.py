"""What a training minimises: one class per way of training, all of the same form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Step:
    """One batch: normalised ``inputs (N, C, H, W)``, ``labels (N,)``, and the seed of everything random about it."""

    inputs: Tensor
    labels: Tensor
    seed: int


@dataclass(frozen=True)
class Losses:
    """What an objective makes of one batch.

    :ivar total: the scalar to minimise.
    :ivar logits: the model's answers ``(N, classes)``, for counting errors.
    :ivar parts: further scalars to log, averaged over an epoch.
    """

    total: Tensor
    logits: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(nn.Module):
    """``objective(model, step) -> Losses``; the model is in training mode.

    Parameters of the objective itself are trained along with the model's.
    """

    def forward(self, model: nn.Module, step: Step) -> Losses:
        raise TypeError(f"{type(self).__name__} must define forward(model, step)")


class CrossEntropy(Objective):
    """The batch's mean cross-entropy: plain training, ``L_base`` of section 3."""

    def forward(self, model: nn.Module, step: Step) -> Losses:
        logits = model(step.inputs)
        return Losses(F.cross_entropy(logits, step.labels), logits)
