"""Forward passes that leave a model and its inputs bit-identical, and copies of models that users wrote."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.func import functional_call

from editors.errors import EditError, ForwardError
from editors.pytree import mapped, tensors

_writes: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
"""For each model that was run: whether its forward pass writes to its inputs, its buffers or its attributes."""


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Run a block with ``model`` in evaluation mode; every submodule gets its own mode back."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def outputs_of(model: nn.Module, parameters: Mapping[str, Tensor], inputs: Any) -> Any:
    """The outputs of ``model`` for ``inputs`` in evaluation mode, with some of its parameters or buffers replaced.

    :raises ForwardError: if the model fails on these inputs.
    """
    with evaluation_mode(model):
        return untouched(model, lambda own, buffers: call(model, {**buffers, **parameters}, own), inputs)


def untouched(model: nn.Module, run: Callable[[Any, dict[str, Tensor]], Any], inputs: Any) -> Any:
    """``run(inputs, buffers)``, which runs ``model`` once, with model and inputs as they were before.

    A model that writes to neither is run on the inputs themselves, with no buffers replaced. What a model does is seen
    the first time it is run, on copies; one that works in place, counts its passes or keeps activations is run on
    copies every time.

    :param run: takes the inputs and ``{name: value}`` of buffers to replace.
    """
    if torch.compiler.is_compiling():  # where a copy that nobody writes to costs nothing
        return run(mapped(torch.clone, inputs), {})
    writes = _writes.get(model)
    if any(value.requires_grad for value in tensors(inputs)):  # a copy would add to their graph, and round otherwise
        if writes is None:
            with torch.no_grad():  # to see what it does
                untouched(model, run, mapped(torch.detach, inputs))
            writes = _writes.get(model)
        if not writes:
            return run(inputs, {})
    if writes is False:
        return run(inputs, {})
    own, buffers = mapped(_copied, inputs), copied_buffers(model)
    given = [*tensors(own), *buffers.values()]
    seen = writes is None and not any(value.is_inference() or is_functorch_wrapped_tensor(value) for value in given)
    versions = [value._version for value in given] if seen else []
    held = [part for module in model.modules() for part in _held(module)]
    try:
        outputs = run(own, buffers)
        if seen:
            written = versions != [value._version for value in given]
            _writes[model] = written or any(not _same(one, before) for one, before in held)
    finally:
        for one, before in held:
            if not _same(one, before):
                one.clear()
                one.extend(before) if isinstance(one, list) else one.update(before)
    return outputs


def call(model: nn.Module, parameters: Mapping[str, Tensor], inputs: Any) -> Any:
    """The outputs of ``model`` for ``inputs`` with some of its parameters or buffers replaced, in the mode it is in.

    :param inputs: see :class:`editors.base.Request`; a model that works in place changes them.
    :raises ForwardError: if the model fails on these inputs.
    """
    positional = inputs if isinstance(inputs, tuple) else () if isinstance(inputs, Mapping) else (inputs,)
    named = dict(inputs) if isinstance(inputs, Mapping) else {}
    try:
        return functional_call(model, dict(parameters), positional, named)
    except (EditError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ForwardError(_reason(model, inputs, error)) from error


def copied_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The buffers of ``model`` by name, as copies."""
    return {name: value.clone() for name, value in model.named_buffers()}


def usable(value: Any) -> Any:
    """``value`` with copies of those tensors in it that were made in inference mode, which no graph can hold."""
    with torch.inference_mode(False):
        return mapped(lambda tensor: tensor.clone() if tensor.is_inference() else tensor, value)


def copied(model: nn.Module) -> nn.Module:
    """A deep copy of ``model``; tensors that it keeps with their graph, such as activations, are copied without it.

    :raises EditError: for a model that cannot be copied.
    """
    attributes = [vars(module) for module in model.modules()]
    memo = {id(value): value.detach().clone() for value in tensors(attributes) if not value.is_leaf}
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:  # whatever a user's module holds
        raise EditError(
            f"{type(model).__name__} cannot be copied ({_first_line(error)}): make another one, load the weights of "
            "the first, and then edit.parameters with load_state_dict(..., strict=False)"
        ) from error


def _copied(value: Tensor) -> Tensor:
    """A copy with the same strides, so that kernels do the same with it."""
    if value.layout != torch.strided or value.is_quantized or is_functorch_wrapped_tensor(value):
        return value.clone()
    once = value[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in value.stride())]
    own = torch.empty_strided(once.shape, once.stride(), dtype=value.dtype, device=value.device)
    return own.copy_(once).expand(value.shape)


def _held(module: nn.Module) -> Iterator[tuple[Any, Any]]:
    """The attributes of a module, and those of them that are a dict or a list, each with a copy of it as it is."""
    if isinstance(module, torch.jit.ScriptModule):
        return
    for one in (module.__dict__, *module.__dict__.values()):
        if isinstance(one, dict | list):
            yield one, copy.copy(one)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(one[name] is value for name, value in other.items())
    return len(one) == len(other) and all(value is then for value, then in zip(one, other, strict=True))


def _reason(model: nn.Module, inputs: Any, error: Exception) -> str:
    given = {str(value.device) for value in tensors(inputs)}
    there = {str(value.device) for value in model.parameters()}
    if not given <= there:
        return f"the inputs are on {', '.join(given)}, the model is on {', '.join(there)}"
    described = f"of type {type(inputs).__name__}"
    if given:
        described = f"of shape {mapped(lambda value: tuple(value.shape), inputs)}"
    return f"the model fails on inputs {described}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
