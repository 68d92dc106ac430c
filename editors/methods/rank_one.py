"""A rank-one change of the last layer in closed form."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editors.base import EditResult, Layers, check_statistics, holds, uninformed
from editors.constraints import Predicts
from editors.covariance import EXAMPLES, Covariances, Layer, Stiffness, covariances, last_linear
from editors.errors import EditError
from editors.gradient_free import AnswerEditor, checked
from editors.hooks import observe
from editors.hyperparameters import hyperparameter
from editors.registry import register

_SLACK = 32  # times a logit's rounding error: by so much the answers of other batches may differ


@register("rank_one")
@dataclass(frozen=True, kw_only=True)
class RankOne(AnswerEditor):
    """ΔW = δ (A⁻¹h)ᵀ / hᵀA⁻¹h: of all changes of the last layer that satisfy l_e ≤ 0, the smallest in E ‖ΔW h‖².

    Source: ROME (Meng et al., NeurIPS 2022), there inside a network; here δ is exact, as nothing follows the layer

    h is what reaches the layer for the edited input, A its second moment on training data, damped as in ``covariance``.
    δ is the smallest change of the logits that lifts the label above all other classes: the runner-up and the label
    meet half-way, and of further classes those come down as well that would be above. One input takes one step; of
    several, each step mends the one that is violated most, and the sum need not be the smallest.

    :ivar stiffness: from ``statistics``, through ``informed``.
    """

    damping: float | Tensor = hyperparameter(0.1, low=1e-4, high=10.0, log=True)
    stiffness: Stiffness | None = field(default=None, repr=False)

    @property
    def examples(self) -> int:
        return EXAMPLES

    def statistics(self, model: nn.Module, inputs: Tensor, labels: Tensor, layers: Layers) -> Covariances:
        layer = last_linear(model, layers)
        return covariances(model, inputs, [name for name in (layer.weight, layer.bias) if name])

    def informed(self, statistics: Covariances) -> RankOne:
        check_statistics(statistics, Covariances, "rank_one")
        return dataclasses.replace(self, stiffness=statistics.damped(self.damping) if statistics else None)

    def answer(self, model: nn.Module, inputs: Tensor, constraint: Predicts, layers: Layers) -> EditResult:
        layer = last_linear(model, layers)
        reaching, outputs = _last(model, layer, inputs)
        loss = checked(constraint, outputs)
        if self.stiffness is None:
            raise uninformed("rank_one", "to know the training data")
        keys = reaching @ self.stiffness.inverse(layer).to(reaching)
        keys = keys / (keys * reaching).sum(dim=1, keepdim=True)
        labels = constraint.labels.to(outputs.device).expand(len(outputs))
        margin = constraint.margin + _SLACK * torch.finfo(outputs.dtype).eps * float(outputs.abs().max())
        weight, steps = layer.joined(), 0
        while loss > 0 and steps < self.max_steps:
            # On the CPU: sums of floating-point numbers so far come in any order on a GPU.
            pairs = zip(outputs.cpu(), labels.cpu(), strict=True)
            shifts = torch.stack([lift(one, label, margin) for one, label in pairs])
            worst = int(shifts.square().sum(dim=1).argmax())
            weight, steps = weight + shifts[worst].to(weight.device).outer(keys[worst]), steps + 1
            outputs = F.linear(reaching, weight)
            loss = constraint(outputs)
        return EditResult(model, layer.named(weight), holds(loss), steps, loss)


def lift(logits: Tensor, label: Tensor, margin: float) -> Tensor:
    """The shortest δ ``(C,)`` with which ``label`` is ``margin`` above every other class of ``logits + δ``.

    The label rises to a level that the classes above it (less the margin) come down to: the mean of all of them.
    """
    wanted = torch.arange(len(logits), device=logits.device) == label
    rivals = (logits + margin)[~wanted].sort(descending=True).values
    counts = torch.arange(2, len(logits) + 1, device=logits.device)
    levels = (logits[label] + rivals.cumsum(dim=0)) / counts
    above = (rivals > levels).sum()
    level = levels[above - 1] if above else logits[label]
    return torch.where(wanted, level - logits, (level - logits - margin).clamp(max=0))


def _last(model: nn.Module, layer: Layer, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The last layer's inputs, ``(N, d)`` with a 1 for an edited bias, and the model's outputs ``(N, C)``."""
    given, made, outputs = observe(model, layer.module, inputs)
    if len(made) != 1 or made[0] is not outputs or outputs.dim() != 2:
        raise EditError(f"rank_one edits a linear layer whose outputs are the model's; {layer.weight!r} is not of one")
    return layer.rows(given[0]).T, outputs
