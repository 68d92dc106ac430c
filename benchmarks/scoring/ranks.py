"""Ranks of a class among a model's answers: those of true classes among mistakes, and targets of like ranks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.errors import InputError
from editors.devices import sent

_SMOOTHING = (0.1, 0.2, 0.4, 0.2, 0.1)


def ranks(logits: Tensor, labels: Tensor) -> Tensor:
    """The number of classes ahead of the labels ``(N,)`` in logits ``(N, C)``; 0 for the answer itself.

    Of equal logits, the class with the smaller number is ahead, as for ``argmax``.
    """
    wanted = logits.gather(1, labels[:, None])
    ahead = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    return ((logits > wanted) | ((logits == wanted) & ahead)).sum(dim=1)


def rank_distribution(found: Tensor, classes: int) -> Tensor:
    """Probabilities of the ranks 0 to ``classes`` − 1 of true classes among mistakes: ``(classes,)``, float64.

    The histogram is smoothed with (.1, .2, .4, .2, .1); rank 0, which is no mistake, is left out before and after
    (the authors' published code; section 4.3.1 does not say).

    :param found: ranks ``(N,)``; of mistakes other than those that are evaluated.
    :raises InputError: if none is above 0.
    """
    counts = torch.bincount(found.cpu(), minlength=classes).double()
    counts[0] = 0
    if not counts.any():
        raise InputError("a distribution of ranks needs mistakes, but all ranks are 0")
    kernel = torch.tensor(_SMOOTHING, dtype=torch.float64)[None, None]
    smooth = F.conv1d(counts[None, None], kernel, padding=len(_SMOOTHING) // 2)[0, 0]
    smooth[0] = 0
    return smooth / smooth.sum()


def matched_targets(logits: Tensor, distribution: Tensor, generator: torch.Generator) -> Tensor:
    """A class for each row of logits ``(N, C)``, of a rank drawn from ``distribution (C,)``: int64 ``(N,)``.

    :param generator: on the CPU, where the ranks are drawn whatever the device of the logits.
    """
    drawn = torch.multinomial(distribution, len(logits), replacement=True, generator=generator)
    order = logits.argsort(dim=1, descending=True, stable=True)
    return order.gather(1, sent(drawn, logits.device)[:, None])[:, 0]
