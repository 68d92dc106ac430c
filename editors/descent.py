"""The descent loop of formula (1), shared by every editor that follows a gradient: single, batched, differentiable."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad_and_value

from editors.base import Constraint, Editor, EditResult, Layers, Request, checked_pairs, holds
from editors.batching import Batch, batches
from editors.compiling import bare, compiled
from editors.devices import sent
from editors.errors import EditError, ForwardError
from editors.forward import evaluation_mode
from editors.hyperparameters import check_steps
from editors.parameter_buffers import Layout, Rows
from editors.pytree import mapped
from editors.selection import editable_parameters

Objective = Callable[[Tensor, Tensor], Tensor]
"""``(gradients of l_e, parameters) -> gradients to follow``, all ``(A, P)``, one row for each edit that goes on."""
_TOO_MANY = "edits are made in smaller batches, because so many at once do not fit into the GPU's memory"


def elementwise(method: Callable[..., Any]) -> Callable[..., Any]:
    """Declare that a rule's ``update`` (and ``init``) treats every parameter on its own, as most do.

    Then it may be called with some columns of ``(A, P)`` at a time, which is faster; results are the same.
    """
    method.elementwise = True
    return method


@dataclass(frozen=True, kw_only=True)
class DescentEditor(Editor):
    """Follow an update rule until the constraint holds, for at most ``max_steps`` gradient steps.

    ``l_e`` is checked before each step and once after the last. A subclass is one update rule: a pair of pure
    functions over a tensor ``(..., P)`` whose last dimension runs over all edited parameters, one edit a row. They must
    treat rows independently and be differentiable; that is all that batching and Editable Training need.

    :ivar max_steps: k in the paper; 0 only checks the constraint.
    :ivar compiled: compile the update rule to one pass over memory and, of an edit that carries the graph and has no
        :meth:`objective`, all of a step, by ``torch.compile``; results are the same up to rounding. Takes a C++
        compiler, and seconds (with the graph up to a minute) in a process. Pays for many edits of layers with a million
        parameters. Such a graph can be gone back through once.
    """

    max_steps: int = 10
    compiled: bool = False

    def __post_init__(self) -> None:
        check_steps(self.max_steps)
        if not isinstance(self.compiled, bool):
            raise EditError(f"compiled must be true or false, not {self.compiled!r}")

    @abstractmethod
    def init(self, parameters: Tensor) -> Any:
        """The state before the first step: tensors ``(..., n)`` in a named tuple, or None.

        Like the states that :meth:`update` returns it may be changed in place, unless it is ``parameters`` itself.
        """

    @abstractmethod
    def update(self, gradients: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The updates ``(..., P)``, which are added to the parameters, and the next state."""

    def objective(self, batch: Batch, differentiable: bool) -> Objective | None:
        """The gradients to follow of a rule that minimises more than ``l_e``, such as a penalty; None by default.

        It is asked for once per batch of edits and called once per step. It must treat rows independently and, where
        ``differentiable``, carry the graph.
        """
        return None

    @elementwise
    def rescaled(self, updates: Tensor, gradients: Tensor, losses: Tensor, parameters: Tensor) -> Tensor:
        """The rule's ``updates (A, P)`` at another length; by default, as they are.

        For rules whose step depends on ``l_e`` itself, ``losses (A,)``, and its own ``gradients (A, P)``.
        """
        return updates

    def may_stop(self, steps: int) -> bool:
        """Whether an edit whose constraint holds is finished after ``steps`` (> 0) steps; by default, it is."""
        return True

    def edit(
        self,
        model: nn.Module,
        inputs: Any,
        constraint: Constraint,
        layers: Layers = None,
        differentiable: bool = False,
    ) -> EditResult:
        parameters = editable_parameters(model, layers)
        return self._edit_batch(Batch(model, parameters, [Request(inputs, constraint)]), differentiable)[0]

    def edit_many(
        self,
        model: nn.Module,
        requests: Sequence[Request | tuple[Any, Constraint]],
        layers: Layers = None,
        differentiable: bool = False,
    ) -> list[EditResult]:
        """Independent edits in the order of ``requests``, as batches where that is faster.

        Results equal those of :meth:`edit` within floating-point tolerance. A batch that does not fit into a GPU's
        memory is halved, with one warning; a model that cannot be vectorised over edits is edited one by one.
        """
        parameters = editable_parameters(model, layers)
        asked = checked_pairs(requests)

        def batch(rows: list[int]) -> Batch:
            names = [f"request {row}" if len(asked) > 1 else "the request" for row in rows]
            return Batch(model, parameters, [asked[row] for row in rows], names)

        edits: dict[int, EditResult] = {}
        for rows in batches(asked, parameters, single=differentiable):
            edits |= zip(rows, self._edit_rows(batch, rows, differentiable), strict=True)
        return [edits[row] for row in range(len(asked))]

    def _edit_rows(
        self, batch: Callable[[list[int]], Batch], rows: list[int], differentiable: bool
    ) -> list[EditResult]:
        """Edits of the requests ``rows``: at once, or in smaller batches where that is not possible."""
        try:
            return self._edit_batch(batch(rows), differentiable)
        except torch.OutOfMemoryError:
            if len(rows) == 1:
                raise
            warnings.warn(_TOO_MANY, stacklevel=1)  # from one place, so once
            parts = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            # What vmap cannot do fails in many ways; a mistake of the model or the constraint fails again alone.
            if len(rows) == 1 or (isinstance(error, EditError) and not isinstance(error, ForwardError)):
                raise
            parts = [[row] for row in rows]
        # Out here, where no exception holds what had been computed.
        return [edit for part in parts for edit in self._edit_rows(batch, part, differentiable)]

    def _edit_batch(self, batch: Batch, differentiable: bool) -> list[EditResult]:
        with torch.inference_mode(False), torch.enable_grad(), evaluation_mode(batch.model):
            return [self._descend_with_graph(batch)] if differentiable else self._descend(batch)

    def _descend(self, batch: Batch) -> list[EditResult]:
        """Without a graph: what is edited changes in place, and edits that are finished leave the batch."""
        edits: list[EditResult | None] = [None] * len(batch)
        rows = list(range(len(batch)))
        objective = self.objective(batch, differentiable=False)
        whole = objective is not None or not self.by_parameter
        layout = Layout(batch.parameters, together=whole)
        values = Rows(layout, len(batch), self, whole, self.compiled)
        for step in range(self.max_steps + 1):
            leaves = values.leaves()
            losses = batch.losses(leaves, layout, rows)
            numbers = losses.tolist()
            if step == 0:
                refuse_unusable(numbers, batch.names)
            satisfied = [holds(number) for number in numbers]
            stopping = step == 0 or self.may_stop(step)
            going_on = [
                place for place, done in enumerate(satisfied) if not (done and stopping) and step < self.max_steps
            ]
            for place in set(range(len(rows))).difference(going_on):
                loss = losses[place].detach().clone()
                edits[rows[place]] = EditResult(batch.model, values.result(place), satisfied[place], step, loss)
            if not going_on:
                break
            counted = losses
            if len(going_on) < len(rows):
                mask = [float(place in going_on) for place in range(len(rows))]
                counted = losses * sent(torch.tensor(mask, dtype=losses.dtype), losses.device)
            # Of a sum: at the first gradient of several numbers torch imports half a second of symbolic algebra.
            gradients = torch.autograd.grad(counted.sum(), leaves, allow_unused=True, materialize_grads=True)
            with torch.no_grad():
                order, losses = None, losses.detach()
                if len(going_on) < len(rows):
                    order = values.keep(going_on)
                    rows = [rows[place] for place in order]
                    losses = losses.index_select(0, values.index)
                values.step(gradients, losses, order, objective)
        return edits  # type: ignore[return-value]  # the last step leaves no row without an edit

    def _descend_with_graph(self, batch: Batch) -> EditResult:
        """One edit that carries the graph through every step."""
        current = batch.start(differentiable=True)
        objective = self.objective(batch, differentiable=True)
        compiled_step = compiled(step_with_graph, self, dynamic=False) if self.compiled and objective is None else None
        state = self.init(current)
        for step in range(self.max_steps + 1):
            if not current.requires_grad:
                current = current.detach().requires_grad_()
            losses = batch.loss(current[0]).reshape(1)
            number = losses.item()
            if step == 0:
                refuse_unusable([number], batch.names)
            succeeded = holds(number)
            if (succeeded and (step == 0 or self.may_stop(step))) or step == self.max_steps:
                break
            if compiled_step is not None:
                current, state = compiled_step(batch, current, mapped(_with_graph, state))
                continue
            (gradients,) = torch.autograd.grad(losses.sum(), current, create_graph=True)
            followed = gradients if objective is None else objective(gradients, current)
            updates, state = self.update(followed, state)
            current = current + self.rescaled(updates, gradients, losses, current)
        return EditResult(batch.model, batch.named(current[0]), succeeded, step, losses[0])

    @property
    def by_parameter(self) -> bool:
        """Whether the rule says of itself that it treats every parameter on its own, see :func:`elementwise`."""
        return all(getattr(method, "elementwise", False) for method in (self.update, self.rescaled))


def step_with_graph(rule: DescentEditor, batch: Batch, current: Tensor, state: Any) -> tuple[Tensor, Any]:
    """The parameters ``(1, P)`` and the state after a step of one edit from ``current (1, P)``, with their graph."""
    gradients, loss = grad_and_value(lambda vectors: batch.loss(vectors[0]))(current)
    updates, state = rule.update(gradients, state)
    return current + rule.rescaled(updates, gradients, loss.reshape(1), current), state


def _with_graph(state: Tensor) -> Tensor:
    """A state that asks for gradients, needed or not, and at first as later: another kind would be compiled anew."""
    return bare(state).requires_grad_() if state.is_floating_point() and not state.requires_grad else state


def refuse_unusable(losses: Sequence[float], names: Sequence[str]) -> None:
    """Refuse requests whose ``l_e`` no step can be taken from.

    :raises EditError: naming the first request whose loss is infinite or no number before the first step.
    """
    for name, loss in zip(names, losses, strict=True):
        if not math.isfinite(loss):
            raise EditError(f"the constraint of {name} is {loss} before the first step; check its inputs and the model")
