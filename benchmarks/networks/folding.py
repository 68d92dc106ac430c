"""Batch normalisation folded into convolutions: a network in evaluation mode, in fewer operations."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn

from editors.base import Layers
from editors.selection import select_parameters

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_found: WeakKeyDictionary[nn.Module, dict[str, str]] = WeakKeyDictionary()


def fold(model: nn.Module, layers: Layers) -> nn.Module:
    """``model`` for evaluation mode, with the same outputs up to rounding and the same parameters of ``layers``.

    A batch normalisation right behind a convolution becomes part of the convolution's weights: once and for all if
    neither is edited. Where they are edited and outputs are fewer than weights, it scales and shifts the outputs, whose
    second derivative takes far fewer operations than a normalisation's. Everything else is the model's own.

    Folded weights carry the graph to the model's parameters, and are as old as this call: fold again after a training
    step. Inside ``torch.no_grad()`` they are plain tensors.

    :raises editors.EditError: for unknown layers.
    """
    edited = {id(parameter) for parameter in select_parameters(model, layers).values()}
    modules = dict(model.named_modules())
    replaced: dict[str, nn.Module] = {}
    for name, before in _pairs(model).items():
        convolution, normalisation = modules[before], modules[name]
        frozen = edited.isdisjoint(id(value) for part in (convolution, normalisation) for value in part.parameters())
        replaced[name] = _Absorbed(normalisation, convolution.weight.dim() - 2)
        replaced[before] = _joined(convolution, replaced[name], frozen)
    return _rebuilt(model, replaced) if replaced else model


def _pairs(model: nn.Module) -> Mapping[str, str]:
    """Normalisations by name, each with the convolution whose only use it is; none where the code cannot be traced."""
    if model not in _found:
        _found[model] = _trace(model)
    return _found[model]


def _trace(model: nn.Module) -> dict[str, str]:
    try:
        graph = fx.Tracer().trace(model)
    except Exception:  # whatever a model's own code raises when it meets a tracer instead of a tensor
        return {}
    modules = dict(model.named_modules())
    calls = [node for node in graph.nodes if node.op == "call_module"]
    uses = Counter(id(modules[node.target]) for node in calls)
    pairs = {}
    for node in calls:
        before = node.args[0] if node.args else None
        if (
            before in calls
            and len(before.users) == 1
            and type(modules[before.target]) in _CONVOLUTIONS
            and type(modules[node.target]) in _NORMALISATIONS
            and not any(_hooked(modules[target]) for target in (before.target, node.target))
            and modules[node.target].affine
            and modules[node.target].track_running_stats
            and uses[id(modules[node.target])] == uses[id(modules[before.target])] == 1
        ):
            pairs[node.target] = before.target
    return pairs


def _hooked(module: nn.Module) -> bool:
    """Whether something else is called along with it, as by torch.nn.utils.weight_norm, which makes its weight."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _rebuilt(module: nn.Module, replaced: Mapping[str, nn.Module], name: str = "") -> nn.Module:
    """A copy of the tree above the replaced modules; all the others are shared."""
    if name in replaced:
        return replaced[name]
    inside = f"{name}." if name else ""
    if not any(place.startswith(inside) for place in replaced):
        return module
    rebuilt = copy.copy(module)
    rebuilt._modules = {
        child: part if part is None else _rebuilt(part, replaced, inside + child)
        for child, part in module._modules.items()
    }
    return rebuilt


class _Absorbed(nn.Module):
    """A normalisation's parameters under their names; the convolution before it does its work."""

    def __init__(self, normalisation: nn.Module, dimensions: int) -> None:
        super().__init__()
        self.weight, self.bias = normalisation.weight, normalisation.bias
        self._shape = (-1, *[1] * dimensions)
        inverse = torch.rsqrt(normalisation.running_var + normalisation.eps)
        self._inverse, self._offset = (
            inverse.view(self._shape),
            (-normalisation.running_mean * inverse).view(self._shape),
        )

    def normalise(self, outputs: Tensor) -> Tensor:
        """A convolution's ``outputs (N, C, ...)``, normalised."""
        normalised = torch.addcmul(self._offset, outputs, self._inverse)
        return torch.addcmul(self.bias.view(self._shape), normalised, self.weight.view(self._shape))

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution that does both."""
        scale = self.weight * self._inverse.flatten()
        shift = torch.addcmul(self.bias, self.weight, self._offset.flatten())
        folded = weight * scale.view(-1, *[1] * (weight.dim() - 1))
        return folded, shift if bias is None else torch.addcmul(shift, bias, scale)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


class _Folding(nn.modules.conv._ConvNd):
    """A convolution with the normalisation behind it, for weights that change; still a convolution to who looks."""

    _behind: tuple[_Absorbed]  # in a tuple: it has its own place in the tree

    def forward(self, inputs: Tensor) -> Tensor:
        positions = inputs.numel() // inputs.shape[-self.weight.dim() + 1]
        if positions * self.out_channels < self.weight.numel():  # few inputs, as an editor has
            return self._behind[0].normalise(self._conv_forward(inputs, self.weight, self.bias))
        return self._conv_forward(inputs, *self._behind[0].fold(self.weight, self.bias))


class _Folded(_Folding):
    """The same for weights that stay as they are."""

    _once: tuple[Tensor, Tensor]

    def forward(self, inputs: Tensor) -> Tensor:
        return self._conv_forward(inputs, *self._once)


_KINDS = {
    (convolution, folded): type(convolution.__name__, (_Folded if folded else _Folding, convolution), {})
    for convolution in _CONVOLUTIONS
    for folded in (True, False)
}


def _joined(convolution: nn.Module, normalisation: _Absorbed, frozen: bool) -> nn.Module:
    joined = copy.copy(convolution)
    joined._parameters = dict(convolution._parameters)
    joined.__class__ = _KINDS[type(convolution), frozen]
    joined._behind = (normalisation,)
    if frozen:
        joined._once = normalisation.fold(convolution.weight, convolution.bias)
    return joined
