"""The parameters that an edit may change: layer names and globs, resolved against a model."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

import torch
from torch import nn

from editors.base import Layers
from editors.errors import EditError

_LISTED = 40


def select_parameters(model: nn.Module, layers: Layers) -> dict[str, nn.Parameter]:
    """The floating-point parameters under ``layers``, by name, in the model's order.

    :param layers: a module or parameter name, several, a glob over them (``"layer[34]"``, ``"*.conv1"``), or None for
        all. A parameter that is shared by several modules appears once.
    :raises EditError: for a name that matches nothing (the message lists those there are) or holds no parameters.
    """
    if layers is None or isinstance(layers, str) or not isinstance(layers, Iterable):
        patterns = [layers]
    else:
        patterns = list(layers)
    if not patterns:
        raise EditError("layers is an empty list; name at least one layer, or give None for the whole model")
    if layers is not None and not all(isinstance(pattern, str) for pattern in patterns):
        raise EditError(f"layers must be a name, several names or None, not {layers!r}")
    everything = dict(model.named_parameters(remove_duplicate=False))
    if layers is None:
        chosen = everything
    else:
        roots = {root for pattern in patterns for root in _matching(model, pattern, everything)}
        chosen = {name: value for name, value in everything.items() if _is_under(name, roots)}
    selected: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for name, value in chosen.items():
        if value.is_floating_point() and id(value) not in seen:
            seen.add(id(value))
            selected[name] = value
    if not selected:
        where = "the model holds" if layers is None else f"layers {layers!r} hold"
        raise EditError(f"{where} no parameters that could be edited")
    return selected


def editable_parameters(model: nn.Module, layers: Layers) -> dict[str, nn.Parameter]:
    """The parameters that :func:`select_parameters` finds, of a model that is about to be run and edited.

    :raises EditError: as :func:`select_parameters` does, and for a model that cannot be edited.
    """
    if not isinstance(model, nn.Module):
        raise EditError(f"the model must be a torch.nn.Module, not {type(model).__name__}")
    if isinstance(model, torch.jit.ScriptModule):
        raise EditError("a scripted or traced model cannot be edited: edit the module that it was made from")
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise EditError(f"a model in {type(model).__name__} cannot be edited: edit its .module")
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.max_norm is not None:
            raise EditError(f"embedding {name!r} has a max_norm and so changes its weights: set that to None")
    for name, value in model.named_parameters():
        if torch.nn.parameter.is_lazy(value):
            raise EditError(f"parameter {name!r} has no shape yet: run the model once before it is edited")
        if value.is_meta:
            raise EditError(f"parameter {name!r} is on the meta device, without numbers: load weights first")
    return select_parameters(model, layers)


def _matching(model: nn.Module, pattern: str, parameters: dict[str, nn.Parameter]) -> list[str]:
    modules = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    names = modules + list(parameters)
    matching = [name for name in names if name == pattern] or [name for name in names if fnmatchcase(name, pattern)]
    if not matching:
        parts = [name for name in modules if any(_is_under(parameter, {name}) for parameter in parameters)]
        top = [name for name in [*parts, *parameters] if "." not in name]
        listed = ", ".join(top[:_LISTED]) + (", …" if len(top) > _LISTED else "")
        raise EditError(f"unknown layer {pattern!r}; the model has: {listed} (and their submodules)")
    return matching


def _is_under(name: str, roots: set[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:length]) in roots for length in range(1, len(parts) + 1))
