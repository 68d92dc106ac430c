"""How the results of one kind of task are told: what its adapter gives a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmarks.metrics import Column, Measures, Quality
from pipelines.config.params import Settings
from pipelines.jobs.cells import KEYS, Cell

if TYPE_CHECKING:
    from pipelines.reporting.tables.results import CellResult


@dataclass(frozen=True)
class Table:
    """A table of the paper, or the leaderboard.

    :ivar name: of its files, such as ``table1``.
    :ivar title: with ``{benchmark}`` in it.
    :ivar caption: with ``{edits}``, ``{mistakes}`` and ``{learned}`` in it: how many there are, and what the columns of
        learned hyperparameters mean.
    :ivar columns: the metrics that are shown, as far as the rows have them.
    :ivar rows: makes its rows of the results; an empty frame where none of its rows is part of a run.
    :ivar keys: the columns that name a row.
    :ivar main: whether benchmarks are run for it, so that the index shows it.
    :ivar of_mistakes: whether it is made of edits of realistic mistakes.
    :ivar picture: what its figure shows.
    """

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: Callable[[Sequence[CellResult]], pd.DataFrame]
    keys: tuple[str, ...] = tuple(KEYS)
    main: bool = False
    of_mistakes: bool = False
    picture: str = ""

    @property
    def heading(self) -> str:
        """The title without a benchmark."""
        return self.title.replace(" on {benchmark}", "").replace(" of {benchmark}", "")


@dataclass(frozen=True)
class Presentation:
    """All that is particular to one kind of task, whichever the benchmark.

    :ivar quality: reads how good a cell's model is before any edit, from what evaluation wrote down about the cell.
    :ivar tables: the paper's.
    :ivar headline: the main metrics: the model's quality, the drawdown, the success rate first.
    :ivar claims: the file of the paper's claims.
    :ivar edited: what is edited, in words.
    :ivar note: what a reader of a cell's row should know of its training and editor, such as
        ``trained with clip_norm 10``; else nothing.
    :ivar published_training: what the paper calls a training, from a benchmark's and our name.
    :ivar words: what stands for names in captions, for a benchmark, besides those of :class:`Table`.
    :ivar examples: makes a page of examples of a benchmark's name, and headings of rows with their records.
    :ivar files: what lies in a benchmark's folder besides: a name, pages, data.
    """

    measures: Measures
    quality: Callable[[Cell, Mapping[str, Any]], Quality]
    tables: tuple[Table, ...]
    leaderboard: Table
    headline: tuple[str, ...]
    claims: Path
    edited: str = "the test split"
    note: Callable[[Settings, Cell], str] = lambda settings, cell: ""
    published_training: Callable[[Settings, str, str], str] = lambda settings, benchmark, training: training
    words: Callable[[Settings, str], Mapping[str, str]] = lambda settings, benchmark: {}
    examples: Callable[[str, Sequence[tuple[str, pd.DataFrame]]], str] | None = None
    files: tuple[tuple[str, tuple[str, ...], str], ...] = ()

    def columns(self, names: Sequence[str], frame: pd.DataFrame) -> dict[str, Column]:
        """How the metrics among ``names`` that a frame has are shown."""
        return {name: self._column(name) for name in names if name in frame}

    def _column(self, name: str) -> Column:
        """That of a metric; of one with learned hyperparameters, or of its spread over trainings, from the metric's."""
        for ending, words in ((LEARNED, ", learned"), (SPREAD, ", sd over trainings")):
            if name.endswith(ending):
                metric = self.measures.columns[name.removesuffix(ending)]
                return Column(metric.label + words, metric.unit, metric.digits)
        return self.measures.columns.get(name, EXTRA.get(name))


LEARNED, SPREAD = "_learned", "_seeds_std"
"""Endings of columns: with the hyperparameters that training ended with; standard deviation over training seeds."""
EXTRA = {"already_right": Column("Already right", "%", 1)}
"""Columns that are no metric of a task."""
