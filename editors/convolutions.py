"""Convolutions of a batch of edits, each with weights of its own, as matrix products where these are faster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]

_CHANNELS_PER_POSITION = 4


def as_products(weights: Iterable[Tensor]) -> AbstractContextManager[Any]:
    """A context in which convolutions with one of ``weights (O, C, h, w)`` are matrix products, where that pays.

    Libraries for convolutions first bring weights into an order of their own, and are slow at gradients of many weights
    from few positions. With weights that change at every call, windows cost less than that if the output has few
    positions and many channels.
    """
    four = [weight for weight in weights if weight.dim() == 4]
    return _AsProducts(four) if four else nullcontext()  # any mode at all makes some modules leave their fast path


class _AsProducts(TorchFunctionMode):
    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()
        self._weights = {id(weight) for weight in weights}

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if function is torch.conv2d and not kwargs and len(args) == 7 and id(args[1]) in self._weights:
            inputs, weight, bias, *window, groups = args
            if groups == 1 and inputs.dim() == 4 and not isinstance(window[1], str):
                stride, padding, dilation = (_pair(size) for size in window)
                sizes = _sizes(inputs, weight, stride, padding, dilation)
                if _CHANNELS_PER_POSITION * len(inputs) * sizes[0] * sizes[1] <= len(weight):
                    outputs = _product(inputs, weight, stride, padding, dilation)
                    outputs = outputs.view(len(weight), len(inputs), *sizes).transpose(0, 1)
                    return outputs if bias is None else outputs + bias.view(-1, 1, 1)
        return function(*args, **(kwargs or {}))


def _product(inputs: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """``(O, N H' W')`` from inputs ``(N, C, H, W)`` and a weight ``(O, C, h, w)``."""
    kernel = tuple(weight.shape[2:])
    if (kernel, tuple(padding)) == ((1, 1), (0, 0)):
        windows = inputs[:, :, :: stride[0], :: stride[1]].flatten(2)
    else:
        windows = F.unfold(inputs, kernel, dilation, padding, stride)
    return weight.flatten(1) @ (windows[0] if len(windows) == 1 else windows.transpose(0, 1).flatten(1))


def _sizes(inputs: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> list[int]:
    """Height and width of the outputs."""
    axes = zip(inputs.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    return [(size + 2 * pad - gap * (kernel - 1) - 1) // step + 1 for size, kernel, step, pad, gap in axes]


def _pair(size: int | Sequence[int]) -> Pair:
    """Height and width, of which torch takes one number for both."""
    sizes = (size,) if isinstance(size, int) else tuple(size)
    return sizes if len(sizes) == 2 else sizes * 2
