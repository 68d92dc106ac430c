"""ResNet-18 with an encoder that turns an edit into a condition vector (Editable+CNP, section 4.1)."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.models import register
from benchmarks.models.resnet18 import resnet18


@register("cnp_resnet18")
def cnp_resnet18(channels: int, classes: int, width: int = 64, stem: str = "3x3") -> nn.Sequential:
    """The parts of ``resnet18`` with one more, ``condition``, after ``chain3``.

    With the condition vector that it starts with, zero, its answers are those of a ResNet-18 with the same weights.

    :param width: channels of the stem, as for ``resnet18``; so is ``stem``.
    :returns: a module from images ``(N, channels, H, W)`` to logits ``(N, classes)``.
    :raises InputError: if ``width`` is not a positive whole number, or for an unknown stem.
    """
    parts = OrderedDict(resnet18(channels, classes, width, stem).named_children())
    condition = Condition(4 * width, classes)
    ordered = [(name, part) for name, part in parts.items() if name not in ("chain4", "head")]
    return nn.Sequential(
        OrderedDict([*ordered, ("condition", condition), ("chain4", parts["chain4"]), ("head", parts["head"])])
    )


class Condition(nn.Module):
    """Adds the condition vector to activations, and computes it from an edited sample's.

    The vector is a buffer, ``vector (features, 1, 1)``, the same at every place of an image, zero until an edit puts
    another in its place. The encoder is one residual block, fed with activations plus an embedding of the wanted
    label; a projection of its average over places is the vector. It sees one sample at a time, so it has no batch
    normalisation. The projection starts at zero, that is, with edits that do nothing: one that answers alike to
    everything has hardly any loss in formula (3), and training would not find its way out of there.
    """

    vector: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        # Of variance 1 as usual, but uniform: checking settings uses the meta device, where `normal_` takes seconds.
        start = nn.init.uniform_(torch.empty(classes, features), -math.sqrt(3), math.sqrt(3))
        self.embedding = nn.Embedding.from_pretrained(start, freeze=False)
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.project = nn.Linear(features, features)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        self.register_buffer("vector", torch.zeros(features, 1, 1))

    def forward(self, activations: Tensor) -> Tensor:
        """``(N, features, H, W)`` plus the condition vector."""
        return activations + self.vector

    def encode(self, activations: Tensor, labels: Tensor) -> Tensor:
        """The condition vector ``(features, 1, 1)`` that assigns samples to ``labels (N,)`` or ``()``.

        :param activations: ``(N, features, H, W)``, those of the samples; of several, the mean vector is taken.
        """
        hidden = activations + self.embedding(labels.expand(len(activations)))[:, :, None, None]
        block = F.relu(hidden + self.conv2(F.relu(self.conv1(hidden))))
        return self.project(block.mean(dim=(0, 2, 3)))[:, None, None]
