"""Several edits at once: their parameters as rows of one tensor, their losses from one vectorised forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from editors.base import Constraint, Request
from editors.constraints import moved_to
from editors.convolutions import as_products
from editors.devices import sent
from editors.errors import EditError
from editors.forward import call, copied_buffers, untouched, usable
from editors.parameter_buffers import Layout
from editors.pytree import mapped, tuple_like

_MEMORY_BYTES = 256 * 2**20  # more rows share the cost of calling an operation; they hardly do beyond this
_ALONE_BYTES = 64 * 2**20  # an edit of so many is faster alone: what it reads and writes leaves no cache to others
_BYTES_PER_PARAMETER = 12  # a float32 value, its gradient and its update
_MOST_ROWS = 64


def batches(requests: Sequence[Request], parameters: Mapping[str, Tensor], single: bool) -> Iterator[list[int]]:
    """Rows of ``requests`` that are worth editing together: inputs alike, and of little memory together."""
    first = next(iter(parameters.values()))
    size = sum(value.numel() for value in parameters.values()) * _BYTES_PER_PARAMETER * first.element_size() // 4
    fitting = 1 if size > _ALONE_BYTES else max(1, min(_MOST_ROWS, _MEMORY_BYTES // size))
    if first.device.type != "cpu":
        fitting = _MOST_ROWS
    alike: dict[Any, list[int]] = {}
    for row, request in enumerate(requests):
        alike.setdefault(_signature(request), []).append(row)
    for rows in alike.values():
        most = 1 if single else fitting
        yield from (rows[begin : begin + most] for begin in range(0, len(rows), most))


class Batch:
    """Requests on one model, with the layout of its edited parameters as a vector.

    :ivar parameters: the edited parameters by name, in the order in which they form a vector ``(P,)``.
    """

    def __init__(
        self,
        model: nn.Module,
        parameters: Mapping[str, nn.Parameter],
        requests: Sequence[Request],
        names: Sequence[str] = ("the request",),
    ) -> None:
        for name, (_, constraint) in zip(names, requests, strict=True):
            if not callable(constraint):
                raise EditError(f"the constraint of {name} must be a callable outputs -> l_e, not {constraint!r}")
        self.model = model
        self.names = names
        self.device = next(iter(parameters.values())).device
        self.requests = [Request(usable(request.inputs), request.constraint) for request in requests]
        if len(requests) == 1:
            self.requests = [Request(one.inputs, moved_to(one.constraint, self.device)) for one in self.requests]
        self.parameters = parameters
        self._vector = Layout(parameters, together=True)
        self._chosen: list[int] = []

    def __len__(self) -> int:
        return len(self.requests)

    def start(self, differentiable: bool) -> Tensor:
        """The unedited parameters ``(E, P)``, a row for each request."""
        (vector,) = self._vector.start()
        return (vector if differentiable else vector.detach()).expand(len(self), -1)

    def losses(self, vectors: Sequence[Tensor], layout: Layout, rows: list[int]) -> Tensor:
        """``l_e`` ``(A,)`` of the requests ``rows``.

        :param vectors: those of ``layout`` with a row for each edit, ``(A, n)``; without rows, ``(n,)``, if there is
            one edit only.
        """
        if vectors[0].dim() == 1:
            inputs, constraint = self.requests[rows[0]]
            outputs = untouched(self.model, partial(self._answer, layout, vectors), inputs)
            return _scalar(constraint(outputs)).reshape(1)
        if rows != self._chosen:
            self._choose(rows)

        def run(own: Any, buffers: Mapping[str, Tensor]) -> Any:
            return vmap(lambda mine, one: self._answer(layout, mine, one, buffers))(list(vectors), own)

        return self._constrain(untouched(self.model, run, self._own), rows)

    def _answer(self, layout: Layout, vectors: Sequence[Tensor], inputs: Any, buffers: Mapping[str, Tensor]) -> Any:
        edited = layout.named(vectors)
        with as_products(edited.values()):
            return call(self.model, {**self._fixed, **buffers, **edited}, inputs)

    def loss(self, vector: Tensor) -> Tensor:
        """``l_e`` ``()`` of the first request with parameters ``vector (P,)``, with the graph to all of the model."""
        inputs, constraint = self.requests[0]
        return _scalar(constraint(self.outputs(vector, inputs, differentiable=True)))

    def outputs(self, vector: Tensor, inputs: Any, differentiable: bool) -> Any:
        """The model's outputs for ``inputs`` with ``vector (P,)`` as edited parameters."""
        fixed = self._buffers if differentiable else self._fixed
        edited = self.named(vector)
        return untouched(self.model, lambda own, buffers: call(self.model, {**fixed, **buffers, **edited}, own), inputs)

    def named(self, vector: Tensor) -> dict[str, Tensor]:
        """The edited parameters by name, from a vector ``(P,)`` like those of :meth:`start`."""
        return self._vector.named([vector])

    @cached_property
    def _buffers(self) -> dict[str, Tensor]:
        return copied_buffers(self.model)

    @cached_property
    def _fixed(self) -> dict[str, Tensor]:
        edited = {id(value) for value in self.parameters.values()}  # a tied parameter has several names
        others = {name: value for name, value in self.model.named_parameters() if id(value) not in edited}
        return {**self._buffers, **{name: usable(value.detach()) for name, value in others.items()}}

    @cached_property
    def _inputs(self) -> Any:
        return _stack([request.inputs for request in self.requests])

    def _choose(self, rows: list[int]) -> None:
        """Bring what belongs to the requests ``rows`` together: as seldom as others leave, for a GPU's sake."""
        whole, index = self._inputs, sent(torch.tensor(rows), self.device)
        self._own = whole if len(rows) == len(self) else mapped(lambda tensor: tensor[index.to(tensor.device)], whole)
        self._constraint = self._stacked([self.requests[row].constraint for row in rows])
        self._chosen = list(rows)

    def _stacked(self, constraints: list[Constraint]) -> Constraint | None:
        kind = type(constraints[0])
        if not hasattr(kind, "stack") or any(type(constraint) is not kind for constraint in constraints):
            return None
        together = kind.stack(constraints)
        return None if together is None else moved_to(together, self.device)

    def _constrain(self, outputs: Any, rows: list[int]) -> Tensor:
        if self._constraint is not None:
            return self._constraint(outputs)
        constraints = [self.requests[row].constraint for row in rows]
        return torch.stack([_scalar(one(_at(outputs, place))) for place, one in enumerate(constraints)])


def _scalar(loss: Any) -> Tensor:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        found = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise EditError(f"a constraint must return one number as a tensor, not {found}")
    if not loss.requires_grad and loss > 0:
        raise EditError("the constraint does not depend on the edited parameters, so no step can satisfy it")
    return loss.reshape(())


def _at(value: Any, place: int) -> Any:
    return mapped(lambda tensor: tensor[place], value)


def _stack(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, Tensor):
        return torch.stack(values)
    if isinstance(first, Mapping):
        return {key: _stack([value[key] for value in values]) for key in first}
    return tuple_like(first, [_stack([value[place] for value in values]) for place in range(len(first))])


def _signature(request: Request) -> Any:
    return (_shape(request.inputs), type(request.constraint))


def _shape(inputs: Any) -> Any:
    if isinstance(inputs, Tensor):
        return (tuple(inputs.shape), inputs.dtype, inputs.device)
    if isinstance(inputs, Mapping):
        return tuple((key, _shape(value)) for key, value in inputs.items())
    if isinstance(inputs, tuple):
        return tuple(_shape(value) for value in inputs)
    return object()  # not a tensor, so not to be stacked: alike with nothing
