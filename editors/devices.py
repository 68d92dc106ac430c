"""What passes between a host and a GPU, without one waiting for the other."""

from __future__ import annotations

import torch
from torch import Tensor

FINGERPRINTED = False  # decides no number


def sent(values: Tensor, device: torch.device) -> Tensor:
    """``values`` on ``device``; a GPU takes them from pinned memory when it gets there, and the host goes on."""
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


def finish(device: torch.device) -> None:
    """Wait until a GPU has done all that it was asked for; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
