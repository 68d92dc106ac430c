"""The divergence of next-token distributions by an edit: the locality term of training, and a column of records."""

from __future__ import annotations

import torch
from torch import Tensor


def token_kl(before: Tensor, after: Tensor, target: Tensor, pad: int) -> Tensor:
    """KL(p ‖ p̂) in nats ``(B, T)`` of logits ``(B, T, V)``, token by token; 0 where the target is padding.

    Gradients do not reach ``before`` if it is detached; what stands at padding reaches nothing.
    """
    log_p, log_edited = before.log_softmax(dim=-1), after.log_softmax(dim=-1)
    divergence = (log_p.exp() * (log_p - log_edited)).sum(dim=-1)
    return torch.where(target.ne(pad), divergence, 0)
