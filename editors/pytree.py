"""Tensors inside mappings, lists and tuples, named ones too: a model's inputs, a rule's state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor


def mapped(function: Callable[[Tensor], Any], value: Any) -> Any:
    """``value`` with ``function`` of every tensor in it; anything else that is in it stays as it is."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: mapped(function, part) for key, part in value.items()}
    if isinstance(value, list):
        return [mapped(function, part) for part in value]
    if isinstance(value, tuple):
        return tuple_like(value, [mapped(function, part) for part in value])
    return value


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in ``value``."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from tensors(part)


def tuple_like(value: tuple, parts: list[Any]) -> tuple:
    """A tuple of ``parts`` of the kind of ``value``."""
    return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
