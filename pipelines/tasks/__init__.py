"""The kinds of task, by name, and what stages do with a cell of any of them. Adding a kind means adding a module here:

    @register
    class Mine(Task):
        name = "mine"
        ...

What it must say stands in :mod:`pipelines.tasks.base`; what it works on lies in a package of benchmarks/.

Cells of the same part of a model differ in their editors only. So the activations of thousands of control examples and
the statistics of the training data are computed once for all such cells that a process works on one after the other.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import pandas as pd

import editors
from baselines.model_files import WEIGHTS
from pipelines.config import params
from pipelines.config.params import Settings
from pipelines.jobs.cells import PROTOCOL, Cell, read_times, read_tuned
from pipelines.jobs.engine import share_out
from pipelines.store.fingerprint import fingerprint, is_made_of, made_hash
from pipelines.store.layout import Layout, remove_others, write_csv
from pipelines.store.provenance import git_commit, made_here
from pipelines.store.schemas import Data
from pipelines.tasks.base import RANDOM, EditSet, Scorer, Task

_Value = TypeVar("_Value")
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
    return _data.of((benchmark, made_hash(folder / task.data_file)), lambda: task.load(folder))


def data_fingerprint(settings: Settings, benchmark: str) -> str:
    """The fingerprint of a benchmark's prepared data, as their description has it.

    :raises InputError: if they are missing or broken.
    """
    layout = Layout(benchmark)
    return Data.read(layout.data / task_of(settings, benchmark).data_file, layout.again("prepare"))["fingerprint"]


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


def edits_of(settings: Settings, cell: Cell, split: str, source: str = RANDOM) -> EditSet:
    """The edits of a stage, fewer for an editor that takes long."""
    block = settings.benchmark(cell.benchmark)
    asked = task_of(settings, cell.benchmark).edit_set(block, split, source, cell.edit_seed)
    return replace(asked, count=min(asked.count, block.editor(cell.editor).max_edits or asked.count))


def demand_of(settings: Settings, cell: Cell) -> dict[str, Hashable]:
    """What is asked of a cell's edits besides the target for the edited example itself."""
    block = settings.benchmark(cell.benchmark).editor(cell.editor)
    return {"views": block.views, "margin": block.margin}


def tuned_editor(settings: Settings, cell: Cell, scorer: Any, values: Mapping[str, Any]) -> editors.Editor:
    """The cell's editor with the ``hyperparameters`` and ``max_steps`` among ``values``; see :func:`editor_of`."""
    return editor_of(settings, cell, scorer, **values["hyperparameters"], max_steps=values["max_steps"])


def editor_of(settings: Settings, cell: Cell, scorer: Any, **values: Any) -> editors.Editor:
    """The cell's editor with these hyperparameters, and with what it must know of the training data, which is computed
    once per part of a model and method.
    """
    editor = settings.build(cell.benchmark, cell.editor, **values)
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
    files = [made_hash(path) for path in (cell.model.folder / WEIGHTS, data)]
    return (*files, cell.benchmark, cell.training, cell.seed, cell.layers, settings.seed, str(settings.torch_device()))


def description(
    settings: Settings, cell: Cell, tuned: Mapping[str, Any], more: Mapping[str, Any], found: str
) -> dict[str, Any]:
    """What stands beside a cell's records: names, hyperparameters, ``more``, and where they come from.

    :param found: their fingerprint.
    """
    return {
        "benchmark": cell.benchmark,
        **cell.names,
        "hyperparameters": tuned["hyperparameters"],
        "max_steps": tuned["max_steps"],
        **more,
        "dataset": data_fingerprint(settings, cell.benchmark),
        "protocol": PROTOCOL,
        "made": made_here(settings.torch_device()),
        "fingerprint": found,
    }


@dataclass(frozen=True)
class CellRecords:
    """The records of one cell in a folder of results, and what decides them.

    :ivar tuned: the chosen hyperparameters.
    """

    cell: Cell
    folder: Path
    tuned: Mapping[str, Any]
    identity: str

    @classmethod
    def of(
        cls, settings: Settings, cell: Cell, folder: Path, decides: Sequence[Any], code: str, *more: Any
    ) -> CellRecords:
        """Decided by the file ``code`` and by what ``decides`` and ``more``, besides the cell's hyperparameters."""
        tuned = read_tuned(cell)
        described = [*decides, tuned["hyperparameters"], tuned["max_steps"], *more]
        return cls(cell, folder, tuned, identity(settings, cell, described, code))

    def file(self, ending: str = ".csv") -> Path:
        """The records, or what lies beside them: ``.json``, their description."""
        return self.folder / f"{self.cell.full_name}{ending}"

    @property
    def shards(self) -> Path:
        """What an interrupted run leaves."""
        return self.cell.layout.unfinished(self.folder.name, f"{self.cell.full_name}-{self.identity[:12]}")


def make_records(
    settings: Settings,
    layout: Layout,
    folder: Path,
    asked: Sequence[CellRecords],
    work: Callable[[Settings, CellRecords], None],
    keep: Iterable[str] = (),
    endings: Sequence[str] = (".json", ".csv"),
) -> None:
    """Make those records in ``folder`` that are not up to date, and remove what belongs to no cell any more.

    :param keep: names of other files there; ``endings`` of the files of a cell.
    """
    todo = [one for one in asked if not is_made_of(one.file(".json"), one.identity, *map(one.file, endings))]
    if len(todo) < len(asked):
        print(f"{folder.name} {layout.benchmark}: {len(asked) - len(todo)} of {len(asked)} unchanged", flush=True)
    git_commit()  # looked up once, before there are workers
    # What took longest to tune takes longest: first, so that no worker ends alone.
    todo.sort(key=lambda one: read_times(one.cell.tuned.parent).get(one.cell.file) or 0.0, reverse=True)
    share_out(settings, partial(work, settings), todo)
    remove_others(folder, {one.file(ending).name for one in asked for ending in endings} | {*keep})
    shutil.rmtree(layout.unfinished(folder.name), ignore_errors=True)


def write_table(path: Path, asked: Sequence[CellRecords], rows: Callable[[CellRecords], Any]) -> None:
    """Write the rows of all cells, each after the names of its cell, as one table; there is none without cells."""
    if asked:
        tables = [pd.DataFrame({**one.cell.names, **rows(one)}) for one in asked]
        write_csv(path, pd.concat(tables, ignore_index=True), digits=6)
    else:
        path.unlink(missing_ok=True)
