"""The base of editors that follow no gradient of the weights, and of the edits that change no weight."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from editors.base import Constraint, Edit, Editor, Layers
from editors.constraints import Predicts
from editors.descent import refuse_unusable
from editors.errors import EditError
from editors.forward import copied, evaluation_mode, usable
from editors.hyperparameters import check_steps
from editors.selection import editable_parameters


@dataclass(frozen=True, kw_only=True)
class AnswerEditor(Editor):
    """An editor that changes a model's answers without following a gradient of its weights.

    Such an editor must know the wanted label itself, so it takes ``editors.constraints.predicts(label)`` and no other
    constraint; and its edits have no derivative.

    :ivar max_steps: most changes an edit may make; 0 only checks the constraint.
    """

    takes_gradient_steps: ClassVar[bool] = False

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
        editable_parameters(model, layers)  # what cannot be edited or is unknown is an error everywhere
        name = type(self).__name__
        if differentiable:
            raise EditError(f"{name} follows no gradient of the weights, so its edits are not differentiable")
        if not isinstance(constraint, Predicts):
            raise EditError(f"{name} needs the constraint predicts(label), which names the label, not {constraint!r}")
        if not isinstance(inputs, Tensor):
            raise EditError(f"{name} needs one tensor as input, not {type(inputs).__name__}")
        with torch.inference_mode(False), torch.no_grad(), evaluation_mode(model):
            return self.answer(model, usable(inputs), constraint, layers)

    @abstractmethod
    def answer(self, model: nn.Module, inputs: Tensor, constraint: Predicts, layers: Layers) -> Edit:
        """Make the edit; ``model`` is in evaluation mode, gradients are off."""


@dataclass(frozen=True, eq=False)
class AnswerEdit(Edit):
    """An edit that left every weight of ``model`` as it was and stores something else instead."""

    model: nn.Module

    def apply(self, model: nn.Module) -> Edited:
        """A new module that answers as this edit does; ``model`` is the one that was edited, and stays as it is."""
        bare, _ = edit_in_place(model, type(self))
        return Edited(replace(self, model=copied(bare)))


class Edited(nn.Module):
    """A model with an edit in place that changed none of its weights; its parts keep their names, for later edits."""

    def __init__(self, edit: AnswerEdit) -> None:
        super().__init__()
        self.edit = edit
        model = edit.model
        self._modules, self._parameters, self._buffers = model._modules, model._parameters, model._buffers
        self.training = model.training

    def forward(self, inputs: Any) -> Any:
        return self.edit.predict(inputs)


_Kind = TypeVar("_Kind", bound=AnswerEdit)


def edit_in_place(model: nn.Module, kind: type[_Kind]) -> tuple[nn.Module, _Kind | None]:
    """The model as it is without an edit of this ``kind``, and that edit; ``(model, None)`` where there is none.

    An editor that stores things adds to what is stored there, instead of putting one store in front of another.
    """
    if isinstance(model, Edited) and isinstance(model.edit, kind):
        return model.edit.model, model.edit
    return model, None


def checked(constraint: Predicts, outputs: Tensor) -> Tensor:
    """``l_e ()`` before the first change.

    :raises EditError: if it is infinite or no number, or for what the constraint refuses.
    """
    loss = constraint(outputs)
    refuse_unusable([float(loss)], ["the request"])
    return loss
