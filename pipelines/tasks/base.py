"""The contract between the stages and a kind of task, such as classifying images.

A task says how its data are prepared and loaded, how its models are made, how edits are drawn and scored, and which
metric is its drawdown. Everything else (cells, waves of trainings, the search, shards, repetitions, fingerprints,
tables, claims, MLflow) the stages do for all tasks alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pandas as pd
from torch import nn

import editors
from benchmarks.errors import InputError
from benchmarks.metrics import Measures
from pipelines.config.blocks import Benchmark, SequenceSettings
from pipelines.config.params import Settings
from pipelines.jobs.cells import Cell, ModelKey
from pipelines.reporting.tables.presentation import Presentation

RANDOM, MISTAKES = "random", "mistakes"

OnEpoch = Callable[[Mapping[str, float]], None]
"""Called with the numbers of each epoch, its number among them as ``epoch``."""


@dataclass(frozen=True)
class EditSet:
    """Which edits are made: ``count`` of a ``split``, drawn with an edit seed.

    :ivar split: ``tuning`` or ``test``.
    :ivar source: ``random`` targets, or ``mistakes`` of a model to be corrected.
    """

    split: str
    count: int
    source: str = RANDOM
    seed: int = 0


@dataclass(frozen=True)
class Made:
    """A model and the small files about it.

    :ivar description: a dataclass, written as ``model.json``, with ``fingerprint``, the ``epoch`` that was kept, of
        ``epochs``, and the number it was chosen by (``judged`` of the task's presentation).
    :ivar history: the numbers of each epoch; empty for a model that is made without training.
    :ivar seconds: wall time of the training.
    :ivar files: further small files by name: tables as CSV, mappings as JSON.
    :ivar outcome: what came out, in a few words, for the line that says that it is made.
    """

    model: nn.Module
    description: Any
    outcome: str
    history: Sequence[Mapping[str, float]] = ()
    seconds: float = 0.0
    files: Mapping[str, pd.DataFrame | Mapping[str, Any]] = field(default_factory=dict)


class _Edits(Protocol):
    """What stages ask of edits of one model, however these are made."""

    def statistics(self, editor: editors.Editor) -> Any:
        """What the editor must know of the training data; None, at no cost, for an editor that needs nothing."""

    def described(self) -> Mapping[str, Any]:
        """What is known of the model and its examples before any edit, for the description."""


class Scorer(_Edits, Protocol):
    """Single edits, and what they do to a split; made by :meth:`Task.scorer`."""

    requests: Any
    """As many as ``len`` says."""
    control_size: int | None

    @property
    def examples(self) -> int:
        """Those of the whole split."""

    def edit(self, editor: editors.Editor, rows: Sequence[int]) -> tuple[list[editors.Edit], float]:
        """The edits of the requests ``rows``, and the milliseconds that each took."""

    def records(
        self, rows: Sequence[int], edits: Sequence[editors.Edit], *, generality: bool = True, every: bool = False
    ) -> Sequence[Any]:
        """Dataclasses that say what each of these edits did, all of one kind.

        :param generality: look at how far it reaches as well.
        :param every: look at the whole split, whatever ``control_size`` is.
        """

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """Further columns of the records, one value per request."""


class RowScorer(_Edits, Protocol):
    """Edits in a row; made by :meth:`Task.row_scorer`."""

    count: int
    """Edits in the row."""

    def run(self, editor: editors.Editor, order: int) -> list[Any]:
        """The records of the row in one of its orders: dataclasses with what
        :func:`benchmarks.scoring.sequential.by_number` reads.
        """


class JointEdits(_Edits, Protocol):
    """Many edits together; made by :meth:`Task.joint_scorer`."""

    def most(self, source: str) -> int:
        """The largest number of edits together that there are."""

    def run(self, editor: editors.Editor, source: str, count: int, draw: int, manner: str) -> tuple[Any, float]:
        """The record of one draw, a dataclass like :class:`benchmarks.scoring.joint.JointRecord`, and the seconds that
        the edits took.

        :param manner: one of :data:`benchmarks.scoring.joint.MANNERS`.
        """


class Task(ABC):
    """One kind of task; a subclass registers itself with :func:`pipelines.tasks.register`."""

    name: ClassVar[str]
    """As ``task`` in the configuration of a benchmark."""
    settings: ClassVar[type[Benchmark]]
    """The class that reads such a configuration."""
    data_file: ClassVar[str]
    """In the folder of prepared data, the JSON file that says what they are: their ``source`` in words, ``fingerprint``
    and how many there are by split.
    """
    presentation: ClassVar[Presentation]
    """What tables and pages say, the metrics that records give among it."""
    rescorable: ClassVar[int] = 20
    """The best trials of a search are looked at on the whole split if it is at most so many times as large as the
    control examples of an edit; 0 for never. Looking at a larger one would cost more than all of the search."""
    analysis_tables: ClassVar[Mapping[str, list[str]]] = {}
    """The tables that :meth:`analyse` makes, and the columns that each starts with."""

    @property
    def measures(self) -> Measures:
        """The metrics that records give, and which of them is the drawdown."""
        return self.presentation.measures

    # Data

    @abstractmethod
    def prepare(self, chosen: Benchmark, folder: Path) -> str:
        """Bring the data into the form that :meth:`load` reads; says how many there are."""

    @abstractmethod
    def data_code(self, chosen: Benchmark) -> Sequence[str | Path]:
        """The files of code that decide about prepared data."""

    @abstractmethod
    def load(self, folder: Path) -> Any:
        """The prepared data.

        :raises InputError: for missing or broken files.
        """

    def export(self, data: Any, folder: Path) -> None:
        """Write the test examples to a folder, as files that other programs read.

        :raises InputError: for a task whose examples are no files.
        """
        raise InputError(f"there is no export for {self.name}")

    # Models

    @abstractmethod
    def make(self, settings: Settings, key: ModelKey, data: Any, on_epoch: OnEpoch) -> Made:
        """One model, trained or made of another one.

        :raises InputError: for whatever makes that impossible.
        """

    @abstractmethod
    def made_from(self, settings: Settings, key: ModelKey) -> tuple[list[Any], Sequence[str | Path]]:
        """What decides about a model besides its training's block, data, seeds and sources: settings, and code."""

    # Edits

    def sources(self, chosen: Benchmark) -> tuple[str, ...]:
        """What is edited in evaluation, one set of records for each."""
        return (RANDOM,)

    def edit_set(self, chosen: Benchmark, split: str, source: str = RANDOM, seed: int = 0) -> EditSet:
        """The edits of a stage."""
        count = chosen.tuning.drawn if split == "tuning" else chosen.evaluation.edits
        return EditSet(split, count, source, seed)

    def draw(self, settings: Settings, benchmark: str, edits: EditSet) -> None:
        """Draw a set of edits that takes long to draw, once for all models; does nothing where that is quick."""
        return None

    def edits_from(self, settings: Settings, cell: Cell, edits: EditSet) -> list[Any]:
        """What decides which edits a set has, besides the seed of the suite and the benchmark's name."""
        return []

    @abstractmethod
    def scorer(
        self, settings: Settings, cell: Cell, data: Any, edits: EditSet, control_size: int | None, **demand: Any
    ) -> Scorer:
        """The cell's model with its requests, ready to be edited and scored.

        :param demand: ``views`` and ``margin``, see :class:`pipelines.config.blocks.EditorSettings`.
        :raises InputError: for a model that is missing, or was trained on other data.
        """

    @abstractmethod
    def scoring_code(self, settings: Settings, cell: Cell) -> Sequence[str | Path]:
        """The files of code that decide what an edit does, and what a record says of it, but for the editor's."""

    def keep(self, scorer: Any, cell: Cell) -> None:
        """Write what a report needs of a cell's model before any edit, beside the records."""
        return None

    def kept(self, cell: Cell) -> list[Path]:
        """The files that :meth:`keep` writes."""
        return []

    def row_scorer(
        self, settings: Settings, cell: Cell, data: Any, asked: SequenceSettings, **demand: Any
    ) -> RowScorer:
        """The cell's model, ready to be edited again and again.

        :raises InputError: for a task that has none.
        """
        raise InputError(f"{cell.benchmark}: sequences: edits in a row are not there for {self.name}")

    def joint_scorer(self, settings: Settings, cell: Cell, data: Any, **demand: Any) -> JointEdits:
        """The cell's model, ready for many edits together.

        :raises InputError: for a task that has none.
        """
        raise InputError(f"{cell.benchmark}: joint: edits together are not there for {self.name}")

    # Beyond: what some tasks have and others do not

    def analyse(self, settings: Settings, cell: Cell) -> Mapping[str, pd.DataFrame] | None:
        """Tables of what each of many edits did to every test example, by name; None if there are none."""
        return None

    def analysed(self, cells: Sequence[Cell]) -> list[Path]:
        """The files and folders that analysing these cells leaves in ``Layout.descriptors``."""
        return []

    def after_sequences(self, settings: Settings, benchmark: str) -> None:
        """What else the stage ``sequences`` measures."""
        return None
