"""Realistic mistakes: images that a model gets wrong, to be edited to their true classes (section 4.3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.dataset import Dataset, Split
from benchmarks.errors import InputError
from benchmarks.parts import activations
from benchmarks.seeds import generator


@dataclass(frozen=True, eq=False)
class Candidates:
    """Images that a model may get wrong.

    :ivar images: with their true classes.
    :ivar sources: int64 ``(N,)``, which original each was made from; copies of one original have the same number.
    """

    images: Split
    sources: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def select(self, chosen: Tensor) -> Candidates:
        """Those at positions ``(M,)``, or where a mask ``(N,)`` is true."""
        return Candidates(self.images.select(chosen), self.sources[chosen])


def mistakes(model: nn.Module, dataset: Dataset, candidates: Candidates) -> Candidates:
    """The candidates that ``model`` gets wrong, in their order.

    :param dataset: what the model was trained on, which says how inputs are normalised.
    :raises InputError: if there are none.
    """
    device = next(model.parameters()).device
    logits = activations(model, dataset.inputs(candidates.images.images.to(device)))
    wrong = logits.argmax(dim=1).cpu() != candidates.images.labels
    if not wrong.any():
        raise InputError(f"the model gets none of {len(candidates)} candidates wrong: shift them further")
    return candidates.select(wrong)


def divide(found: Candidates, evaluation_size: int, *axes: str | int) -> tuple[Candidates, Candidates]:
    """``(for training, for evaluation)``: no original has copies in both; ``evaluation_size`` in the second.

    Originals are drawn until they have enough copies; of the last one, only as many as are needed are taken, and the
    others left out. The draw depends on ``axes``.

    :raises InputError: for a size that leaves nothing for training.
    """
    originals, place = found.sources.unique(return_inverse=True)
    order = torch.randperm(len(originals), generator=generator(*axes, "divide"))
    turn = torch.empty_like(order)
    turn[order] = torch.arange(len(order))
    by_turn = turn[place].sort(stable=True).indices
    chosen = by_turn[:evaluation_size]
    taken = torch.isin(found.sources, found.sources[chosen])
    if isinstance(evaluation_size, bool) or evaluation_size < 1 or bool(taken.all()):
        raise InputError(
            f"the number of mistakes to evaluate on must be >= 1 and leave some of {len(found)} for training, "
            f"not {evaluation_size!r}"
        )
    return found.select(~taken), found.select(chosen.sort().values)
