"""Random numbers for code of others that draws them from torch's global generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from benchmarks.seeds import seed


@contextmanager
def drawn_from(*axes: str | int, device: torch.device) -> Iterator[None]:
    """Let torch's global generator start from ``seed(*axes)`` in this block, and leave it as it was.

    fairseq's dropout, sampling and initial weights take no generator.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed(*axes))
        yield
