"""One pass through the training images, which can be left after any step and gone on with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from baselines import precision
from baselines.meters import Counted
from baselines.objectives import Losses, Objective, Step
from benchmarks.data.dataset import Dataset, Split
from benchmarks.errors import InputError
from benchmarks.seeds import generator, seed


class Pass(Counted):
    """``images`` in ``steps`` batches of augmented images, in an order that ``axes`` decide, and the sums so far.

    :param axes: what everything random depends on, the epoch included.
    :param cutout: side of the square that is cut out of every image, see :func:`cut_out`; None for no square.
    :param memory_format: that of the batches.
    :ivar steps: those of the whole pass.
    """

    def __init__(
        self,
        dataset: Dataset,
        images: Split,
        steps: int,
        axes: tuple[str | int, ...],
        state: Mapping[str, Any] | None = None,
        *,
        cutout: int | None = None,
        memory_format: torch.memory_format = torch.preserve_format,
    ) -> None:
        self._dataset, self._images, self._axes = dataset, images, axes
        self._cutout, self._memory_format = cutout, memory_format
        self._source = generator(*axes, "batches")
        # Of equal size, up to one image: a single image left over has no batch statistics.
        self._batches = torch.randperm(len(images), generator=self._source).tensor_split(steps)
        super().__init__(state)
        self.steps, self._wrong = steps, state["wrong"] if state else 0
        if state:
            self._source.set_state(state["draws"])

    def batches(self) -> Iterator[Step]:
        """Those that are left. Each is drawn when it is asked for, so :meth:`state` belongs to the last one."""
        for number in range(self.done, self.steps):
            batch = self._images.select(self._batches[number].to(self._images.labels.device))
            augmented = self._dataset.augmentation.apply(batch.images, self._source)
            inputs = self._dataset.inputs(augmented)
            if self._cutout is not None:
                inputs = cut_out(inputs, self._cutout, self._source)
            inputs = inputs.to(memory_format=self._memory_format)
            yield Step(inputs, batch.labels, seed(*self._axes, "step", number))

    def add(self, step: Step, losses: Losses) -> None:
        """Count a step that was made, by its images.

        :raises FloatingPointError: naming the step, if its loss is not a number.
        """
        self.count(len(step.labels), losses.total, losses.parts)
        self._wrong += int((losses.logits.detach().argmax(dim=1) != step.labels).sum())

    def state(self) -> dict[str, Any]:
        """What it takes to go on after the steps made so far, in types that a checkpoint may hold."""
        return {**super().state(), "wrong": self._wrong, "draws": self._source.get_state()}

    @property
    def error(self) -> float:
        """Of the images so far, in percent."""
        return 100.0 * self._wrong / self._weight


def cut_out(inputs: Tensor, side: int, source: torch.Generator) -> Tensor:
    """Normalised images ``(N, C, H, W)``, each with a square of zeros, their mean, at a place drawn uniformly.

    After DeVries & Taylor 2017, but the whole square lies in the image.

    :raises InputError: for a square that is larger than the images.
    """
    height, width = inputs.shape[2:]
    if side > min(height, width):
        raise InputError(f"cutout must be at most {min(height, width)}, the side of the images, not {side}")
    top, left = (
        torch.randint(length - side + 1, (len(inputs), 1), generator=source).to(inputs.device)
        for length in (height, width)
    )
    rows, columns = (torch.arange(length, device=inputs.device) for length in (height, width))
    in_rows, in_columns = (rows >= top) & (rows < top + side), (columns >= left) & (columns < left + side)
    return inputs.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0.0)


def run(
    passed: Pass,
    model: nn.Module,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    clip_norm: float | None,
    mixed_precision: bool,
    on_step: Callable[[], None],
) -> None:
    """Train ``model`` on the batches that are left.

    :param on_step: called after every step.
    :raises FloatingPointError: naming the step, if the loss stops being a number.
    """
    model.train()
    for step in passed.batches():
        optimizer.zero_grad(set_to_none=True)
        with precision.mixed(step.inputs.device, mixed_precision):
            losses = objective(model, step)
        losses.total.backward()
        if clip_norm is not None:
            trained = [value for group in optimizer.param_groups for value in group["params"]]
            nn.utils.clip_grad_norm_(trained, clip_norm)
        optimizer.step()
        scheduler.step()
        passed.add(step, losses)
        on_step()
