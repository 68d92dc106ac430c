"""A lookup cache: the workaround that stores the mistake and answers it from memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from editors.base import Layers, holds
from editors.constraints import Predicts
from editors.errors import EditError
from editors.forward import outputs_of
from editors.gradient_free import AnswerEdit, AnswerEditor, checked, edit_in_place
from editors.hyperparameters import POSITIVE, hyperparameter
from editors.nearest_key import nearest_key
from editors.registry import register


@register("lookup_cache")
@dataclass(frozen=True, kw_only=True)
class LookupCache(AnswerEditor):
    """Inputs within a relative distance ε of the edited one are answered with the target; all others as before.

    Source: Sinitsin et al., ICLR 2020, section 1 (named as a workaround, never measured)

    The key is what the model takes: activations where the model begins with the edited part, else the images. The
    distance is ``‖x − key‖ / ‖key‖``. A hit swaps the logits of the model's answer and of the target, so it is as sure
    of the target as the model was of its own answer. Storing one request is one step. An edit of a model with a cache
    adds to it, and of several keys the nearest answers.
    """

    epsilon: float | Tensor = hyperparameter(0.1, low=1e-3, high=1.0, log=True, domain=POSITIVE, stronger="larger")

    def answer(self, model: nn.Module, inputs: Tensor, constraint: Predicts, layers: Layers) -> CachedAnswer:
        bare, earlier = edit_in_place(model, CachedAnswer)
        outputs = outputs_of(bare, {}, inputs)
        if outputs.dim() != 2 or len(outputs) != len(inputs):
            raise EditError(f"lookup_cache needs one row of logits for each input, not shape {tuple(outputs.shape)}")
        loss = checked(constraint, outputs if earlier is None else earlier.change(inputs, outputs))
        steps = int(bool(loss > 0) and self.max_steps > 0)
        keys = inputs.detach().flatten(1).clone()
        labels = constraint.labels.to(outputs.device).expand(len(keys)).clone()
        stored = (keys, labels) if steps else (keys[:0], labels[:0])
        if earlier is not None:  # new ones first: of two keys at the same place, the new one answers
            stored = tuple(torch.cat(pair) for pair in zip(stored, (earlier.keys, earlier.labels), strict=True))
        edit = CachedAnswer(bare, *stored, float(self.epsilon), holds(loss), steps, loss)
        if steps == 0:
            return edit
        after = constraint(edit.change(inputs, outputs))
        return replace(edit, succeeded=holds(after), loss=after)


@dataclass(frozen=True, eq=False)
class CachedAnswer(AnswerEdit):
    """``keys (K, features)`` with their ``labels (K,)``, the newest first.

    :ivar steps: 1, or 0 if the latest edit had nothing to store.
    """

    keys: Tensor
    labels: Tensor
    epsilon: float
    succeeded: bool
    steps: int
    loss: Tensor

    def predict(self, inputs: Any) -> Tensor:
        return self.change(inputs, outputs_of(self.model, {}, inputs))

    def change(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """The model's ``outputs (N, C)`` with the target on top where an input is near a key."""
        if len(self.keys) == 0:
            return outputs
        key, near = nearest_key(inputs.flatten(1), self.keys, self.epsilon)
        target = self.labels[key].unsqueeze(1)
        highest, answer = outputs.max(dim=1, keepdim=True)
        swapped = outputs.scatter(1, answer, outputs.gather(1, target)).scatter(1, target, highest)
        return torch.where(near.unsqueeze(1), swapped, outputs)
