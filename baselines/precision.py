"""Mixed precision: bfloat16 where it saves time, float32 where digits count."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def mixed(device: torch.device, asked: bool) -> AbstractContextManager[Any]:
    """A block in which convolutions and matrix products are computed in bfloat16, if that is ``asked`` for."""
    return torch.autocast(device.type, torch.bfloat16) if asked else nullcontext()


def memory_format(mixed_precision: bool) -> torch.memory_format:
    """The order of numbers in memory: channels last for bfloat16, in which convolutions are faster that way.

    In float32 it stays as it is, because sums in another order end in other digits.
    """
    return torch.channels_last if mixed_precision else torch.preserve_format


def full(device: torch.device) -> AbstractContextManager[Any]:
    """A block in which nothing is computed in bfloat16, within one of :func:`mixed` as well."""
    known = torch.amp.is_autocast_available(device.type)  # not on "meta"
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def as_float32(values: Tensor) -> Tensor:
    """Convert bfloat16 to float32, for sums and differences, which need more digits; leave other types."""
    return values.float() if values.dtype == torch.bfloat16 else values
