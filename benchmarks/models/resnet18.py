"""ResNet-18 as six named parts, with the 3x3 stem for small images or the 7x7 one that it was made with."""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.errors import InputError
from benchmarks.models import check_size, register

STEMS = ("3x3", "7x7")


@register("resnet18")
def resnet18(channels: int, classes: int, width: int = 64, stem: str = "3x3") -> nn.Sequential:
    """``stem``, ``chain1`` … ``chain4`` (two residual blocks each) and ``head``, one after the other.

    The architecture of section 4.1: He et al. 2015 with the usual changes for 32x32 images. At
    ``width=64``, with 3 channels and 10 classes, it has 11,173,962 parameters.

    :param width: channels of the stem and of chain 1; chains 2, 3 and 4 have 2, 4 and 8 times as many.
    :param stem: ``3x3``, which keeps the size of an image, or ``7x7``, He et al.'s own: a convolution of stride 2 and
        max-pooling, after which chain 1 sees a quarter of the height and of the width.
    :returns: a module from images ``(N, channels, H, W)`` to logits ``(N, classes)``.
    :raises InputError: if ``width`` is not a positive whole number, or for an unknown stem.
    """
    if stem not in STEMS:
        raise InputError(f"stem must be {' or '.join(STEMS)}, not {stem!r}")
    check_size("width", width)
    parts = OrderedDict(stem=_stem(channels, width, stem))
    before = width
    for number, after in enumerate((width, 2 * width, 4 * width, 8 * width), start=1):
        first = BasicBlock(before, after, stride=1 if number == 1 else 2)
        parts[f"chain{number}"] = nn.Sequential(first, BasicBlock(after, after))
        before = after
    parts["head"] = _head(before, classes)
    return nn.Sequential(parts)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut around them (He et al. 2015)."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut.append(nn.Conv2d(before, after, 1, stride=stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(after))

    def forward(self, images: Tensor) -> Tensor:
        """``(N, before, H, W)`` to ``(N, after, H / stride, W / stride)``."""
        hidden = F.relu(self.bn1(self.conv1(images)))
        return F.relu(self.bn2(self.conv2(hidden)) + self.shortcut(images))


def _stem(channels: int, width: int, kind: str) -> nn.Sequential:
    size, stride = (7, 2) if kind == "7x7" else (3, 1)
    convolution = nn.Conv2d(channels, width, size, stride=stride, padding=size // 2, bias=False)
    layers = OrderedDict(conv=convolution, bn=nn.BatchNorm2d(width), relu=nn.ReLU())
    if kind == "7x7":
        layers["pool"] = nn.MaxPool2d(3, stride=2, padding=1)
    return nn.Sequential(layers)


def _head(features: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), linear=nn.Linear(features, classes))
    )
