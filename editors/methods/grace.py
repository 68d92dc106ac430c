"""A codebook of features: near a stored key, the last layer is given the stored value instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from editors.answers import AnswerEditor, checked
from editors.constraints import Predicts
from editors.contract import Edit, EditError, Layers, call, copied_buffers, evaluation_mode
from editors.covariance import last_linear
from editors.hyperparameters import POSITIVE, hyperparameter
from editors.nearest_key import nearest_key
from editors.registry import register

_OVERSHOOT = 1.05  # of Polyak's step, which replaces GRACE's learning rate


@register("grace")
@dataclass(frozen=True, kw_only=True)
class Grace(AnswerEditor):
    """Inputs with features within a relative radius ε of a key are answered from its value; all others as before.

    Source: Hartvigsen et al., NeurIPS 2023 (arXiv 2022), with one edit in the codebook

    Features are what reaches the last linear layer of ``layers``: of a classifier, its pooled features. The key is the
    edited input's; its value starts there and follows the gradient of l_e, in at most ``max_steps`` steps of Polyak's
    length. Different from the source: the radius is ε ‖key‖, and as there is one edit, no radii are split or merged.
    """

    epsilon: float | Tensor = hyperparameter(0.3, low=1e-2, high=2.0, log=True, domain=POSITIVE)

    def answer(self, model: nn.Module, inputs: Tensor, constraint: Predicts, layers: Layers) -> Codebook:
        name = last_linear(model, layers).weight.rpartition(".")[0]
        keys: list[Tensor] = []
        outputs = _with_features(model, name, lambda features: keys.append(features) or features, inputs)
        loss, steps = checked(constraint, outputs), 0
        values = keys[0].clone()
        while loss > 0 and steps < self.max_steps:
            with torch.enable_grad():
                leaf = values.requires_grad_()
                distance = constraint(_with_features(model, name, lambda features, leaf=leaf: leaf, inputs))
                (gradient,) = torch.autograd.grad(distance, leaf)
            length = _OVERSHOOT * distance.detach() / gradient.square().sum().clamp(min=torch.finfo(values.dtype).tiny)
            values, steps = (values - length * gradient).detach(), steps + 1
            loss = constraint(_with_features(model, name, lambda features, given=values: given, inputs))
        return Codebook(model, name, keys[0], values, float(self.epsilon), bool(loss <= 0), steps, loss)


@dataclass(frozen=True, eq=False)
class Codebook(Edit):
    """An edit that stored ``keys (K, d)`` with ``values (K, d)`` for the features that reach the module ``layer``."""

    model: nn.Module
    layer: str
    keys: Tensor
    values: Tensor
    epsilon: float
    succeeded: bool
    steps: int
    loss: Tensor

    def predict(self, inputs: Any) -> Tensor:
        with evaluation_mode(self.model):
            return _with_features(self.model, self.layer, self.change, inputs)

    def change(self, features: Tensor) -> Tensor:
        """``features (N, d)`` with the value of the nearest key where that is near enough."""
        if self.unchanged:
            return features
        key, near = nearest_key(features, self.keys, self.epsilon)
        return torch.where(near.unsqueeze(1), self.values[key], features)


def _with_features(model: nn.Module, layer: str, change: Callable[[Tensor], Tensor], inputs: Any) -> Tensor:
    """The outputs for ``inputs`` when ``layer`` is given what ``change`` makes of its features ``(N, d)``."""

    def replace(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
        if given[0].dim() != 2:
            raise EditError(f"grace needs one row of features for each input, not shape {tuple(given[0].shape)}")
        return (change(given[0]),)

    hook = model.get_submodule(layer).register_forward_pre_hook(replace)
    try:
        return call(model, copied_buffers(model), inputs)
    finally:
        hook.remove()
