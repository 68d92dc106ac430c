"""A lookup cache: the workaround that stores the mistake and answers it from memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from editors.answers import AnswerEditor, checked
from editors.constraints import Predicts
from editors.contract import Edit, EditError, Layers, call, copied_buffers, evaluation_mode
from editors.hyperparameters import POSITIVE, hyperparameter
from editors.nearest_key import nearest_key
from editors.registry import register
from editors.selection import select_parameters


@register("lookup_cache")
@dataclass(frozen=True, kw_only=True)
class LookupCache(AnswerEditor):
    """Inputs within a relative distance ε of the edited one are answered with the target; all others as before.

    Source: Sinitsin et al., ICLR 2020, section 1 (named as a workaround, never measured)

    The key is what the model takes: activations where the model begins with the edited part, else the images. The
    distance is ``‖x − key‖ / ‖key‖``. A hit swaps the logits of the model's answer and of the target, so it is as sure
    of the target as the model was of its own answer. Storing one request is one step.
    """

    epsilon: float | Tensor = hyperparameter(0.1, low=1e-3, high=1.0, log=True, domain=POSITIVE)

    def answer(self, model: nn.Module, inputs: Tensor, constraint: Predicts, layers: Layers) -> CachedAnswer:
        select_parameters(model, layers)  # nothing of them changes, but an unknown layer is an error everywhere
        outputs = call(model, copied_buffers(model), inputs)
        loss = checked(constraint, outputs)
        if outputs.dim() != 2 or len(outputs) != len(inputs):
            raise EditError(f"lookup_cache needs one row of logits for each input, not shape {tuple(outputs.shape)}")
        keys = inputs.detach().flatten(1).clone()
        labels = constraint.labels.to(outputs.device).expand(len(keys)).clone()
        steps = int(bool(loss > 0) and self.max_steps > 0)
        edit = CachedAnswer(model, keys, labels, float(self.epsilon), bool(loss <= 0), steps, loss)
        if steps == 0:
            return edit
        after = constraint(edit.change(inputs, outputs))
        return CachedAnswer(model, keys, labels, float(self.epsilon), bool(after <= 0), steps, after)


@dataclass(frozen=True, eq=False)
class CachedAnswer(Edit):
    """An edit that stored ``keys (K, features)`` with their ``labels (K,)``.

    :ivar steps: 1, or 0 if nothing had to be stored.
    """

    model: nn.Module
    keys: Tensor
    labels: Tensor
    epsilon: float
    succeeded: bool
    steps: int
    loss: Tensor

    def predict(self, inputs: Any) -> Tensor:
        with evaluation_mode(self.model):
            outputs = call(self.model, {}, inputs)
        return outputs if self.unchanged else self.change(inputs, outputs)

    def change(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """The model's ``outputs (N, C)`` with the target on top where an input is near a key."""
        key, near = nearest_key(inputs.flatten(1), self.keys, self.epsilon)
        target = self.labels[key].unsqueeze(1)
        highest, answer = outputs.max(dim=1, keepdim=True)
        swapped = outputs.scatter(1, answer, outputs.gather(1, target)).scatter(1, target, highest)
        return torch.where(near.unsqueeze(1), swapped, outputs)
