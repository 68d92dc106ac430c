"""Steps of a descent as compiled code, by ``torch.compile``: the same up to rounding, in fewer passes and kernels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from editors import hyperparameters
from editors.errors import EditError

_MOST_VARIANTS = 64  # of one step: for other shapes, dtypes and models, of which a long run meets many


class CompilationError(EditError):
    """A step that cannot be compiled."""


def compiled(function: Callable[..., Any], rule: Any, dynamic: bool) -> Callable[..., Any]:
    """``function(rule, ...)`` as compiled code.

    The rule's hyperparameters are tensors in there, so that other values need no other code.

    :param function: takes tensors, alone or in tuples and mappings, and objects that hold some; numbers among their
        attributes that differ from call to call are compiled anew each time.
    :param dynamic: whether one code serves all sizes.
    :raises CompilationError: when it is called, if it cannot be compiled as a whole.
    """
    from torch._dynamo import config, exc  # takes seconds: only for whoever compiles

    of_tensors, code = _with_tensors(rule), _compiled(function, type(rule), dynamic)

    def run(*arguments: Any) -> Any:
        try:
            with config.patch(recompile_limit=_MOST_VARIANTS):
                return code(of_tensors, *arguments)
        except (exc.TorchDynamoException, exc.FailOnRecompileLimitHit) as error:
            reason = str(error).strip().partition("\n")[0]
            needed = ""
            if isinstance(error, exc.BackendCompilerFailed):
                needed = " It takes a C++ compiler and Python's headers (python3-dev)."
            raise CompilationError(
                f"steps of {type(rule).__name__} cannot be compiled: {reason}.{needed} Use compiled=False "
                "(`compile: false` in params.yaml)"
            ) from error

    return run


def bare(value: Tensor) -> Tensor:
    """``value`` without its graph and its base, both of which would be reasons to compile anew.

    Memory is shared if ``value`` is contiguous.
    """
    return value.data.contiguous().flatten().view(value.shape).data


@cache
def _compiled(function: Callable[..., Any], kind: type, dynamic: bool) -> Callable[..., Any]:
    # What torch compiles anew is counted, and ends, per code object: every kind of rule gets one of its own.
    own = FunctionType(function.__code__.replace(), function.__globals__, f"{function.__name__}_{kind.__name__}")
    return torch.compile(own, dynamic=dynamic, fullgraph=True)


def _with_tensors(rule: Any) -> Any:
    values = {one.name: getattr(rule, one.name) for one in hyperparameters.declared(type(rule))}
    numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
    return dataclasses.replace(
        rule, **{name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
    )
