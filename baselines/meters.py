"""What a pass through the training data counts, classifiers' and translators' alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor


class Counted:
    """Steps made so far, and means of what they report, each step by its weight.

    :param state: what :meth:`state` gave in the middle of the same pass, to go on from there.
    :ivar done: steps made so far.
    """

    def __init__(self, state: Mapping[str, Any] | None) -> None:
        self.done, self._weight, self._loss = (state[name] for name in _SUMS) if state else (0, 0, 0.0)
        self._parts: dict[str, float] = dict(state["parts"]) if state else {}

    def count(self, weight: int, loss: Tensor, parts: Mapping[str, Tensor]) -> None:
        """Count a step that was made.

        :param parts: what else is logged.
        :raises FloatingPointError: naming the step, if its loss is not a number.
        """
        self.done += 1
        value = float(loss.detach())  # waits for a GPU, so only once all work of the step is on its way
        if not math.isfinite(value):
            raise FloatingPointError(f"the training loss became {value} at step {self.done}")
        self._loss, self._weight = self._loss + value * weight, self._weight + weight
        for name, part in parts.items():
            self._parts[name] = self._parts.get(name, 0.0) + float(part.detach()) * weight

    def state(self) -> dict[str, Any]:
        """What it takes to go on after the steps made so far, in types that a checkpoint may hold."""
        sums = dict(zip(_SUMS, (self.done, self._weight, self._loss), strict=True))
        return {**sums, "parts": dict(self._parts)}

    def means(self) -> tuple[float, dict[str, float]]:
        """Mean loss, and means of what else was logged."""
        return self._loss / self._weight, {name: total / self._weight for name, total in self._parts.items()}


_SUMS = ("done", "weight", "loss")
