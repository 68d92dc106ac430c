"""Edit requests as data: the image of a split, the label it is to be assigned to, and what is asked besides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

import editors
from benchmarks.data.augmentation import Augmentation
from benchmarks.data.dataset import Split
from benchmarks.errors import InputError
from benchmarks.seeds import generator, seed
from editors.base import holds


@dataclass(frozen=True)
class EditRequests:
    """A table of edit requests, one row an edit.

    :ivar images: int64 ``(E,)``, positions in the split.
    :ivar targets: int64 ``(E,)``, wanted labels.
    :ivar seeds: E seeds; each decides the augmentations and the control images of its edit.
    """

    images: Tensor
    targets: Tensor
    seeds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.seeds)


def draw_requests(split: Split, classes: int, count: int, *axes: str | int) -> EditRequests:
    """Draw ``count`` requests: images without replacement, labels uniform over all classes (section 4.1).

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


@dataclass(frozen=True)
class Demand:
    """Further demands on an edit, beside the target for its image; none of them changes what counts as success.

    :ivar views: augmented copies of the edited image that must get the target too; None for none.
    :ivar margin: of the target's logit above all others.
    """

    views: int | None = None
    margin: float = 0.0

    def request(
        self,
        image: Tensor,
        features: Tensor,
        target: int | Tensor,
        augmentation: Augmentation,
        seed: int,
        inputs: Callable[[Tensor], Tensor],
    ) -> editors.Request:
        """The request to edit one image.

        :param image: raw, ``(1, C, H, W)``; ``features`` are the model's input for it, ``(1, ...)``.
        :param seed: decides the views.
        :param inputs: makes the model's inputs from raw images.
        """
        request = editors.Request(features, editors.constraints.predicts(target, self.margin))
        if self.views is None:
            return request
        augment = partial(augmentation.apply, generator=generator(seed, "views to edit"))
        request = editors.views.with_views(request._replace(inputs=image), augment, self.views)
        return request._replace(inputs=inputs(request.inputs))

    def judged(self, edit: editors.Edit, features: Tensor, target: int | Tensor) -> editors.Edit:
        """The edit, judged by the constraint of section 3 alone if it failed to do what more was asked of it."""
        if edit.succeeded or (self.views is None and self.margin == 0):
            return edit
        with torch.no_grad():
            loss = editors.constraints.predicts(target)(edit.predict(features))
        return replace(edit, succeeded=holds(loss), loss=loss)


NOTHING_MORE = Demand()
