"""ResNet-18 with an encoder that turns an edit into a condition vector (Editable+CNP, section 4.1)."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.errors import InputError
from benchmarks.models import register
from benchmarks.models.resnet18 import resnet18


@register("cnp_resnet18")
def cnp_resnet18(
    channels: int, classes: int, width: int = 64, stem: str = "3x3", encoder: str = "block"
) -> nn.Sequential:
    """The parts of ``resnet18`` with one more, ``condition``, after ``chain3``.

    With the condition vector that it starts with, zero, its answers are those of a ResNet-18 with the same weights.

    :param width: channels of the stem, as for ``resnet18``; so is ``stem``.
    :param encoder: ``block``, the paper's, or ``pooled``, see :data:`ENCODERS`.
    :returns: a module from images ``(N, channels, H, W)`` to logits ``(N, classes)``.
    :raises InputError: if ``width`` is not a positive whole number, or for an unknown stem or encoder.
    """
    if encoder not in ENCODERS:
        raise InputError(f"encoder must be one of {', '.join(ENCODERS)}, not {encoder!r}")
    parts = OrderedDict(resnet18(channels, classes, width, stem).named_children())
    condition = ENCODERS[encoder](4 * width, classes)
    ordered = [(name, part) for name, part in parts.items() if name not in ("chain4", "head")]
    return nn.Sequential(
        OrderedDict([*ordered, ("condition", condition), ("chain4", parts["chain4"]), ("head", parts["head"])])
    )


class Condition(nn.Module):
    """Adds the condition vector to activations, and computes it from an edited sample's.

    The encoder is one residual block, fed with activations plus an embedding of the wanted label; what the block makes
    of them, place by place, is the vector. The block is that of the network, without its batch normalisation: the
    encoder sees one sample at a time, and answers in evaluation mode, where a normalisation is a factor and a shift.

    The vector is a buffer, ``vector``, zero and of shape ``(features, 1, 1)`` until an edit puts one of
    ``(features, H, W)`` in its place.
    """

    vector: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        # Of variance 1 as usual, but uniform: checking settings uses the meta device, where `normal_` takes seconds.
        start = nn.init.uniform_(torch.empty(classes, features), -math.sqrt(3), math.sqrt(3))
        self.embedding = nn.Embedding.from_pretrained(start, freeze=False)
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.register_buffer("vector", torch.zeros(features, 1, 1))

    def forward(self, activations: Tensor) -> Tensor:
        """``(N, features, H, W)`` plus the condition vector."""
        return activations + self.vector

    def encode(self, activations: Tensor, labels: Tensor) -> Tensor:
        """The condition vector ``(features, H, W)`` that assigns samples to ``labels (N,)`` or ``()``.

        :param activations: ``(N, features, H, W)``, those of the samples; of several, the mean vector is taken.
        """
        return self.encode_each(activations, labels).mean(dim=0)

    def encode_each(self, activations: Tensor, labels: Tensor) -> Tensor:
        """The condition vectors ``(N, features, H, W)`` of samples by themselves; see :meth:`encode`."""
        hidden = activations + self.embedding(labels.expand(len(activations)))[:, :, None, None]
        return F.relu(hidden + self.conv2(F.relu(self.conv1(hidden))))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """Take over a vector of another height and width, as that of an edited network is."""
        given = state_dict.get(f"{prefix}vector", self.vector)
        if given.dim() == 3 and len(given) == len(self.vector):
            self.vector = self.vector.new_zeros(given.shape)
        super()._load_from_state_dict(state_dict, prefix, *others)


class PooledCondition(Condition):
    """The same with a vector ``(features, 1, 1)``, one number per channel at every place. Not the paper's.

    A projection of the block's average over places is the vector. It starts at zero, that is, with edits that do
    nothing.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes)
        self.project = nn.Linear(features, features)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def encode_each(self, activations: Tensor, labels: Tensor) -> Tensor:
        block = super().encode_each(activations, labels)
        return self.project(block.mean(dim=(2, 3)))[:, :, None, None]


ENCODERS = {"block": Condition, "pooled": PooledCondition}
"""By name: the block's activations, or one number per channel."""
