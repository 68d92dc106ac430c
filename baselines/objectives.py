"""Base losses of classifiers: the cross-entropy, or the distance to a teacher's answers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.precision import as_float32
from baselines.training import Losses, Objective
from editors.forward import evaluation_mode


def _none(count: int) -> Tensor:
    raise ValueError("this step has no images apart from its batch")


@dataclass(frozen=True)
class Step:
    """One batch: normalised ``inputs (N, C, H, W)``, ``labels (N,)``, and the seed of everything random about it.

    :ivar apart: from a number M to inputs ``(M, C, H, W)`` that are drawn as the batch is, but independently of it; the
        same ones at every call. Drawn only when asked for, because most objectives need none.
    """

    inputs: Tensor
    labels: Tensor
    seed: int
    apart: Callable[[int], Tensor] = field(default=_none, repr=False, compare=False)

    @property
    def size(self) -> int:
        """The number of images."""
        return len(self.labels)


class CrossEntropy(Objective):
    """The batch's mean cross-entropy: plain training, ``L_base`` of section 3."""

    def forward(self, model: nn.Module, step: Step) -> Losses:
        logits = as_float32(model(step.inputs))
        return Losses(F.cross_entropy(logits, step.labels), logits)


class Distillation(Objective):
    """The batch's mean KL(teacher ‖ student), on the same crops: ``L_base`` of section 4.3. Labels are not looked at.

    The teacher, a copy of ``teacher``, answers in evaluation mode and is not trained. It is part of the objective,
    so that a checkpoint of another teacher is not gone on from.
    """

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        self.teacher = copy.deepcopy(teacher).requires_grad_(False)

    def forward(self, model: nn.Module, step: Step) -> Losses:
        with torch.no_grad(), evaluation_mode(self.teacher):
            reference = as_float32(self.teacher(step.inputs))
        logits = as_float32(model(step.inputs))
        return Losses(divergence(reference, logits).mean(), logits)


def divergence(reference: Tensor, logits: Tensor) -> Tensor:
    """KL(softmax(reference) ‖ softmax(logits)) of each row ``(N,)`` in nats, from logits ``(N, C)``.

    :raises ValueError: if the shapes differ: rows would be compared with other rows.
    """
    if reference.shape != logits.shape or logits.dim() != 2:
        raise ValueError(f"rows of {tuple(reference.shape)} cannot be compared with rows of {tuple(logits.shape)}")
    return F.kl_div(logits.log_softmax(dim=1), reference.log_softmax(dim=1), reduction="none", log_target=True).sum(
        dim=1
    )
