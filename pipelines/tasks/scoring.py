"""A cell's model with its requests, ready to be edited and scored, and what identifies its results.

Cells of the same part of a model differ in their editors only. So the activations of thousands of control examples and
the statistics of the training data are computed once for all such cells that a process works on one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import editors
from baselines.model_files import WEIGHTS
from benchmarks.errors import InputError
from benchmarks.files import file_hash
from pipelines.config.params import Settings
from pipelines.jobs.cells import PROTOCOL, Cell
from pipelines.store.fingerprint import fingerprint
from pipelines.store.layout import Layout
from pipelines.tasks import task_of
from pipelines.tasks.base import EditSet, Scorer, demand_of

_Value = TypeVar("_Value")


class _Latest(Generic[_Value]):
    """The last value that was asked for: the one before is let go first, as both may be large."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._value: _Value | None = None

    def of(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        if self._value is None or key != self._key:
            self._key = self._value = None
            self._key, self._value = key, make()
        return self._value


_data: _Latest[Any] = _Latest()
_scorers: _Latest[Scorer] = _Latest()
_statistics: _Latest[dict[str, Any]] = _Latest()


def data_of(settings: Settings, benchmark: str, folder: Path) -> Any:
    """The prepared data of a benchmark.

    :raises InputError: for missing or broken files.
    """
    task = task_of(settings, benchmark)
    return _data.of((benchmark, _hash(folder / task.data_file)), lambda: task.load(folder))


def data_fingerprint(settings: Settings, benchmark: str) -> str:
    """The fingerprint of a benchmark's prepared data, as their description has it.

    :raises InputError: if they are missing or broken.
    """
    path = Layout(benchmark).data / task_of(settings, benchmark).data_file
    try:
        return str(json.loads(path.read_text())["fingerprint"])
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: run `python -m pipelines.prepare {benchmark}` first") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not describe data ({error!r}): prepare them again") from error


def scorer_of(settings: Settings, cell: Cell, edits: EditSet, control_size: int | None) -> Scorer:
    """The cell's model with a set of edits.

    The requests depend on the suite's seed, the benchmark and the set alone: every editor and every training meets the
    same ones.

    :raises InputError: for missing or broken files, or a model that was trained on other data.
    """
    task, demand = task_of(settings, cell.benchmark), demand_of(settings, cell)
    source = tuple(map(str, task.edits_from(settings, cell, edits)))
    key = (*_part(settings, cell), edits, source, control_size, *demand.values(), settings.cache_gib)
    data = data_of(settings, cell.benchmark, cell.layout.data)
    return _scorers.of(key, lambda: task.scorer(settings, cell, data, edits, control_size, **demand))


def informed(settings: Settings, cell: Cell, scorer: Any, editor: editors.Editor) -> editors.Editor:
    """The editor with what it must know of the training data, computed once per part of a model and method."""
    if not editor.needs_statistics:
        return editor
    known = _statistics.of(_part(settings, cell), dict)
    method = settings.benchmark(cell.benchmark).method(cell.editor)
    if method not in known:
        known[method] = scorer.statistics(editor)
    return editor.informed(known[method])


def identity(settings: Settings, cell: Cell, described: Sequence[Any], *code: str | Path) -> str:
    """A fingerprint of all that a cell's result depends on: model, data, editor, code, and what is ``described``.

    :param code: further files of code, such as the search for hyperparameters.
    :raises InputError: for a model or data that are missing.
    """
    block, task = settings.benchmark(cell.benchmark), task_of(settings, cell.benchmark)
    method = block.method(cell.editor)
    known = [PROTOCOL, str(cell), method, block.editor(cell.editor).asked, settings.seed, *described]
    known += ["compiled"] if settings.compiles(cell.benchmark, cell.editor) else []
    files = [cell.model.folder / WEIGHTS, cell.layout.data / task.data_file]
    return fingerprint(known, [*task.scoring_code(settings, cell), editors.file_of(method), *code], files)


def _part(settings: Settings, cell: Cell) -> tuple[Hashable, ...]:
    """What cells have in common whose editors change the same part of the same model."""
    data = cell.layout.data / task_of(settings, cell.benchmark).data_file
    files = [_hash(path) for path in (cell.model.folder / WEIGHTS, data)]
    return (*files, cell.benchmark, cell.training, cell.seed, cell.layers, settings.seed, str(settings.torch_device()))


def _hash(path: Path) -> str:
    try:
        return file_hash(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: run the stage that makes it first") from error
