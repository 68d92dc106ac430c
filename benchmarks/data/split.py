"""Fixed splits of labelled data in which every class keeps its share."""

import torch
from torch import Tensor

from benchmarks.errors import InputError
from benchmarks.seeds import seed


def hold_out(labels: Tensor, size: int, *axes: str | int, option: str) -> tuple[Tensor, Tensor]:
    """Split positions into ``(kept, held_out)``, both int64 and ascending, ``held_out`` of length ``size``.

    :param labels: ``(N,)``; every class keeps its share up to rounding.
    :param axes: what the draw depends on, beside the labels (see :func:`benchmarks.seeds.seed`).
    :param option: the name of ``size`` for a user.
    :raises InputError: naming ``option``, for a size outside C to N - C (C classes), and a class of a single image.
    """
    from sklearn.model_selection import train_test_split  # takes a second: only for whoever makes a dataset

    classes, counts = labels.unique(return_counts=True)
    low, high = len(classes), len(labels) - len(classes)
    if type(size) is not int or not low <= size <= high:
        raise InputError(f"{option} must be an integer from {low} to {high}, found {size!r}")
    if counts.min() < 2:
        lonely = int(classes[counts.argmin()])
        raise InputError(f"{option}: a split by class needs 2 images of each at least, class {lonely} has 1")
    kept, held_out = train_test_split(
        torch.arange(len(labels)).numpy(),
        test_size=size,
        stratify=labels.numpy(),
        random_state=seed(*axes) % 2**32,  # the largest seed that numpy takes
    )
    return torch.from_numpy(kept).sort().values, torch.from_numpy(held_out).sort().values
