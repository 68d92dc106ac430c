"""What reaches one module of a model, and what it makes of that, while the model answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from editors.forward import call, untouched


class Observation(NamedTuple):
    """One forward pass of a model.

    :ivar given: the watched module's first argument, each time that it ran; ``made`` what it answered.
    :ivar outputs: the model's.
    """

    given: list[Tensor]
    made: list[Any]
    outputs: Any


def observe(
    model: nn.Module, module: nn.Module, inputs: Any, parameters: Mapping[str, Tensor] | None = None
) -> Observation:
    """``model``'s outputs for ``inputs``, with some parameters or buffers replaced, and what passed ``module``."""
    given, made = list[Tensor](), list[Any]()

    def watch(watched: nn.Module, arguments: tuple[Tensor, ...], answer: Any) -> None:
        given.append(arguments[0])
        made.append(answer)

    hook = module.register_forward_hook(watch)
    try:
        replaced = parameters or {}
        outputs = untouched(model, lambda own, buffers: call(model, {**buffers, **replaced}, own), inputs)
        return Observation(given, made, outputs)
    finally:
        hook.remove()
