"""The condition vector of Editable+CNP: an encoder that was trained for it makes the edit, no weight changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from editors.base import Constraint, Edit, Editor, Layers, holds
from editors.constraints import Predicts
from editors.descent import refuse_unusable
from editors.errors import EditError
from editors.forward import copied, evaluation_mode, outputs_of
from editors.hooks import observe
from editors.hyperparameters import check_steps
from editors.registry import register
from editors.selection import editable_parameters

PART = "condition"
"""Name of the submodule that adds its buffer ``vector`` to its input, and has ``encode(input, labels) -> vector``.

A new vector has the channels of the one in its place, and may have more places.
"""


@dataclass(frozen=True, eq=False)
class ConditionEdit(Edit):
    """A condition vector for one model.

    ``steps`` is always 0: the encoder takes no gradient steps. What tells a model that answers as before is
    ``unchanged``: the constraint held already, and the vector is the model's own.

    :ivar name: the buffer that ``vector`` replaces.
    """

    model: nn.Module
    name: str
    vector: Tensor
    succeeded: bool
    loss: Tensor
    same: bool
    steps: int = 0

    @property
    def unchanged(self) -> bool:
        return self.same

    def predict(self, inputs: Any) -> Any:
        """The model's outputs for ``inputs`` with the vector added, in evaluation mode."""
        return outputs_of(self.model, {self.name: self.vector}, inputs)

    def apply(self, model: nn.Module) -> nn.Module:
        """A new module: a copy of ``model`` with the vector in place; ``model`` stays as it is."""
        with torch.inference_mode(False), torch.no_grad():
            patched = copied(model)
            slots = dict(patched.named_buffers())
            if self.name not in slots or len(slots[self.name]) != len(self.vector):
                raise EditError(f"the model to patch has no {self.name!r} of {len(self.vector)} channels")
            owner, _, name = self.name.rpartition(".")
            setattr(patched.get_submodule(owner), name, self.vector.to(slots[self.name], copy=True))
        return patched


@register("condition_vector")
@dataclass(frozen=True, kw_only=True)
class ConditionVector(Editor):
    """One pass of a trained encoder over the edited sample makes the vector that is added for all later inputs.

    The encoder belongs to the model, not to ``layers``; these only have to come before it, or hold it. As for every
    editor, nothing happens where the constraint holds already.

    Source: Sinitsin et al., ICLR 2020, section 4.1 (Editable+CNP); Garnelo et al. 2018

    :ivar max_steps: 0 only checks the constraint; more than one encoding there never is.
    """

    takes_gradient_steps: ClassVar[bool] = False

    max_steps: int = 1

    def __post_init__(self) -> None:
        check_steps(self.max_steps)

    def edit(
        self,
        model: nn.Module,
        inputs: Any,
        constraint: Constraint,
        layers: Layers = None,
        differentiable: bool = False,
    ) -> ConditionEdit:
        """See :class:`Editor`; the wanted labels are those of the constraint.

        :raises EditError: for a model without an encoder, or a constraint other than ``predicts(...)``.
        """
        editable_parameters(model, layers)
        prefix, condition = _find(model, layers)
        if not isinstance(constraint, Predicts):
            raise EditError(f"the constraint must be constraints.predicts(...), which has labels, not {constraint!r}")
        name = f"{prefix}.vector" if prefix else "vector"
        with torch.inference_mode(False), torch.set_grad_enabled(differentiable), evaluation_mode(model):
            seen = observe(model, condition, inputs)
            loss = constraint(seen.outputs)
            refuse_unusable([float(loss)], ["the request"])
            vector = condition.vector
            changes = self.max_steps > 0 and not holds(loss)
            if changes:
                activations = seen.given[0]
                vector = condition.encode(activations, constraint.labels.to(activations.device))
                loss = constraint(outputs_of(model, {name: vector}, inputs))
        if not differentiable:
            vector, loss = vector.detach(), loss.detach()
        return ConditionEdit(model, name, vector, holds(loss), loss, same=not changes)


def _find(model: nn.Module, layers: Layers) -> tuple[str, nn.Module]:
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == PART and hasattr(module, "encode") and hasattr(module, "vector"):
            return name, module
    raise EditError(f"the model has no part {PART!r} with an encoder, or layers {layers!r} come after it")
