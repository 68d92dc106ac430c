"""The control set of an edit: the examples on which it is looked at what the edit breaks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.seeds import seed


def control_set(size: int, subset: int | None, request_seed: int) -> Tensor | None:
    """Positions of one request's control examples: a fresh ``subset``, or None for all ``size`` of them.

    A subset of its own for every edit, because one small subset shared by all edits makes their average no
    better than that subset. It depends on the request alone, so two editors are compared on the same examples.
    """
    if subset is None or subset >= size:
        return None
    source = np.random.default_rng(seed(request_seed, "control"))
    return torch.from_numpy(np.sort(source.choice(size, subset, replace=False)))
