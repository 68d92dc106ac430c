"""Flipping labels of nearest neighbours: the edit of a model that answers by their votes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from editors.base import Edit, EditResult, Layers, holds
from editors.constraints import Predicts
from editors.errors import EditError
from editors.forward import outputs_of
from editors.gradient_free import AnswerEditor, checked
from editors.hooks import observe
from editors.registry import register
from editors.selection import editable_parameters
from editors.voting import Votes, one_hot, tally


@register("flip_labels")
@dataclass(frozen=True, kw_only=True)
class FlipLabels(AnswerEditor):
    """Give the edited input's nearest neighbours the wanted label, nearest first, until the prediction is the target.

    Source: Sinitsin et al., ICLR 2020, section 4.1 (Table 3); Papernot & McDaniel 2018

    For models that end in :class:`editors.voting.Votes`. One step is one flip; neighbours that have the label already
    cost none. An edit needs at most k flips, so ``max_steps`` should be k; the paper prints no number of steps.
    """

    max_steps: int = 100

    def answer(self, model: nn.Module, inputs: Tensor, constraint: Predicts, layers: Layers) -> LabelFlips:
        name, votes = _votes(model, layers)
        seen = observe(model, votes, inputs)
        loss = checked(constraint, seen.outputs)
        if len(inputs) != 1:
            raise EditError(f"flip_labels edits one input at a time, not {len(inputs)}")
        label = int(constraint.labels)
        positions, distances = seen.given[0][0, 0].long(), seen.given[0][0, 1]
        cast = votes.cast[positions]
        wanted = one_hot(constraint.labels.reshape(()).to(cast.device), cast.shape[1]).to(cast)
        others = (cast.argmax(dim=1) != label).nonzero().flatten()[: self.max_steps]
        flipped = 0
        while loss > 0 and flipped < len(others):
            cast[others[flipped]] = wanted
            flipped += 1
            loss = constraint(tally(cast, distances).unsqueeze(0))
        return LabelFlips(model, name, positions[others[:flipped]], label, holds(loss), flipped, loss)


@dataclass(frozen=True, eq=False)
class LabelFlips(Edit):
    """An edit that gave the examples at ``flipped (F,)`` another ``label``; it holds nothing else of its own.

    :ivar votes: name of the votes among the model's parameters.
    :ivar steps: F; 0 when the model already answered so.
    """

    model: nn.Module
    votes: str
    flipped: Tensor
    label: int
    succeeded: bool
    steps: int
    loss: Tensor

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """The votes with the flips, made anew each time."""
        cast = self.model.get_parameter(self.votes).detach().clone()
        cast[self.flipped] = one_hot(torch.tensor(self.label), cast.shape[1]).to(cast)
        return {self.votes: cast}

    def predict(self, inputs: Any) -> Any:
        return outputs_of(self.model, self.parameters, inputs)

    def apply(self, model: nn.Module) -> nn.Module:
        """A copy of ``model`` with the labels flipped for good."""
        return EditResult(self.model, self.parameters, self.succeeded, self.steps, self.loss).apply(model)


def _votes(model: nn.Module, layers: Layers) -> tuple[str, Votes]:
    selected = editable_parameters(model, layers)
    for name, module in model.named_modules():
        if isinstance(module, Votes):
            parameter = f"{name}.cast" if name else "cast"
            if parameter not in selected:
                raise EditError(f"layers {layers!r} hold no votes to flip; they are in {name!r}")
            return parameter, module
    raise EditError(f"flip_labels edits models that end in editors.voting.Votes, which {type(model).__name__} does not")
