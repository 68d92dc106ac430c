"""What a GPU has to be told, so that the same seed gives the same bytes on it."""

from __future__ import annotations

import os

import torch


def compute_reproducibly() -> None:
    """On a GPU: the same sums in the same order each time, and in full float32. A CPU does so anyway.

    What a GPU can only sum in any order is an error from here on.
    """
    if not torch.cuda.is_available():
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a launch for each tensor; nobody reads what it fills
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
