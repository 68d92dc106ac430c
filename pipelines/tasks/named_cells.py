"""Records of the cells that a block of a configuration names, made where they are not up to date, and their tables."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.config.params import Settings
from pipelines.jobs.cells import Cell, read_tuned
from pipelines.jobs.engine import share_out
from pipelines.store.fingerprint import is_made_of
from pipelines.store.layout import Layout, remove_others, write_csv
from pipelines.store.provenance import git_commit
from pipelines.tasks import identity


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


def make(
    settings: Settings,
    layout: Layout,
    folder: Path,
    asked: Sequence[CellRecords],
    work: Callable[[Settings, CellRecords], None],
    keep: Iterable[str] = (),
    endings: Iterable[str] = (".json", ".csv"),
) -> None:
    """Make those records in ``folder`` that are not up to date, and remove what belongs to no cell any more.

    :param keep: names of other files there; ``endings`` of the files of a cell.
    """
    todo = [one for one in asked if not is_made_of(one.file(".json"), one.identity, one.file())]
    if len(todo) < len(asked):
        print(f"{folder.name} {layout.benchmark}: {len(asked) - len(todo)} of {len(asked)} unchanged", flush=True)
    git_commit()  # looked up once, before there are workers
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
