"""Steps of a descent as compiled code, by ``torch.compile``: the same up to rounding, in fewer passes and kernels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad_and_value

from editors import hyperparameters
from editors.contract import Constraint, EditError, call
from editors.nested import mapped


def advance(rule: Any, current: Tensor, followed: Tensor, gradients: Tensor, losses: Tensor, state: Any) -> Any:
    """Change ``current (A, n)`` as ``rule`` says, in place, and return the next state.

    :param followed: gradients ``(A, n)`` that the rule follows; ``gradients`` are those of ``l_e``, ``losses (A,)``.
    """
    updates, state = rule.update(followed, state)
    current += rule.rescaled(updates, gradients, losses, current)
    return state


def compiled_advance(rule: Any) -> Callable[[Tensor, Tensor, Tensor, Tensor, Any], Any]:
    """:func:`advance` of ``rule``, which reads and writes memory once instead of once per operation.

    :raises EditError: when it is called, if it cannot be compiled.
    """
    rule = _with_tensors(rule)

    def run(*tensors: Any) -> Any:
        return _run(advance, rule, *mapped(_bare, tensors), dynamic=True)

    return run


def step_with_graph(
    rule: Any,
    model: nn.Module,
    named: Callable[[Tensor], Mapping[str, Tensor]],
    fixed: Mapping[str, Tensor],
    request: tuple[Any, Constraint],
    current: Tensor,
    state: Any,
) -> tuple[Tensor, Tensor, Any]:
    """``l_e (1,)`` of one edit at ``current (1, P)``, and the parameters and state after a step, with their graph.

    :param named: the edited parameters by name, of a vector ``(P,)``; ``fixed`` are further tensors of the model's.
    """
    inputs, constraint = request

    def loss_of(vector: Tensor) -> Tensor:
        return constraint(call(model, {**fixed, **named(vector[0])}, inputs)).reshape(())

    gradients, loss = grad_and_value(loss_of)(current)
    losses = loss.reshape(1)
    updates, state = rule.update(gradients, state)
    return losses, current + rule.rescaled(updates, gradients, losses, current), state


def compiled_step_with_graph(rule: Any, *arguments: Any) -> tuple[Tensor, Tensor, Any]:
    """:func:`step_with_graph`, forward and backward compiled.

    :raises EditError: if it cannot be compiled.
    """
    return _run(step_with_graph, rule, *arguments, dynamic=False)


def _run(function: Callable[..., Any], rule: Any, *arguments: Any, dynamic: bool) -> Any:
    try:
        return _compiled(function, type(rule), dynamic)(rule, *arguments)
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = str(error).strip().partition("\n")[0]
        raise EditError(
            f"a step of {type(rule).__name__} cannot be compiled, which takes a C++ compiler and Python's headers "
            f"(python3-dev): use compiled=False. {reason}"
        ) from error


@cache
def _compiled(function: Callable[..., Any], kind: type, dynamic: bool) -> Callable[..., Any]:
    # What torch compiles anew is counted, and ends, per code object: every kind of rule gets one of its own.
    own = FunctionType(function.__code__.replace(), function.__globals__, f"{function.__name__}_{kind.__name__}")
    return torch.compile(own, dynamic=dynamic)


def _bare(value: Tensor) -> Tensor:
    """The same numbers without a past: of what else they are a part would be a reason to compile anew."""
    return value.data.contiguous().flatten().view(value.shape).data


def _with_tensors(rule: Any) -> Any:
    """The rule with hyperparameters as tensors: numbers would be compiled in, and each tuning trial has others."""
    values = {one.name: getattr(rule, one.name) for one in hyperparameters.declared(type(rule))}
    numbers = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items() if _number(value)}
    return dataclasses.replace(rule, **numbers)


def _number(value: Any) -> bool:
    return isinstance(value, int | float)
