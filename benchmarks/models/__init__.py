"""The architectures, by name. Adding one means adding a file to this folder, with a function that makes it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from benchmarks.errors import InputError

FINGERPRINTED = False  # decides no number: the file of an architecture does
_registered: dict[str, Callable[..., nn.Module]] = {}


def register(name: str) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Decorator for a function ``(channels, classes, **options) -> nn.Module``."""

    def decorate(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        _registered[name] = make
        return make

    return decorate


def available() -> list[str]:
    """The names of all architectures, sorted."""
    _discover()
    return sorted(_registered)


def make(name: str, *, channels: int, classes: int, **options: Any) -> nn.Module:
    """Make an untrained model.

    :param channels: colour channels of the input images.
    :param classes: number of classes.
    :raises InputError: for an unknown architecture or option.
    """
    function = _find(name)
    known = [key for key in inspect.signature(function).parameters if key not in ("channels", "classes")]
    for key in options:
        if key not in known:
            raise InputError(f"architecture {name!r} has no option {key!r}; it has: {', '.join(known)}")
    return function(channels=channels, classes=classes, **options)


def file_of(name: str) -> Path:
    """The file that registers an architecture.

    :raises InputError: for an unknown one.
    """
    return Path(inspect.getfile(_find(name)))


_LARGEST_SIZE = 2**16


def check_size(name: str, value: Any) -> None:
    """Refuse an option that is not a positive whole number, or beyond all reason.

    :raises InputError: naming the option.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} must be a whole number >= 1, not {value!r}")
    if value > _LARGEST_SIZE:
        raise InputError(f"{name} must be at most {_LARGEST_SIZE}, not {value!r}")


def _find(name: str) -> Callable[..., nn.Module]:
    _discover()
    if name not in _registered:
        raise InputError(f"unknown architecture {name!r}; available: {', '.join(sorted(_registered))}")
    return _registered[name]


@cache
def _discover() -> None:
    for module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
        importlib.import_module(module.name)
