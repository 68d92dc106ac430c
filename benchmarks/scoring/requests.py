"""Edit requests as data: which image of a split is to be assigned to which label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.data.dataset import Split
from benchmarks.errors import InputError
from benchmarks.seeds import generator, seed


@dataclass(frozen=True)
class EditRequests:
    """A table of requests, one row an edit.

    :ivar images: int64 ``(E,)``, positions in the split.
    :ivar targets: int64 ``(E,)``, wanted labels.
    :ivar seeds: E seeds; each decides the augmentations and the control images of its edit.
    """

    images: torch.Tensor
    targets: torch.Tensor
    seeds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.seeds)


def draw_requests(split: Split, classes: int, count: int, *axes: str | int) -> EditRequests:
    """``count`` requests: images without replacement, labels uniform over all classes (section 4.1).

    About one in ``classes`` is trivial: the model already answers so. If there are more requests than images,
    every image is used before one is used again.

    :param axes: what the draw depends on, such as the suite's seed, the benchmark and the split.
    :raises InputError: if ``count`` is not positive.
    """
    if count < 1:
        raise InputError(f"the number of edits must be >= 1, not {count}")
    source = generator(*axes, "requests")
    rounds = -(-count // len(split))
    order = torch.cat([torch.randperm(len(split), generator=source) for _ in range(rounds)])
    targets = torch.randint(classes, (count,), generator=source)
    return EditRequests(order[:count], targets, tuple(seed(*axes, "request", number) for number in range(count)))


def corrections(images: Split, *axes: str | int) -> EditRequests:
    """One request for each of ``images``, in their order: its true class (section 4.3.1).

    :param axes: what the requests' seeds depend on.
    """
    numbers = range(len(images))
    return EditRequests(torch.arange(len(images)), images.labels, tuple(seed(*axes, "mistake", one) for one in numbers))


def control_images(size: int, subset: int | None, request_seed: int) -> torch.Tensor | None:
    """Positions of one request's control images: a fresh ``subset``, or None for all ``size`` of them.

    A subset of its own for every edit, because one small subset shared by all edits makes their average no
    better than that subset. It depends on the request alone, so two editors are compared on the same images.
    """
    if subset is None or subset >= size:
        return None
    source = np.random.default_rng(seed(request_seed, "control"))
    return torch.from_numpy(np.sort(source.choice(size, subset, replace=False)))
