"""The nearest of some stored keys, for editors that answer near a key in the model's place."""

from __future__ import annotations

import torch
from torch import Tensor


def nearest_key(rows: Tensor, keys: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The place ``(N,)`` of the key in ``keys (K, d)`` that is nearest to each of ``rows (N, d)``, and which are near.

    Distances are relative to the key, ``‖x − key‖ / ‖key‖``; near, ``(N,)`` of booleans, are those up to ``epsilon``.
    """
    exact = "donot_use_mm_for_euclid_dist"  # the fast way finds a row at some distance from itself
    if rows.element_size() < 4:  # of halves there are no distances
        rows, keys = rows.float(), keys.float()
    distances = torch.cdist(rows, keys, compute_mode=exact)
    distances = distances / keys.norm(dim=1).clamp(min=torch.finfo(keys.dtype).tiny)
    nearest, place = distances.min(dim=1)
    return place, nearest <= epsilon
