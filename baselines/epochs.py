"""One pass through the training images, which can be left after any step and gone on with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from baselines.objectives import Losses, Objective, Step
from benchmarks.dataset import Dataset, Split
from benchmarks.seeds import generator, seed


class Pass:
    """``images`` in ``steps`` batches of augmented images, in an order that ``axes`` decide, and the sums so far.

    :param axes: what everything random depends on, the epoch included.
    :param state: what :meth:`state` gave in the middle of the same pass, to go on from there.
    :ivar done: steps made so far.
    """

    def __init__(
        self,
        dataset: Dataset,
        images: Split,
        steps: int,
        axes: tuple[str | int, ...],
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._dataset, self._images, self._axes = dataset, images, axes
        self._source = generator(*axes, "batches")
        # Of equal size, up to one image: a single image left over has no batch statistics.
        self._batches = torch.randperm(len(images), generator=self._source).tensor_split(steps)
        self.done, self._loss, self._wrong, self._count = 0, 0.0, 0, 0
        self._parts: dict[str, float] = {}
        if state is not None:
            self.done, self._loss, self._wrong, self._count = (state[name] for name in ("done", *_SUMS))
            self._parts = dict(state["parts"])
            self._source.set_state(state["draws"])

    def batches(self) -> Iterator[Step]:
        """Those that are left. Each is drawn when it is asked for, so :meth:`state` belongs to the last one."""
        for number in range(self.done, len(self._batches)):
            batch = self._images.select(self._batches[number].to(self._images.labels.device))
            augmented = self._dataset.augmentation.apply(batch.images, self._source)
            yield Step(self._dataset.inputs(augmented), batch.labels, seed(*self._axes, "step", number))

    def add(self, step: Step, losses: Losses) -> None:
        """Count a step that was made.

        :raises FloatingPointError: naming the step, if its loss is not a number.
        """
        self.done += 1
        loss = float(losses.total.detach())  # waits for a GPU, so only once all work of the step is on its way
        if not math.isfinite(loss):
            raise FloatingPointError(f"the training loss became {loss} at step {self.done}")
        count = len(step.labels)
        self._loss += loss * count
        self._wrong += int((losses.logits.detach().argmax(dim=1) != step.labels).sum())
        self._count += count
        for name, value in losses.parts.items():
            self._parts[name] = self._parts.get(name, 0.0) + float(value.detach()) * count

    def state(self) -> dict[str, Any]:
        """What it takes to go on after the steps made so far, in types that a checkpoint may hold."""
        sums = dict(zip(_SUMS, (self._loss, self._wrong, self._count), strict=True))
        return {"done": self.done, **sums, "parts": self._parts, "draws": self._source.get_state()}

    def means(self) -> tuple[float, float, dict[str, float]]:
        """Mean loss in nats, error in percent and means of what else the objective logs."""
        parts = {name: value / self._count for name, value in self._parts.items()}
        return self._loss / self._count, 100.0 * self._wrong / self._count, parts


_SUMS = ("loss", "wrong", "count")


def run(
    passed: Pass,
    model: nn.Module,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    clip_norm: float | None,
    on_step: Callable[[int], None],
) -> None:
    """Train ``model`` on the batches that are left.

    :param on_step: called after every step with the number of steps made in this pass.
    :raises FloatingPointError: naming the step, if the loss stops being a number.
    """
    model.train()
    for step in passed.batches():
        optimizer.zero_grad(set_to_none=True)
        losses = objective(model, step)
        losses.total.backward()
        if clip_norm is not None:
            trained = [value for group in optimizer.param_groups for value in group["params"]]
            nn.utils.clip_grad_norm_(trained, clip_norm)
        optimizer.step()
        scheduler.step()
        passed.add(step, losses)
        on_step(passed.done)
