"""The datasets, by name. Adding one means adding a file to this folder, with a function that makes it.

The keyword arguments of the function, with their defaults, are the dataset's options. A second function with the same
options may find images that models are likely to get wrong, for edits as one needs them in earnest.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.data.candidates import Candidates
from benchmarks.data.dataset import Dataset
from benchmarks.errors import InputError

FINGERPRINTED = False  # decides no number: the file of a dataset does
Loader = Callable[..., Dataset]

_loaders: dict[str, Loader] = {}
_candidates: dict[str, Callable[..., Candidates | None]] = {}


def register(name: str) -> Callable[[Loader], Loader]:
    """Decorator that makes a function the loader of the dataset ``name``.

    :raises ValueError: when another file has taken the name.
    """

    def decorate(loader: Loader) -> Loader:
        taken = _loaders.setdefault(name, loader)
        if taken.__module__ != loader.__module__:
            raise ValueError(f"dataset {name!r} is defined in both {taken.__module__} and {loader.__module__}")
        _loaders[name] = loader
        return loader

    return decorate


def candidates_of(name: str) -> Callable[[Callable[..., Candidates | None]], Callable[..., Candidates | None]]:
    """Decorator that makes a function the one that finds candidates of the dataset ``name``."""

    def decorate(find: Callable[..., Candidates | None]) -> Callable[..., Candidates | None]:
        _candidates[name] = find
        return find

    return decorate


def available() -> list[str]:
    """The names of all datasets, sorted."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return sorted(_loaders)


def options(name: str) -> dict[str, inspect.Parameter]:
    """The options of a dataset by name, each with its annotation and default.

    :raises InputError: for an unknown name.
    """
    names = available()
    if name not in names:
        raise InputError(f"unknown dataset {name!r}; available: {', '.join(names)}")
    return dict(inspect.signature(_loaders[name]).parameters)


def file_of(name: str) -> Path:
    """The file that registers a dataset.

    :raises InputError: for an unknown name.
    """
    options(name)
    return Path(inspect.getfile(_loaders[name]))


def make(name: str, **chosen: Any) -> Dataset:
    """Make a dataset with the chosen options, from what is embedded, downloaded or in a folder.

    :raises InputError: for an unknown name or option (listing those there are), an option that is needed and not given,
        and whatever is wrong with the data, naming the file.
    """
    _check_options(name, chosen)
    return _loaders[name](**chosen)


def has_candidates(name: str) -> bool:
    """Whether a dataset has images for mistakes.

    :raises InputError: for an unknown name.
    """
    options(name)
    return name in _candidates


def make_candidates(name: str, **chosen: Any) -> Candidates | None:
    """Make the candidates of the dataset with the same options; they are in none of its splits.

    :returns: None where the options name no place to find them.
    :raises InputError: as :func:`make` does, and for a dataset that has none.
    """
    _check_options(name, chosen)
    if name not in _candidates:
        raise InputError(f"dataset {name} has no images for mistakes; these have: {', '.join(sorted(_candidates))}")
    return _candidates[name](**chosen)


def _check_options(name: str, chosen: dict[str, Any]) -> None:
    known = options(name)
    for option in chosen:
        if option not in known:
            raise InputError(f"dataset {name}: unknown option {option!r}; options: {', '.join(known)}")
    for option, parameter in known.items():
        if option not in chosen and parameter.default is inspect.Parameter.empty:
            raise InputError(f"dataset {name}: option {option!r} is needed")
