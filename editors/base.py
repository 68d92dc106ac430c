"""The contract between editors and everything that uses them: ``Editor``, ``Request`` and the resulting ``Edit``."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from editors.errors import EditError
from editors.forward import copied, outputs_of

Constraint = Callable[[Any], Tensor]
"""``constraint(outputs) -> l_e``: a scalar tensor, satisfied iff it is finite and ``l_e <= 0``."""

Layers = str | Sequence[str] | None
"""The parameters that may change: a module name, several, a glob, or None for the whole model."""


class Request(NamedTuple):
    """A mistake to correct: the inputs that the model gets wrong, and the constraint on its outputs for them.

    ``inputs`` is what the model takes: a tensor with a leading batch dimension, a tuple of positional arguments, or
    a mapping of keyword arguments.
    """

    inputs: Any
    constraint: Constraint


class Edit(ABC):
    """The result of one request. Methods that change no weights implement ``predict`` in their own way.

    :ivar succeeded: the constraint holds after the edit.
    :ivar steps: gradient steps taken; 0 when the model already satisfied the constraint.
    :ivar loss: ``l_e`` after the edit, a scalar tensor; it carries the graph if the edit was differentiable.
    """

    succeeded: bool
    steps: int
    loss: Tensor

    @property
    def unchanged(self) -> bool:
        """Whether the model certainly answers as before, so that nothing need be evaluated again."""
        return self.steps == 0

    @abstractmethod
    def predict(self, inputs: Any) -> Any:
        """The edited model's outputs for ``inputs``, in evaluation mode; model and inputs stay as they are.

        :raises EditError: if the model fails on these inputs.
        """

    def apply(self, model: nn.Module) -> nn.Module:
        """A new module that answers as this edit does and that the next edit can start from; ``model`` stays as it is.

        :param model: the one that was edited.
        :raises EditError: for edits that cannot be put in place, and models that cannot be copied.
        """
        raise EditError(f"{type(self).__name__} cannot be put in place of a model, so no edit can follow it")


@dataclass(frozen=True, eq=False)
class EditResult(Edit):
    """An edit that replaced some of a model's parameters.

    :ivar parameters: ``{name: changed tensor}``, only those that were allowed to change.
    """

    model: nn.Module
    parameters: Mapping[str, Tensor]
    succeeded: bool
    steps: int
    loss: Tensor

    def predict(self, inputs: Any) -> Any:
        """The edited model's outputs for ``inputs``, in evaluation mode, without copying the model."""
        return outputs_of(self.model, self.parameters, inputs)

    def apply(self, model: nn.Module) -> nn.Module:
        """A new module: a copy of ``model`` with the edited parameters in place; ``model`` stays as it is."""
        with torch.inference_mode(False), torch.no_grad():
            patched = copied(model)
            slots = dict(patched.named_parameters(remove_duplicate=False))
            for name, value in self.parameters.items():
                if name not in slots:
                    raise EditError(f"the model to patch has no parameter {name!r}; was another model edited?")
                if slots[name].shape != value.shape:
                    raise EditError(
                        f"parameter {name!r} of the model to patch has shape {tuple(slots[name].shape)}, "
                        f"the edit's has {tuple(value.shape)}"
                    )
                slots[name].copy_(value)
        return patched


