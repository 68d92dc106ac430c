"""Editors that follow no gradient of the weights: what they share in keeping the contract."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from editors.constraints import Predicts
from editors.contract import Constraint, Edit, EditError, Editor, Layers, evaluation_mode
from editors.descent import refuse_nan
from editors.hyperparameters import check_steps


@dataclass(frozen=True, kw_only=True)
class AnswerEditor(Editor):
    """Change what a model answers without following a gradient of its weights.

    Such an editor must know the wanted label itself, so it takes ``editors.constraints.predicts(label)`` and no other
    constraint; and its edits have no derivative.

    :ivar max_steps: most changes an edit may make; 0 only checks the constraint.
    """

    max_steps: int = 10

    def __post_init__(self) -> None:
        check_steps(self.max_steps)

    def edit(
        self,
        model: nn.Module,
        inputs: Any,
        constraint: Constraint,
        layers: Layers = None,
        differentiable: bool = False,
    ) -> Edit:
        name = type(self).__name__
        if differentiable:
            raise EditError(f"{name} follows no gradient of the weights, so its edits are not differentiable")
        if not isinstance(constraint, Predicts):
            raise EditError(f"{name} needs the constraint predicts(label), which names the label, not {constraint!r}")
        if not isinstance(inputs, Tensor):
            raise EditError(f"{name} needs one tensor as input, not {type(inputs).__name__}")
        with torch.inference_mode(False), torch.no_grad(), evaluation_mode(model):
            return self.answer(model, inputs.clone() if inputs.is_inference() else inputs, constraint, layers)

    @abstractmethod
    def answer(self, model: nn.Module, inputs: Tensor, constraint: Predicts, layers: Layers) -> Edit:
        """The edit; ``model`` is in evaluation mode, gradients are off."""


def checked(constraint: Predicts, outputs: Tensor) -> Tensor:
    """``l_e ()`` before the first change.

    :raises EditError: if it is not a number, or for what the constraint refuses.
    """
    loss = constraint(outputs)
    refuse_nan(loss.reshape(1), ["the request"])
    return loss
