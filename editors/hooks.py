"""Inputs and outputs of one module, recorded while its model runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from editors.forward import call, untouched


class Observation(NamedTuple):
    """A forward pass of a model, seen from one of its modules.

    :ivar given: the module's first argument, each time that it ran; ``made`` are its outputs.
    :ivar outputs: the model's outputs.
    """

    given: list[Tensor]
    made: list[Any]
    outputs: Any


def observe(
    model: nn.Module, module: nn.Module, inputs: Any, parameters: Mapping[str, Tensor] | None = None
) -> Observation:
    """Run ``model`` once, with some parameters or buffers replaced, and record what passes ``module``.

    :raises ForwardError: if the model fails on these inputs.
    """
    given, made = list[Tensor](), list[Any]()

    def watch(watched: nn.Module, arguments: tuple[Tensor, ...], answer: Any) -> None:
        given.append(arguments[0])
        made.append(answer)

    def run(own: Any, buffers: dict[str, Tensor]) -> Any:
        given.clear()  # of a pass that only looked at what the model does, on detached copies
        made.clear()
        return call(model, {**buffers, **(parameters or {})}, own)

    hook = module.register_forward_hook(watch)
    try:
        outputs = untouched(model, run, inputs)
        return Observation(given, made, outputs)
    finally:
        hook.remove()
