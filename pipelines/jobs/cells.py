"""A cell of the leaderboard: one editor on one part of one trained model, and what identifies its inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import editors
from baselines import dknn
from baselines.model_files import WEIGHTS
from benchmarks import models
from benchmarks.errors import InputError
from benchmarks.files import file_hash
from benchmarks.networks.model_split import WHOLE_MODEL
from pipelines.config.params import Settings
from pipelines.store.code import code_hash, with_imports
from pipelines.store.layout import KEYS, Layout, cell, repeated

PROTOCOL = 2
"""Version of how edits are drawn and scored; results of different versions are not comparable."""


@dataclass(frozen=True)
class Cell:
    """What one study tunes and one file of records holds.

    :ivar seed: which repetition of the training made the model.
    """

    benchmark: str
    training: str
    editor: str
    layers: str
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.benchmark} {repeated(self.training, self.seed)}/{self.editor}/{self.layers}"

    @property
    def names(self) -> dict[str, str]:
        """What stands in the columns :data:`KEYS`."""
        return {key: getattr(self, key) for key in KEYS}

    @property
    def file(self) -> str:
        """Name of the cell's files, without a suffix."""
        return cell(self.training, self.layers, self.seed)

    @property
    def model(self) -> Path:
        """The folder of its model."""
        return self.layout.model(self.training, self.seed)

    @property
    def layout(self) -> Layout:
        """Where its files lie."""
        return Layout(self.benchmark)


def cells_of(settings: Settings, benchmark: str, editor: str) -> list[Cell]:
    """The cells of one editor on one benchmark, those of trainings that are not listed left out."""
    settings.editor(editor)
    run = settings.run_of(benchmark)
    return [
        Cell(benchmark, training, editor, layers, seed)
        for training, parts in run.subsets.get(editor, {}).items()
        if training in run.trainings
        for seed in settings.training_seeds
        for layers in parts
    ]


def cells_of_run(settings: Settings, benchmark: str, names: Sequence[str] | None) -> dict[str, list[Cell]]:
    """The cells of the editors ``names``, or of all on the leaderboard, by editor; those that have none are named."""
    found = {name: cells_of(settings, benchmark, name) for name in names or settings.run_of(benchmark).leaderboard}
    for name in [name for name, cells in found.items() if not cells]:
        print(f"{benchmark} {name}: nothing to do, `trainings` lists none of those in its `subsets`")
        del found[name]
    return found


def unfinished(stage: str, cells: Mapping[str, Sequence[Cell]], finished: Callable[[Cell], bool]) -> list[Cell]:
    """The cells that are still to be made; whole models, which take longest, first, so that no worker ends alone.

    Those of the same part of the same model follow each other: what they share is computed once.
    """
    left = []
    for name, of_editor in cells.items():
        todo = [cell for cell in of_editor if not finished(cell)]
        if len(todo) < len(of_editor):
            unchanged = len(of_editor) - len(todo)
            print(f"{stage} {of_editor[0].benchmark} {name}: {unchanged} of {len(of_editor)} unchanged", flush=True)
        left += todo
    return sorted(left, key=lambda cell: (cell.layers != WHOLE_MODEL, cell.training, cell.seed, cell.layers))


def analysed_cells(settings: Settings, benchmark: str) -> list[Cell]:
    """The cells whose edits are analysed: of those named, the ones that are tuned at present."""
    return tuned_cells(settings, benchmark, "analyse", settings.benchmark(benchmark).analysis.cells)


def tuned_cells(settings: Settings, benchmark: str, stage: str, names: Sequence[Sequence[str]]) -> list[Cell]:
    """Of the cells named for a stage, each with the first training seed, the ones that are tuned at present."""
    first = settings.training_seeds[0]
    named = list(dict.fromkeys(Cell(benchmark, *names, first) for names in names))
    leaderboard = settings.run_of(benchmark).leaderboard
    editors_of_the_run = [name for name in dict.fromkeys(cell.editor for cell in named) if name in leaderboard]
    tuned = {cell for editor in editors_of_the_run for cell in cells_of(settings, benchmark, editor)}
    for absent in [one for one in named if one not in tuned]:
        print(f"{stage} {absent}: left out, as it is not among the trainings, editors and subsets of this run")
    return [one for one in named if one in tuned]


def read_tuned(cell: Cell) -> dict[str, Any]:
    """What tuning chose: ``hyperparameters`` by name, ``max_steps``, ``feasible``, ``min_success`` and ``tuning``.

    :raises InputError: if the file is missing or does not hold them.
    """
    path = cell.layout.tuned(cell.editor) / f"{cell.file}.json"
    again = f"run `python -m pipelines.tune {cell.benchmark} {cell.editor}`"
    try:
        tuned = json.loads(path.read_text())
        tuned = {name: tuned[name] for name in ("hyperparameters", "max_steps", "feasible", "min_success", "tuning")}
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: {again} first") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not hold tuned hyperparameters ({error!r}): remove it and {again}") from error
    if not isinstance(tuned["hyperparameters"], dict):
        raise InputError(f"{path} does not hold tuned hyperparameters by name: remove it and {again}")
    return tuned


def fingerprint(settings: Settings, cell: Cell, inputs: Sequence[Any], *code: str) -> str:
    """A hash of all that a cell's result depends on: its model, its data, its code and settings (also ``inputs``).

    :param code: further files of code, such as the search for hyperparameters.
    """
    method = settings.method(cell.editor)
    known = [PROTOCOL, str(cell), method, settings.editor(cell.editor).asked, settings.seed, inputs]
    known += ["compiled"] if settings.compiles(cell.editor) else []
    digest = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode())
    for path in (cell.model / WEIGHTS, cell.layout.data / "dataset.json"):
        try:
            digest.update(file_hash(path).encode())
        except FileNotFoundError as error:
            raise InputError(f"{path} is missing: run the stage that makes it first") from error
    for path in _code(settings, cell, code):
        digest.update(code_hash(path).encode())
    return digest.hexdigest()


def _code(settings: Settings, cell: Cell, more: Sequence[str]) -> list[Path]:
    """The files that decide how an edit is made and scored, and ``more``."""
    architecture = settings.benchmark(cell.benchmark).model_of(cell.training).architecture
    files = [_SCORERS, models.file_of(architecture), editors.file_of(settings.method(cell.editor))]
    if settings.training(cell.benchmark, cell.training).recipe == "dknn":
        files.append(Path(dknn.__file__))
    return with_imports([*files, *map(Path, more)], ("editors", "benchmarks"))


_SCORERS = Path(__file__).with_name("scorers.py")
