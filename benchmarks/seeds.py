"""Seeds that depend on named axes (suite, benchmark, stage, repetition), never on a position in a loop."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seed(*axes: str | int) -> int:
    """A 63-bit seed, ``0 <= seed < 2**63``, that is a hash (SHA-256) of the axes and their order.

    ``seed("a", "bc")``, ``seed("ab", "c")``, ``seed("1")`` and ``seed(1)`` all differ.

    :raises TypeError: for an axis that is neither a string nor an integer, and for no axes at all.
    """
    if not axes:
        raise TypeError("a seed needs at least one axis")
    for axis in axes:
        if isinstance(axis, bool) or not isinstance(axis, str | int):
            raise TypeError(f"an axis of a seed is a string or an integer, found {axis!r}")
    digest = hashlib.sha256(json.dumps(axes).encode("ascii")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*axes: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A new generator on ``device``, seeded by ``seed(*axes)``; the global random state is neither read nor changed.

    CPU and GPU generators of the same axes give different numbers.

    :raises TypeError: as :func:`seed` does.
    """
    return torch.Generator(device=device).manual_seed(seed(*axes))


@contextmanager
def drawn_from(*axes: str | int, device: torch.device) -> Iterator[None]:
    """Let torch's global generator start from ``seed(*axes)`` in this block, and leave it as it was.

    For code of others that takes no generator: dropout, fairseq's sampling and initial weights.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed(*axes))
        yield
