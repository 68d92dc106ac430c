"""The diagonal of the Fisher information: the importance of each parameter for what a model has learned."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from editors.base import Editor, Layers, check_statistics, spread, uninformed
from editors.errors import EditError
from editors.forward import call, evaluation_mode, untouched, usable
from editors.selection import editable_parameters

EXAMPLES = 10_000
"""Training inputs whose gradients are averaged, at most: they know the diagonal of CIFAR-10's chain 3 within 10 %."""
_MOST_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Fisher:
    """The diagonal empirical Fisher information of some parameters: ``E (∂ log p(y|x,θ) / ∂θ_i)²`` on training data.

    :ivar diagonal: ``{name: (shape of the parameter)}``, all >= 0.
    """

    diagonal: Mapping[str, Tensor]

    def vector(self, parameters: Mapping[str, nn.Parameter]) -> Tensor:
        """The diagonal ``(P,)`` of ``parameters``, in their order.

        :raises EditError: naming a parameter that it was not computed for.
        """
        for name, value in parameters.items():
            known = self.diagonal.get(name)
            if known is None or known.shape != value.shape:
                raise EditError(
                    f"the Fisher information was not computed for parameter {name!r} of shape {tuple(value.shape)}; "
                    "compute the editor's statistics for the same model and layers"
                )
        parts = [self.diagonal[name].to(value) for name, value in parameters.items()]
        return torch.cat([part.reshape(-1) for part in parts])


def diagonal_fisher(
    model: nn.Module, inputs: Tensor, labels: Tensor, layers: Layers = None, memory: int = 2**28
) -> Fisher:
    """The empirical Fisher information of a classifier, in evaluation mode (Kirkpatrick et al. 2016, section 2.1).

    "Empirical" means that the labels are those of the data, not drawn from the model's own predictions.

    :param inputs: ``(N, ...)``, of which the model takes batches; ``labels (N,)``, int64.
    :param memory: bytes that the gradients of single inputs, ``(chunk, P)``, may take (one input at least); the chunk
        is never more than 256 inputs. A model that cannot be vectorised goes through its inputs one by one.
    :raises EditError: for no inputs, or another number of labels.
    """
    if len(inputs) == 0 or len(inputs) != len(labels):
        raise EditError(f"the Fisher information needs one label for each input, found {len(inputs)} and {len(labels)}")
    selected = editable_parameters(model, layers)
    chosen = {id(value) for value in selected.values()}
    parameters = {name: usable(value.detach()) for name, value in selected.items()}
    fixed = {name: value.detach() for name, value in model.named_parameters() if id(value) not in chosen}
    fixed = usable(fixed | dict(model.named_buffers()))

    def log_probability(values: dict[str, Tensor], one: Tensor, label: Tensor, buffers: dict[str, Tensor]) -> Tensor:
        logits = call(model, {**fixed, **buffers, **values}, one.unsqueeze(0))
        # A mask instead of an index: it works under vmap on every device.
        wanted = torch.arange(logits.shape[-1], device=logits.device) == label
        return torch.where(wanted, logits.log_softmax(dim=-1), 0).sum()

    def gradients(function: Callable[..., dict[str, Tensor]], some: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return untouched(model, lambda own, buffers: function(parameters, own, labels, buffers), some)

    alone = grad(log_probability)
    together = vmap(alone, in_dims=(None, 0, 0, None))
    size = sum(value.numel() * value.element_size() for value in parameters.values())
    chunk = max(1, min(_MOST_AT_ONCE, memory // size))
    inputs, labels = usable(inputs), labels.to(inputs.device)
    with torch.inference_mode(False), evaluation_mode(model):
        total = {name: torch.zeros_like(value) for name, value in parameters.items()}
        for some, answers in zip(inputs.split(chunk), labels.split(chunk), strict=True):
            try:
                _add(total, gradients(together, some, answers))
            except (RuntimeError, ValueError, TypeError, AttributeError):  # what vmap cannot do fails in many ways
                for one, label in zip(some, answers, strict=True):
                    found = gradients(alone, one, label)
                    _add(total, {name: gradient.unsqueeze(0) for name, gradient in found.items()})
        return Fisher({name: value / len(inputs) for name, value in total.items()})


@dataclass(frozen=True, kw_only=True)
class FisherInformed(Editor):
    """The base of editors that need the Fisher information of the training data; put it before the update rule's.

    :ivar fisher: F, the diagonal empirical Fisher information; from ``statistics``, through ``informed``.
    """

    fisher: Fisher | None = field(default=None, repr=False)

    def statistics(self, model: nn.Module, inputs: Tensor, labels: Tensor, layers: Layers) -> Fisher:
        if len(inputs) > EXAMPLES and len(inputs) == len(labels):
            chosen = spread(len(inputs), EXAMPLES)
            inputs, labels = inputs[chosen.to(inputs.device)], labels[chosen.to(labels.device)]
        return diagonal_fisher(model, inputs, labels, layers)

    @property
    def examples(self) -> int:
        return EXAMPLES

    def informed(self, statistics: Fisher) -> FisherInformed:
        check_statistics(statistics, Fisher, type(self).__name__)
        return dataclasses.replace(self, fisher=statistics)

    def importance(self, parameters: Mapping[str, nn.Parameter], name: str) -> Tensor:
        """The diagonal ``(P,)`` of ``parameters``, in their order.

        :param name: of the editor, for the error where it does not know F yet.
        :raises EditError: for that, or naming a parameter that F was not computed for.
        """
        if self.fisher is None:
            raise uninformed(name, "the Fisher information of the training data")
        return self.fisher.vector(parameters)


def _add(total: dict[str, Tensor], gradients: Mapping[str, Tensor]) -> None:
    squares = {name: gradient.square().sum(dim=0) for name, gradient in gradients.items()}
    for name, value in squares.items():
        total[name] += value
