"""A codebook of features: near a stored key, the last layer is given the stored value instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from editors.base import Layers, holds
from editors.constraints import Predicts
from editors.covariance import last_linear
from editors.errors import EditError
from editors.forward import outputs_of, usable
from editors.gradient_free import AnswerEdit, AnswerEditor, checked, edit_in_place
from editors.hyperparameters import POSITIVE, hyperparameter
from editors.nearest_key import nearest_key
from editors.registry import register

_OVERSHOOT = 1.05  # of Polyak's step, which replaces GRACE's learning rate


@register("grace")
@dataclass(frozen=True, kw_only=True)
class Grace(AnswerEditor):
    """Inputs with features within a relative radius ε of a key are answered from its value; all others as before.

    Source: Hartvigsen et al., NeurIPS 2023 (arXiv 2022)

    Features are what reaches the last linear layer of ``layers``: of a classifier, its pooled features. The key is the
    edited input's; its value starts from what the layer was given for it so far and follows the gradient of l_e, in at
    most ``max_steps`` steps of Polyak's length. An edit of a model with a codebook adds to it, and of several keys the
    nearest answers. Different from the source: the radius is ε ‖key‖, the same for all keys, and so never split.
    """

    takes_gradient_steps: ClassVar[bool] = True

    epsilon: float | Tensor = hyperparameter(0.3, low=1e-2, high=2.0, log=True, domain=POSITIVE, stronger="larger")

    def answer(self, model: nn.Module, inputs: Tensor, constraint: Predicts, layers: Layers) -> Codebook:
        name = last_linear(model, layers).weight.rpartition(".")[0]
        bare, earlier = edit_in_place(model, Codebook)
        if earlier is not None and earlier.layer != name:
            bare, earlier = model, None
        held = (*bare.named_parameters(), *bare.named_buffers())
        fixed = usable({key: value for key, value in held if value.is_inference()})
        reaching: list[Tensor] = []
        _with_features(bare, name, lambda features: reaching.append(features) or features, inputs)
        (keys,) = reaching
        values = keys.clone() if earlier is None else earlier.change(keys)

        def outputs(given: Tensor) -> Tensor:
            return _with_features(bare, name, lambda features: given, inputs, fixed)

        loss, steps = checked(constraint, outputs(values)), 0
        while loss > 0 and steps < self.max_steps:
            with torch.enable_grad():
                leaf = values.requires_grad_()
                distance = constraint(outputs(leaf))
                (gradient,) = torch.autograd.grad(distance, leaf)
            length = _OVERSHOOT * distance.detach() / gradient.square().sum().clamp(min=torch.finfo(values.dtype).tiny)
            values, steps = (values - length * gradient).detach(), steps + 1
            loss = constraint(outputs(values))
        stored = (keys, values) if steps else (keys[:0], values[:0])
        if earlier is not None:  # new ones first: of two keys at the same place, the new one answers
            stored = tuple(torch.cat(pair) for pair in zip(stored, (earlier.keys, earlier.values), strict=True))
        return Codebook(bare, name, *stored, float(self.epsilon), holds(loss), steps, loss)


@dataclass(frozen=True, eq=False)
class Codebook(AnswerEdit):
    """``keys (K, d)`` with ``values (K, d)`` for the features that reach the module ``layer``, the newest first.

    :ivar steps: of the latest edit; 0 if it had nothing to add.
    """

    layer: str
    keys: Tensor
    values: Tensor
    epsilon: float
    succeeded: bool
    steps: int
    loss: Tensor

    def predict(self, inputs: Any) -> Tensor:
        return _with_features(self.model, self.layer, self.change, inputs)

    def change(self, features: Tensor) -> Tensor:
        """``features (N, d)`` with the value of the nearest key where that is near enough."""
        if len(self.keys) == 0:
            return features
        key, near = nearest_key(features, self.keys, self.epsilon)
        return torch.where(near.unsqueeze(1), self.values[key], features)


def _with_features(
    model: nn.Module,
    layer: str,
    change: Callable[[Tensor], Tensor],
    inputs: Any,
    replaced: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """The outputs for ``inputs``, in evaluation mode, when ``layer`` is given ``change(features)``, both ``(N, d)``."""

    def replace(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
        if given[0].dim() != 2:
            raise EditError(f"grace needs one row of features for each input, not shape {tuple(given[0].shape)}")
        return (change(given[0]),)

    hook = model.get_submodule(layer).register_forward_pre_hook(replace)
    try:
        return outputs_of(model, replaced or {}, inputs)
    finally:
        hook.remove()
