"""The extra layer of section 4.3: a block behind the pooling, for edits, in any network made of parts."""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.errors import InputError
from benchmarks.models import check_size, register
from benchmarks.models.resnet18 import resnet18

WIDTH = 4096
"""Hidden units in the paper."""

STARTS = ("zero", "random")


class ExtraLayer(nn.Module):
    """``h + W₂ ELU(W₁ h + b₁) + b₂`` for pooled features h ``(N, features)`` (section 4.3).

    The paper's second layer has 1,024 units, which cannot be added to 512 or 1,664 features; here it has as many as
    there are features. Unlike the paper's, it starts at zero, so that the network answers as without the block: in
    Table 4, pre-trained networks have the same error with a new block as without.

    :param width: hidden units.
    :param start: of the second layer: ``zero``, or ``random``, the paper's, as PyTorch starts every linear layer.
    """

    def __init__(self, features: int, width: int = WIDTH, start: str = STARTS[0]) -> None:
        super().__init__()
        check_size("extra_width", width)
        if start not in STARTS:
            raise InputError(f"extra_start must be {' or '.join(STARTS)}, not {start!r}")
        self.expand = nn.Linear(features, width)
        self.reduce = nn.Linear(width, features)
        if start == "zero":
            nn.init.zeros_(self.reduce.weight)
            nn.init.zeros_(self.reduce.bias)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.reduce(F.elu(self.expand(features)))


def with_extra_layer(network: nn.Module, width: int = WIDTH, start: str = STARTS[0]) -> nn.Sequential:
    """The parts of ``network`` with its ``head`` taken apart: ``pool``, ``extra`` and ``head``, the last linear layer.

    Parameters keep their names, so that weights of the network without the block fit.

    :raises InputError: for a network whose last part is no ``head`` that ends in a linear layer.
    """
    parts = OrderedDict(network.named_children())
    head = parts.get("head")
    if type(network) is not nn.Sequential or not isinstance(head, nn.Sequential) or not isinstance(head[-1], nn.Linear):
        raise InputError(f"an extra layer needs a network of parts with a head, not {type(network).__name__}")
    del parts["head"]
    extra = ExtraLayer(head[-1].in_features, width, start)
    return nn.Sequential(OrderedDict(**parts, pool=head[:-1], extra=extra, head=head[-1:]))


@register("resnet18_extra")
def resnet18_extra(
    channels: int,
    classes: int,
    width: int = 64,
    stem: str = "3x3",
    extra_width: int = WIDTH,
    extra_start: str = STARTS[0],
) -> nn.Sequential:
    """The suite's ``resnet18`` with an extra layer.

    :param extra_start: see :class:`ExtraLayer`.
    :returns: a module from images ``(N, channels, H, W)`` to logits ``(N, classes)``.
    """
    return with_extra_layer(resnet18(channels, classes, width, stem), extra_width, extra_start)
