"""What is made of a benchmark: models, and cells of its leaderboard (an editor on a part of a model)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.config.params import Settings
from pipelines.store.layout import KEYS, TIMING, Layout, cell, read_json, repeated
from pipelines.store.schemas import Tuned

PROTOCOL = 2
"""Version of how edits are drawn and scored; results of different versions are not comparable."""
WHOLE_MODEL = "all"


@dataclass(frozen=True)
class ModelKey:
    """A model to be made: a training of a benchmark, with one of the training seeds."""

    benchmark: str
    training: str
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.benchmark} {self.name}"

    @property
    def name(self) -> str:
        """The name of its folders."""
        return repeated(self.training, self.seed)

    @property
    def folder(self) -> Path:
        """Its weights."""
        return Layout(self.benchmark).model(self.training, self.seed)

    @property
    def described(self) -> Path:
        """The small files that a report reads."""
        return Layout(self.benchmark).described(self.training, self.seed)

    @property
    def checkpoints(self) -> Path:
        """What its training resumes from while it is unfinished."""
        return Layout(self.benchmark).unfinished("training", self.name)


@dataclass(frozen=True)
class Cell:
    """What one study tunes and one file of records holds.

    :ivar seed: the repetition of the training that made the model; ``edit_seed`` that of the edits.
    """

    benchmark: str
    training: str
    editor: str
    layers: str
    seed: int = 0
    edit_seed: int = 0

    def __str__(self) -> str:
        named = f"{self.benchmark} {repeated(self.training, self.seed)}/{self.editor}/{self.layers}"
        return repeated(named, self.edit_seed)

    @property
    def names(self) -> dict[str, str]:
        """The columns :data:`KEYS`."""
        return {key: getattr(self, key) for key in KEYS}

    @property
    def file(self) -> str:
        """Name of the cell's files, without a suffix."""
        return cell(self.training, self.layers, self.seed, self.edit_seed)

    @property
    def full_name(self) -> str:
        """The same in a folder of all editors."""
        return f"{self.editor}-{self.file}"

    @property
    def model(self) -> ModelKey:
        """Whose weights are edited."""
        return ModelKey(self.benchmark, self.training, self.seed)

    @property
    def layout(self) -> Layout:
        """Where its files lie."""
        return Layout(self.benchmark)

    @property
    def tuned(self) -> Path:
        """The description of its tuning, which the edits of all edit seeds share."""
        return self.layout.tuned(self.editor) / f"{replace(self, edit_seed=0).file}.json"


def models_of(settings: Settings, benchmark: str, trainings: Sequence[str] | None = None) -> list[ModelKey]:
    """The models of the ``trainings``, or of all, with every training seed."""
    names = trainings if trainings is not None else settings.benchmark(benchmark).trainings
    return [ModelKey(benchmark, name, seed) for seed in settings.training_seeds for name in names]


def cells_of_run(
    settings: Settings, benchmark: str, names: Sequence[str] | None, edit_seeds: Sequence[int] = (0,)
) -> dict[str, list[Cell]]:
    """The cells of the editors ``names``, or of all, by editor; those that edit nothing on this benchmark left out.

    Each has every training seed and each of the ``edit_seeds``.
    """
    block = settings.benchmark(benchmark)
    found = {
        name: [
            Cell(benchmark, training, name, layers, seed, edit_seed)
            for training, parts in block.layers_of(name).items()
            for seed in settings.training_seeds
            for edit_seed in edit_seeds
            for layers in parts
        ]
        for name in names or block.editors
    }
    for name in [name for name in names or () if not found[name]]:
        print(f"{benchmark} {name}: nothing to do, its block names no `layers`")
    return {name: cells for name, cells in found.items() if cells}


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


def tuned_cells(settings: Settings, benchmark: str, stage: str, names: Sequence[Sequence[str]]) -> list[Cell]:
    """Of the cells named for a stage, each with the first training seed, the ones that are tuned at present."""
    first = settings.training_seeds[0]
    named = list(dict.fromkeys(Cell(benchmark, *names, first) for names in names))
    tuned = {cell for cells in cells_of_run(settings, benchmark, None).values() for cell in cells}
    for absent in [one for one in named if one not in tuned]:
        print(f"{stage} {absent}: left out, as its editor's `layers` do not name it")
    return [one for one in named if one in tuned]


def read_tuned(cell: Cell) -> dict[str, Any]:
    """The values that tuning chose: ``hyperparameters``, ``max_steps``, ``feasible``, ``min_success`` and ``tuning``.

    :raises InputError: if the file is missing or does not hold them.
    """
    tuned = Tuned.read(cell.tuned, cell.layout.again("tune", cell.editor))
    return {name: tuned[name] for name in ("hyperparameters", "max_steps", "feasible", "min_success", "tuning")}


def read_times(folder: Path) -> dict[str, float | None]:
    """Seconds of the studies in a folder by cell, also of an earlier run: what is unchanged keeps its time."""
    return read_json(folder / TIMING)
