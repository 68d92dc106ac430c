"""Editors by name. Every module in ``editors/methods`` is found by itself: adding an editor means adding one file."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from editors import hyperparameters
from editors.base import Editor
from editors.errors import EditError

FINGERPRINTED = False  # decides no number

_EditorClass = TypeVar("_EditorClass", bound=type[Editor])
_registered: dict[str, type[Editor]] = {}


@dataclasses.dataclass(frozen=True)
class Description:
    """An editor as its file declares it.

    :ivar source: the publication of the method.
    :ivar summary: the first line of its docstring.
    :ivar hyperparameters: the values that are tuned, in order of declaration.
    :ivar options: further fields with their defaults, such as ``max_steps``.
    """

    name: str
    source: str
    summary: str
    hyperparameters: tuple[hyperparameters.Hyperparameter, ...]
    options: dict[str, Any]


def register(name: str) -> Callable[[_EditorClass], _EditorClass]:
    """Class decorator that makes an editor (a frozen dataclass) known under ``name``."""

    def decorate(editor_class: _EditorClass) -> _EditorClass:
        if not dataclasses.is_dataclass(editor_class):
            raise EditError(
                f"editor {name!r} must be a dataclass: put @dataclass(frozen=True, kw_only=True) below @register"
            )
        known = _registered.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (
            editor_class.__module__,
            editor_class.__qualname__,
        ):
            raise EditError(f"two editors are called {name!r}: {known.__module__} and {editor_class.__module__}")
        _registered[name] = editor_class
        return editor_class

    return decorate


def available() -> list[str]:
    """The names of all editors, sorted."""
    _discover()
    return sorted(_registered)


def build(name: str, **values: Any) -> Editor:
    """Make an editor by name.

    :param values: hyperparameters and options; those not given take the defaults that the editor's file declares.
        A hyperparameter may be a tensor of one element, for differentiating through it.
    :raises EditError: for an unknown name, an unknown hyperparameter or a value outside its domain.
    """
    editor_class = _find(name)
    known = [field.name for field in dataclasses.fields(editor_class)]
    for key in values:
        if key not in known:
            raise EditError(f"editor {name!r} has no hyperparameter {key!r}; it has: {', '.join(known)}")
    for parameter in hyperparameters.declared(editor_class):
        parameter.check(values.get(parameter.name, parameter.default), where=name)
    return editor_class(**values)


def describe(name: str) -> Description:
    """The description of editor ``name``.

    :raises EditError: for an unknown name.
    """
    editor_class = _find(name)
    tunable = hyperparameters.declared(editor_class)
    tuned = {parameter.name for parameter in tunable}
    lines = [line.strip() for line in (editor_class.__doc__ or "").strip().splitlines()]
    source = next((line.removeprefix("Source:").strip() for line in lines if line.startswith("Source:")), "")
    options = {field.name: field.default for field in dataclasses.fields(editor_class) if field.name not in tuned}
    return Description(name, source, lines[0] if lines else "", tunable, options)


def file_of(name: str) -> Path:
    """The file that declares editor ``name``.

    :raises EditError: for an unknown name.
    """
    return Path(inspect.getfile(_find(name)))


def _find(name: str) -> type[Editor]:
    _discover()
    if name not in _registered:
        raise EditError(f"unknown editor {name!r}; available: {', '.join(sorted(_registered))}")
    return _registered[name]


@cache
def _discover() -> None:
    package = importlib.import_module("editors.methods")
    for module in pkgutil.iter_modules(package.__path__, prefix="editors.methods."):
        importlib.import_module(module.name)
