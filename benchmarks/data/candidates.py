"""Candidates: images that models may get wrong, kept beside a dataset's splits (section 4.3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from benchmarks.data.dataset import Split
from benchmarks.errors import InputError
from benchmarks.files import atomic_path

CANDIDATES = "candidates.safetensors"
"""The file, in a dataset's folder."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Images that a model may get wrong.

    :ivar images: with their true classes.
    :ivar sources: int64 ``(N,)``, the number of the original that each was made from.
    """

    images: Split
    sources: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def select(self, chosen: Tensor) -> Candidates:
        """Those at positions ``(M,)``, or where a mask ``(N,)`` is true."""
        return Candidates(self.images.select(chosen), self.sources[chosen])


def save_candidates(candidates: Candidates, folder: Path) -> None:
    """Write candidates to a dataset's folder; the same bytes each time."""
    tensors = {"images": candidates.images.images, "labels": candidates.images.labels, "sources": candidates.sources}
    with atomic_path(folder / CANDIDATES) as temporary:
        safetensors.torch.save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, temporary)


def load_candidates(folder: Path) -> Candidates:
    """The candidates that :func:`save_candidates` wrote.

    :raises InputError: naming the file, if it is missing or does not hold them.
    """
    path = folder / CANDIDATES
    try:
        tensors = safetensors.torch.load_file(path)
        return Candidates(Split(tensors["images"], tensors["labels"]), tensors["sources"])
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: prepare a dataset that has images for mistakes first") from error
    except (OSError, KeyError, SafetensorError) as error:
        raise InputError(f"{path} does not hold images for mistakes ({error}): make the dataset again") from error
