"""The kinds of task, by name. Adding one means adding a module or a package to this folder:

    @register
    class Mine(Task):
        name = "mine"
        ...

What it must say stands in :mod:`pipelines.tasks.base`; what it works on lies in a package of benchmarks/.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from functools import cache

from pipelines.config import params
from pipelines.config.params import Settings
from pipelines.tasks.base import Task

_registered: dict[str, Task] = {}


def register(kind: type[Task]) -> type[Task]:
    """Class decorator that makes a task known by its name."""
    _registered[kind.name] = kind()
    return kind


def load_settings(path: str | os.PathLike[str] = params.PARAMS) -> Settings:
    """params.yaml, with benchmarks of every kind of task.

    :raises InputError: see :func:`pipelines.config.params.load`.
    """
    _discover()
    return params.load(path, {name: task.settings for name, task in _registered.items()})


def task_of(settings: Settings, benchmark: str) -> Task:
    """The task of a benchmark.

    :raises InputError: for a benchmark that is not described.
    """
    _discover()
    return _registered[settings.benchmark(benchmark).task]


def kinds() -> list[Task]:
    """All kinds of task."""
    _discover()
    return list(_registered.values())


@cache
def _discover() -> None:
    for module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
        importlib.import_module(module.name)