class Editor(ABC):
    """Something that turns a model and a request into an :class:`Edit`, leaving the model bit-identical."""

    takes_gradient_steps: ClassVar[bool] = True
    """Whether :attr:`Edit.steps` counts steps along a gradient; if not, tables show a dash in their place."""

    needs_labels: ClassVar[bool] = True
    """Whether :meth:`statistics` looks at classes; if not, it also takes what has none, such as sentences."""

    @abstractmethod
    def edit(
        self,
        model: nn.Module,
        inputs: Any,
        constraint: Constraint,
        layers: Layers = None,
        differentiable: bool = False,
    ) -> Edit:
        """Change ``model``'s answer for ``inputs`` until ``constraint(outputs) <= 0``; both stay as they are.

        :param inputs: what the model takes (see :class:`Request`).
        :param layers: what may change: a module name, several, a glob, or None for everything.
        :param differentiable: keep the graph through every step, back to the model's parameters and to
            hyperparameters given as tensors.
        :raises EditError: for unknown layers, a model that cannot be edited, inputs that it fails on, or a loss that
            is infinite or no number before the first step.
        """

    def statistics(self, model: nn.Module, inputs: Any, labels: Tensor | None, layers: Layers) -> Any:
        """The knowledge of the training data that the method needs, computed once per model and part.

        :param inputs: training inputs as ``model`` takes them, ``(N, ...)``; without :attr:`needs_labels` also an
            iterable of the inputs of one example each (see :class:`Request`).
        :param labels: their classes ``(N,)``; None where there are none.
        :returns: something that :meth:`informed` takes; None if the method needs nothing.
        """
        return None

    @property
    def examples(self) -> int | None:
        """The number of training inputs that :meth:`statistics` looks at, see :func:`spread`; None for all."""
        return None

    @property
    def needs_statistics(self) -> bool:
        """Whether the method needs :meth:`statistics`."""
        return type(self).statistics is not Editor.statistics

    def informed(self, statistics: Any) -> Editor:
        """This editor with its :meth:`statistics`; one that needs none is returned as it is."""
        return self

    def remember(self, model: nn.Module, inputs: Any, layers: Layers) -> Editor:
        """This editor for the next of several edits in a row; by default it remembers nothing and stays as it is.

        What an edit stores belongs to the edited model (:meth:`Edit.apply`); this is for what the editor itself learns.

        :param model: as the edit left it; ``inputs`` those of the edit, ``layers`` those that it could change.
        """
        return self

    def edit_many(
        self,
        model: nn.Module,
        requests: Sequence[Request | tuple[Any, Constraint]],
        layers: Layers = None,
        differentiable: bool = False,
    ) -> list[Edit]:
        """Make independent edits, each of the original ``model``, in the order of ``requests``."""
        return [self.edit(model, *one, layers=layers, differentiable=differentiable) for one in checked_pairs(requests)]


def checked_pairs(requests: Sequence[Request | tuple[Any, Constraint]]) -> list[Request]:
    """The requests as named pairs.

    :raises EditError: for one that is no pair.
    """
    for number, one in enumerate(requests):
        if not isinstance(one, tuple | list) or len(one) != 2:
            raise EditError(f"request {number} must be a pair (inputs, constraint), not {type(one).__name__}")
    return [Request(*one) for one in requests]


def check_statistics(statistics: Any, kind: type, name: str) -> None:
    """Refuse what another editor found out.

    :param kind: of the statistics that the editor ``name`` takes.
    :raises EditError: for statistics of another kind; None, for none, is allowed.
    """
    if not isinstance(statistics, kind | None):
        raise EditError(
            f"{name} takes statistics of the kind {kind.__name__}, not {type(statistics).__name__}: "
            "use what its own statistics(model, inputs, labels, layers) returns"
        )


def spread(count: int, most: int | None) -> Tensor:
    """At most ``most`` of the numbers below ``count``, spread evenly; None for all."""
    if most is None or most >= count:
        return torch.arange(count)
    return torch.linspace(0, count - 1, most).round().long()


def holds(loss: float | Tensor) -> bool:
    """Whether a constraint of this ``l_e`` is satisfied: a number that is not infinite, and at most 0."""
    return -math.inf < float(loss) <= 0


def uninformed(name: str, needed: str) -> EditError:
    """The error of an editor that lacks its statistics.

    :param needed: what it needs, as the object of that verb.
    """
    return EditError(f"{name} needs {needed}: use editor.informed(editor.statistics(model, inputs, labels, layers))")
