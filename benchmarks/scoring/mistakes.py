"""Realistic mistakes: images that a model gets wrong, to be edited to their true classes (section 4.3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.data.candidates import Candidates
from benchmarks.data.dataset import Dataset
from benchmarks.errors import InputError
from benchmarks.networks.model_split import activations
from benchmarks.networks.raw_images import Front
from benchmarks.scoring.ranks import rank_distribution, ranks
from benchmarks.seeds import generator


def mistakes(model: nn.Module, dataset: Dataset, candidates: Candidates) -> Candidates:
    """The candidates that ``model`` gets wrong, in their order.

    :param dataset: that the model was trained on; it normalises the inputs.
    :raises InputError: if there are none.
    """
    logits = activations(Front(dataset, model, model), candidates.images.images)
    wrong = logits.argmax(dim=1).cpu() != candidates.images.labels
    if not wrong.any():
        raise InputError(f"the model gets none of {len(candidates)} candidates wrong: shift them further")
    return candidates.select(wrong)


def divide(found: Candidates, evaluation_size: int, *axes: str | int) -> tuple[Candidates, Candidates]:
    """Divide mistakes into those for training and ``evaluation_size`` for evaluation: no original has copies in both.

    Of every original drawn for evaluation one copy, also drawn, is edited and the others are left out: intervals over
    edits take them to be independent of each other. The draw depends on ``axes``.

    :raises InputError: for a size that leaves nothing for training.
    """
    originals, place = found.sources.unique(return_inverse=True)
    if isinstance(evaluation_size, bool) or not 1 <= evaluation_size < len(originals):
        raise InputError(
            f"the number of mistakes to evaluate on must be >= 1 and leave some of {len(originals)} originals for "
            f"training, not {evaluation_size!r}"
        )
    source = generator(*axes, "divide")
    chosen = torch.randperm(len(originals), generator=source)[:evaluation_size]
    order = torch.randperm(len(found), generator=source)
    first = torch.full((len(originals),), len(found)).scatter_reduce(0, place, order, "amin")  # which copy comes first
    evaluated = torch.isin(place, chosen) & (order == first[place])
    return found.select(~torch.isin(place, chosen)), found.select(evaluated)


def ranks_of_mistakes(model: nn.Module, dataset: Dataset, found: Candidates) -> Tensor:
    """The number of classes that ``model`` holds for likelier than the true one, of each mistake: int64 ``(N,)``."""
    logits = activations(Front(dataset, model, model), found.images.images)
    return ranks(logits, found.images.labels.to(logits.device)).cpu()


def distribution_of_ranks(model: nn.Module, dataset: Dataset, found: Candidates) -> Tensor:
    """The probabilities ``(classes,)`` of the ranks of targets, see :func:`benchmarks.scoring.ranks.rank_distribution`.

    :param found: mistakes to train on, never those that are evaluated.
    """
    return rank_distribution(ranks_of_mistakes(model, dataset, found), len(dataset.classes))
