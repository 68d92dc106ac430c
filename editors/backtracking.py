"""Backtracking: the smallest mixture of two sets of weights that satisfies a constraint, found by bisection."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from editors.base import (
    Constraint,
    Edit,
    EditError,
    Editor,
    EditResult,
    Layers,
    Request,
    checked_pairs,
    holds,
)
from editors.forward import outputs_of

_HALVINGS = 10  # to a thousandth of the way


class BisectionEditor(Editor):
    """An editor whose results are found by bisection, so that they have no derivative."""

    def edit(
        self,
        model: nn.Module,
        inputs: Any,
        constraint: Constraint,
        layers: Layers = None,
        differentiable: bool = False,
    ) -> Edit:
        return self.edit_many(model, [Request(inputs, constraint)], layers, differentiable)[0]

    def edit_many(
        self,
        model: nn.Module,
        requests: Sequence[Request | tuple[Any, Constraint]],
        layers: Layers = None,
        differentiable: bool = False,
    ) -> list[Edit]:
        if differentiable:
            name = type(self).__name__.lower()
            raise EditError(f"{name} searches for its result by bisection, so its edits are not differentiable")
        return self.bisected(model, checked_pairs(requests), layers)

    @abstractmethod
    def bisected(self, model: nn.Module, requests: list[Request], layers: Layers) -> list[Edit]:
        """Make independent edits, in the order of ``requests``."""


@dataclass(frozen=True)
class Backtracking(BisectionEditor):
    """An editor of parameters whose successful edits have their last update scaled back by bisection.

    The end is a point where the constraint was seen to hold, so an edit that succeeded still does; one that failed or
    took no step is left as it is. What came before the last update is found by editing again with one step fewer.

    :ivar editor: a registered editor, which has ``max_steps``.
    """

    editor: Editor

    def bisected(self, model: nn.Module, requests: list[Request], layers: Layers) -> list[Edit]:
        edits = self.editor.edit_many(model, requests, layers)
        found = list(edits)
        moved = [row for row, edit in enumerate(edits) if edit.succeeded and not edit.unchanged]
        if not all(isinstance(edits[row], EditResult) for row in moved):
            raise EditError(f"backtracking needs an editor of parameters, which {type(self.editor).__name__} is not")
        for steps in {edits[row].steps for row in moved}:
            rows = [row for row in moved if edits[row].steps == steps]
            shorter = dataclasses.replace(self.editor, max_steps=steps - 1)
            before = shorter.edit_many(model, [requests[row] for row in rows], layers)
            for row, start in zip(rows, before, strict=True):
                found[row] = mixed_back(edits[row], start.parameters, requests[row])
        return found

    @property
    def takes_gradient_steps(self) -> bool:  # type: ignore[override]  # that of the class it wraps
        return self.editor.takes_gradient_steps

    @property
    def needs_labels(self) -> bool:  # type: ignore[override]  # the same
        return self.editor.needs_labels

    @property
    def needs_statistics(self) -> bool:
        return self.editor.needs_statistics

    @property
    def examples(self) -> int | None:
        return self.editor.examples

    def statistics(self, model: nn.Module, inputs: Tensor, labels: Tensor, layers: Layers) -> Any:
        return self.editor.statistics(model, inputs, labels, layers)

    def informed(self, statistics: Any) -> Backtracking:
        return Backtracking(self.editor.informed(statistics))

    def remember(self, model: nn.Module, inputs: Any, layers: Layers) -> Backtracking:
        return Backtracking(self.editor.remember(model, inputs, layers))


def mixed_back(edit: EditResult, start: Mapping[str, Tensor], request: Request) -> EditResult:
    """``edit`` moved towards the parameters ``start`` until its constraint just holds; as it is if that never held.

    Bisection finds the place where it begins to hold if there is one only, else one of them.
    """
    if not edit.succeeded or edit.unchanged:
        return edit
    low, high, found = 0.0, 1.0, edit
    with torch.inference_mode(False), torch.no_grad():
        for _ in range(_HALVINGS):
            share = (low + high) / 2
            between = {name: start[name].detach().lerp(value, share) for name, value in edit.parameters.items()}
            loss = request.constraint(outputs_of(edit.model, between, request.inputs))
            if holds(loss):
                high, found = share, dataclasses.replace(edit, parameters=between, loss=loss)
            else:
                low = share
    return found
