"""Covariances of layers' inputs: how much a change of a layer's weights moves its outputs on ordinary data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editors.base import Layers, spread
from editors.errors import EditError
from editors.forward import outputs_of
from editors.selection import editable_parameters

EXAMPLES = 5000
"""Inputs that covariances are of, at most."""
_AT_ONCE = 50  # inputs whose patches are in memory together
_BLOCK = 384  # rows of a matrix of which only those on and above the diagonal are computed
_SAMPLED = 8  # this share of the columns of a gradient tells whether its rank is low
_MANY = 128  # outputs of a layer from which on gradients of low rank pay


class Layer(NamedTuple):
    """A linear or convolution layer whose weight is edited; ``bias`` is None unless that is edited too."""

    module: nn.Linear | nn.Conv2d
    weight: str
    bias: str | None

    @property
    def width(self) -> int:
        """d: entries of a row of the weight, and one for the bias."""
        return self.module.weight[0].numel() + (self.bias is not None)

    def rows(self, inputs: Tensor) -> Tensor:
        """The matrix ``(d, n)`` that the weight is multiplied with: inputs or patches of them, 1 for the bias."""
        if isinstance(self.module, nn.Conv2d):
            shape = {name: getattr(self.module, name) for name in ("kernel_size", "dilation", "padding", "stride")}
            columns = F.unfold(inputs, **shape).transpose(0, 1).flatten(1)
        else:
            columns = inputs.reshape(-1, inputs.shape[-1]).T
        return columns if self.bias is None else torch.cat([columns, torch.ones_like(columns[:1])])

    def joined(self) -> Tensor:
        """Weight and, if it is edited, bias ``(C, d)``, as a copy without a graph."""
        columns = [self.module.weight.detach().flatten(1)]
        return torch.cat(columns if self.bias is None else [*columns, self.module.bias.detach().unsqueeze(1)], dim=1)

    def named(self, joined: Tensor) -> dict[str, Tensor]:
        """The parameters by name, from a matrix like that of :meth:`joined`."""
        size = self.module.weight[0].numel()
        parameters = {self.weight: joined[:, :size].reshape(self.module.weight.shape).clone()}
        return parameters if self.bias is None else {**parameters, self.bias: joined[:, size].clone()}


@dataclass(frozen=True, eq=False)
class Covariances:
    """Second moments ``E[Σ_p h_p h_pᵀ]`` of the inputs h of layers: ``E ‖ΔW h‖²`` is ``tr(ΔW A ΔWᵀ)``.

    Of a convolution, h_p is the patch at position p, so that it is the dense layer with shared weights that it is.

    :ivar moments: ``{name of the weight: A (d, d)}``.
    :ivar unreached: ``{name of the weight: d}`` of layers that no input reached, such as an auxiliary head; their
        gradient is zero.
    :ivar added: by the names of ``moments``, what later edits added to them; nothing at first.
    """

    moments: Mapping[str, Tensor]
    unreached: Mapping[str, int] = field(default_factory=dict)
    added: Mapping[str, Tensor] = field(default_factory=dict)

    def joined_by(self, others: Covariances, weight: float) -> Covariances:
        """These with ``weight`` times the moments of ``others``, which must be of the same layers, added."""
        added = {name: self.added.get(name, 0) + weight * moment for name, moment in others.moments.items()}
        return replace(self, added=added)

    @torch.inference_mode(False)  # graphs of edits hold what comes out
    def damped(self, damping: float | Tensor) -> Stiffness:
        """The inverses of ``A + λ · tr(A)/d · I``, and of that with what was added to A; λ's scale stays A's own.

        :raises EditError: naming a layer whose matrix is singular even so.
        """
        scales = {name: moment.diagonal().mean() for name, moment in self.moments.items()}
        inverses = {}
        for name, moment in self.moments.items():
            wide = moment.double() + self.added.get(name, 0)  # float32 would lose what a small λ adds
            wide = wide + damping * scales[name].double() * torch.eye(len(wide), dtype=wide.dtype, device=wide.device)
            factor, failed = torch.linalg.cholesky_ex(wide)
            if failed:
                raise EditError(
                    f"the covariance of what reaches {name!r} is singular at damping {float(damping):g}: "
                    "use a larger one, or more and other data"
                )
            inverses[name] = torch.cholesky_inverse(factor).to(moment.dtype)
        other = (1 + damping) * (torch.stack(list(scales.values())).mean() if scales else 1.0)
        return Stiffness(inverses, other, self.unreached)


@dataclass(frozen=True, eq=False)
class Stiffness:
    """The matrices that gradients are divided by.

    :ivar inverses: ``{name of a weight: (d, d)}``.
    :ivar other: for parameters of other layers, such as batch norm: the mean eigenvalue of those above.
    :ivar unreached: see :class:`Covariances`; these layers are divided by ``other`` as well.
    """

    inverses: Mapping[str, Tensor]
    other: float | Tensor
    unreached: Mapping[str, int] = field(default_factory=dict)

    def inverse(self, layer: Layer) -> Tensor:
        """The matrix ``(d, d)`` of a layer.

        :raises EditError: if it was not computed for it.
        """
        known = self.inverses.get(layer.weight)
        if known is None or len(known) != layer.width:
            raise EditError(
                f"the covariance was not computed for {layer.weight!r} with {layer.width} inputs; "
                "compute the editor's statistics for the same model and layers"
            )
        return known

    def divider(
        self, model: nn.Module, parameters: Mapping[str, nn.Parameter], differentiable: bool = False
    ) -> Callable[[Tensor], Tensor]:
        """``gradients (A, P) -> directions (A, P)`` for the layout of ``parameters``.

        :raises EditError: naming a layer that the covariances were not computed for.
        """
        edited = [one for one in edited_layers(model, parameters) if self.unreached.get(one.weight) != one.width]
        inverses = [(layer, self.inverse(layer)) for layer in edited]
        sizes = [value.numel() for value in parameters.values()]

        def divide(gradients: Tensor) -> Tensor:
            parts = dict(zip(parameters, gradients.split(sizes, dim=-1), strict=True))
            directions = {name: part / self.other for name, part in parts.items()}
            for layer, inverse in inverses:
                rows = parts[layer.weight].unflatten(-1, (layer.module.weight.shape[0], -1))
                if layer.bias is not None:
                    rows = torch.cat([rows, parts[layer.bias].unsqueeze(-1)], dim=-1)
                rows = multiplied(rows, inverse.to(rows), exact=differentiable)
                if layer.bias is not None:
                    directions[layer.bias] = rows[..., -1]
                    rows = rows[..., :-1]
                directions[layer.weight] = rows.flatten(-2)
            return torch.cat(list(directions.values()), dim=-1)

        return divide


def multiplied(rows: Tensor, inverse: Tensor, exact: bool) -> Tensor:
    """``rows (A, C, d) @ inverse (d, d)``.

    The gradient of one input has at most as high a rank as the layer has positions, in late layers far below C. Then
    a few combinations of its rows stand for all of them, and a look at what they leave out tells whether they do.

    :param exact: not to rely on that, which cannot be differentiated.
    """
    outputs, width = rows.shape[-2:]
    if exact or outputs < _MANY or rows.device.type != "cpu":
        return rows @ inverse
    source = torch.Generator().manual_seed(0)
    sketch = torch.randn(width, outputs // 4 + 8, generator=source, dtype=rows.dtype)
    basis = torch.linalg.qr(rows @ sketch).Q
    few = basis.mT @ rows
    some = rows[..., ::_SAMPLED]  # from everywhere: inputs that are zero may lie side by side
    left = some - basis @ few[..., ::_SAMPLED]
    lost, norm = (part.norm(dim=(-2, -1)) for part in (left, some))
    if (lost > 100 * torch.finfo(rows.dtype).eps * norm).any():  # of any edit, however small beside the others
        return rows @ inverse
    return basis @ (few @ inverse)


def edited_layers(model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> list[Layer]:
    """The linear and plain convolution layers of ``model`` whose weights are among ``parameters``, each weight once.

    Grouped convolutions and those with another padding than zeros are left out.
    """
    names = {id(value): name for name, value in parameters.items()}
    found: dict[str, Layer] = {}
    for module in model.modules():
        plain = isinstance(module, nn.Conv2d) and module.groups == 1 and module.padding_mode == "zeros"
        plain = plain and not isinstance(module.padding, str)
        if (plain or isinstance(module, nn.Linear)) and id(module.weight) in names:
            weight = names[id(module.weight)]
            found.setdefault(weight, Layer(module, weight, names.get(id(module.bias))))
    return list(found.values())


def last_linear(model: nn.Module, layers: Layers) -> Layer:
    """The last linear layer of ``model`` among the edited ones.

    :raises EditError: if there is none.
    """
    found = edited_layers(model, editable_parameters(model, layers))
    linear = [layer for layer in found if isinstance(layer.module, nn.Linear)]
    if not linear:
        raise EditError(f"layers {layers!r} hold no linear layer")
    return linear[-1]


def covariances(model: nn.Module, inputs: Any, layers: Layers = None, examples: int = EXAMPLES) -> Covariances:
    """The covariances of the edited layers' inputs, with the model in evaluation mode.

    :param inputs: a tensor ``(N, ...)``; one example's inputs as a tuple or mapping; or an iterable of such examples.
    :param examples: most inputs of a tensor to look at, spread evenly over those given.
    :raises EditError: for no inputs, layers without a weight whose inputs have a covariance, or none that is reached.
    """
    found = edited_layers(model, editable_parameters(model, layers))
    if not found:
        raise EditError(f"layers {layers!r} hold no weight of a linear or convolution layer, so there is no covariance")
    moments: dict[str, Tensor] = {}

    def watch(layer: Layer) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def add(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            rows = layer.rows(arguments[0])
            upper = moments.setdefault(layer.weight, rows.new_zeros(len(rows), len(rows)))
            for begin in range(0, len(rows), _BLOCK):
                upper[begin : begin + _BLOCK, begin:].addmm_(rows[begin : begin + _BLOCK], rows[begin:].T)

        return add

    hooks = [layer.module.register_forward_pre_hook(watch(layer)) for layer in found]
    count = 0
    try:
        with torch.inference_mode(False), torch.no_grad():
            for number, some in _batches(inputs, examples):
                outputs_of(model, {}, some)
                count += number
    finally:
        for hook in hooks:
            hook.remove()
    if count == 0:
        raise EditError("covariances need at least one input, none was given")
    unreached = {layer.weight: layer.width for layer in found if layer.weight not in moments}
    if len(unreached) == len(found):
        raise EditError(f"no input reaches {', '.join(unreached)}: name layers that the model uses to answer")
    return Covariances({name: _mirrored(upper.div_(count)) for name, upper in moments.items()}, unreached)


def _batches(inputs: Any, examples: int) -> Iterator[tuple[int, Any]]:
    """Inputs that go through the model together, with the number of examples that these are."""
    if isinstance(inputs, Tensor):
        for some in spread(len(inputs), examples).to(inputs.device).split(_AT_ONCE):
            if len(some):
                yield len(some), inputs[some]
    else:
        yield from ((1, one) for one in ([inputs] if isinstance(inputs, tuple | Mapping) else inputs))


def _mirrored(upper: Tensor) -> Tensor:
    return upper.triu_().add_(upper.triu(1).T)
