"""DenseNet-169 as parts, as wide as one likes: the architecture of Table 4 for those without a GPU."""

from __future__ import annotations

from torch import nn

import benchmarks.torchvision_cpu  # noqa: F401  must come before torchvision
from benchmarks.models import check_size, register
from benchmarks.models.extra_layer import STARTS, with_extra_layer
from benchmarks.models.torchvision_networks import check_colour, in_parts

BLOCKS = (6, 12, 32, 32)
"""Layers of the four dense blocks (Huang et al. 2017, table 1)."""


@register("densenet169")
def densenet169(
    channels: int, classes: int, growth: int = 32, extra_width: int | None = None, extra_start: str = STARTS[0]
) -> nn.Sequential:
    """torchvision's DenseNet with the blocks of DenseNet-169, as ``stem``, ``chain1`` … ``chain4`` and ``head``.

    At ``growth=32``, as published, it is torchvision's ``densenet169``, with 1,664 features before its last layer.

    :param growth: feature maps that each layer adds; the stem has twice as many.
    :param extra_width: hidden units of an extra layer before the last one (section 4.3); None for none.
    :param extra_start: see :class:`benchmarks.models.extra_layer.ExtraLayer`.
    :returns: a module from images ``(N, 3, H, W)``, H and W at least 32, to logits ``(N, classes)``.
    :raises InputError: for images that are not in colour, or if ``growth`` is not a positive whole number.
    """
    from torchvision.models import DenseNet

    check_colour(channels)
    check_size("growth", growth)
    parts = in_parts(DenseNet(growth, BLOCKS, num_init_features=2 * growth, num_classes=classes))
    return parts if extra_width is None else with_extra_layer(parts, extra_width, extra_start)
