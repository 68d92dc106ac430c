"""What is asked of an edit beside the target for the image itself, and how the edit is judged all the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

import editors
from benchmarks.data.augmentation import Augmentation
from benchmarks.seeds import generator


@dataclass(frozen=True)
class Demand:
    """More than the target for the edited image. None of it changes what counts as success.

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
        """What is asked of the edit of one image.

        :param image: raw, ``(1, C, H, W)``; ``features`` what the model takes for it, ``(1, ...)``.
        :param seed: decides the views.
        :param inputs: what the model takes for raw images.
        """
        request = editors.Request(features, editors.constraints.predicts(target, self.margin))
        if self.views is None:
            return request
        augment = partial(augmentation.apply, generator=generator(seed, "views to edit"))
        request = editors.views.with_views(request._replace(inputs=image), augment, self.views)
        return request._replace(inputs=inputs(request.inputs))

    def judged(self, edit: editors.Edit, features: Tensor, target: int | Tensor) -> editors.Edit:
        """The edit, held to the constraint of section 3 if it failed to do what more was asked of it."""
        if edit.succeeded or (self.views is None and self.margin == 0):
            return edit
        with torch.no_grad():
            loss = editors.constraints.predicts(target)(edit.predict(features))
        return replace(edit, succeeded=bool(loss <= 0), loss=loss)
