"""The base of editors that solve for the last linear layer, behind which nothing follows."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editors.base import EditResult, Layers, holds
from editors.constraints import Predicts
from editors.covariance import Layer, last_linear
from editors.errors import EditError
from editors.gradient_free import AnswerEditor, checked
from editors.hooks import observe

_SLACK = 32  # times a logit's rounding error: by so much the answers of other batches may differ


@dataclass(frozen=True, kw_only=True)
class LastLayerEditor(AnswerEditor):
    """An editor that finds the change of the last layer at once; what is stored, in the layer's dtype, satisfies l_e.

    One step, or none if ``max_steps`` is 0.
    """

    @abstractmethod
    def change(self, layer: Layer, rows: Tensor, logits: Tensor, labels: Tensor, margin: float) -> Tensor | None:
        """ΔW ``(C, d)``, with the bias as its last column if that is edited; None if nothing does what is asked.

        :param rows: what reaches the layer ``(N, d)``, a 1 at the end for the bias; ``logits (N, C)``, ``labels (N,)``.
        :param margin: by how much each label must be above all other classes.
        """

    def answer(self, model: nn.Module, inputs: Tensor, constraint: Predicts, layers: Layers) -> EditResult:
        layer = last_linear(model, layers)
        rows, outputs = self._last(model, layer, inputs)
        loss, weight = checked(constraint, outputs), layer.joined()
        if loss <= 0 or self.max_steps == 0:
            return EditResult(model, layer.named(weight), holds(loss), 0, loss)
        labels = constraint.labels.to(outputs.device).expand(len(outputs))
        slack = _SLACK * torch.finfo(outputs.dtype).eps * float(outputs.abs().max())
        change = self.change(layer, rows, outputs, labels, constraint.margin + slack)
        if change is not None:
            weight = (weight.double() + change.to(weight.device)).to(weight.dtype)
            loss = constraint(F.linear(rows, weight))
        return EditResult(model, layer.named(weight), holds(loss), 1, loss)

    def _last(self, model: nn.Module, layer: Layer, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The last layer's inputs, ``(N, d)`` with a 1 for an edited bias, and the model's outputs ``(N, C)``."""
        given, made, outputs = observe(model, layer.module, inputs)
        if len(made) != 1 or made[0] is not outputs or outputs.dim() != 2:
            raise EditError(
                f"{type(self).__name__} edits a linear layer whose outputs are the model's; "
                f"{layer.weight!r} is not of one"
            )
        return layer.rows(given[0]).T, outputs
