"""Votes of nearest neighbours: the last part of a model that answers from labelled examples."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Votes(nn.Module):
    """Neighbours ``(N, 2, k)`` to logits ``(N, C)``: each neighbour casts the vote in its row of ``cast (M, C)``.

    ``neighbours[:, 0]`` are positions among the M examples, nearest first (whole numbers, which float32 holds exactly
    up to 2²⁴), ``neighbours[:, 1]`` their distances. One tensor, so that what leads up to a vote can be kept and reused
    while the votes change.

    The logits are logarithms of the shares of votes, one further vote being spread over all classes, so the softmax
    is a probability that is never 0. Among classes with as many votes, the one whose voters are nearest in sum wins,
    for which a class gives up at most a tenth of a vote; of equal sums, the first class.

    :ivar cast: a parameter, so that it can be selected as a layer; one-hot rows of the examples' labels.
    """

    def __init__(self, examples: int, classes: int) -> None:
        super().__init__()
        self.cast = nn.Parameter(torch.zeros(examples, classes), requires_grad=False)

    def forward(self, neighbours: Tensor) -> Tensor:
        positions, distances = neighbours.unbind(dim=1)
        return tally(self.cast[positions.long()], distances)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Votes ``(M, C)`` of examples with ``labels (M,)``."""
    return nn.functional.one_hot(labels, classes).float()


def tally(votes: Tensor, distances: Tensor) -> Tensor:
    """Logits ``(..., C)`` of ``votes (..., k, C)`` that were cast at ``distances (..., k)``; see :class:`Votes`."""
    neighbours, classes = votes.shape[-2:]
    counts = votes.sum(dim=-2)
    sums = (votes * distances.unsqueeze(-1).to(votes)).sum(dim=-2).masked_fill(counts == 0, torch.inf)
    rank = sums.argsort(dim=-1, stable=True).argsort(dim=-1)
    behind = 0.1 * rank.clamp(max=neighbours) / (neighbours + 1)
    return (counts - torch.where(counts > 0, behind, 0) + 1 / classes).log()
