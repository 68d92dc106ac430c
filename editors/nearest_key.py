"""Which of some stored keys is nearest, and whether it is near enough to answer in the model's place."""

from __future__ import annotations

import torch
from torch import Tensor


def nearest_key(rows: Tensor, keys: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """For each of ``rows (N, d)``, the place ``(N,)`` of the nearest of ``keys (K, d)``, and whether it is near.

    Distances are relative to the key, ``‖x − key‖ / ‖key‖``; near, ``(N,)`` of booleans, are those up to ``epsilon``.
    """
    exact = "donot_use_mm_for_euclid_dist"  # the fast way finds a row at some distance from itself
    distances = torch.cdist(rows, keys, compute_mode=exact)
    distances = distances / keys.norm(dim=1).clamp(min=torch.finfo(keys.dtype).tiny)
    nearest, place = distances.min(dim=1)
    return place, nearest <= epsilon
