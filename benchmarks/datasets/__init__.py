"""The datasets, by name. Adding one means adding a file to this folder:

    @register("mine")
    def mine(tuning_size: int = 100) -> Dataset: ...

The keyword arguments of the function, with their defaults, are the dataset's options.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

from benchmarks.dataset import Dataset
from benchmarks.errors import InputError

Loader = Callable[..., Dataset]

_loaders: dict[str, Loader] = {}


def register(name: str) -> Callable[[Loader], Loader]:
    """Makes the decorated function the loader of `name`. Raises ValueError when another file has taken the
    name.
    """

    def decorate(loader: Loader) -> Loader:
        taken = _loaders.setdefault(name, loader)
        if taken.__module__ != loader.__module__:
            raise ValueError(f"dataset {name!r} is defined in both {taken.__module__} and {loader.__module__}")
        _loaders[name] = loader
        return loader

    return decorate


def available() -> list[str]:
    """The names of all datasets, sorted."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return sorted(_loaders)


def options(name: str) -> dict[str, inspect.Parameter]:
    """The options of a dataset by name, each with its annotation and default. Raises InputError for an
    unknown name.
    """
    names = available()
    if name not in names:
        raise InputError(f"unknown dataset {name!r}; available: {', '.join(names)}")
    return dict(inspect.signature(_loaders[name]).parameters)


def make(name: str, **chosen: Any) -> Dataset:
    """Makes a dataset with the chosen options, from what is embedded, downloaded or in a folder.

    Raises InputError for an unknown name or option (listing those there are), an option that is needed and
    not given, and whatever is wrong with the data, naming the file.
    """
    known = options(name)
    for option in chosen:
        if option not in known:
            raise InputError(f"dataset {name}: unknown option {option!r}; options: {', '.join(known)}")
    for option, parameter in known.items():
        if option not in chosen and parameter.default is inspect.Parameter.empty:
            raise InputError(f"dataset {name}: option {option!r} is needed")
    return _loaders[name](**chosen)
