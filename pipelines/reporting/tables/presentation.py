"""How the results of one kind of task are told: what its adapter gives a report, the results that are read by that, and
the tables that are written of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from benchmarks.metrics import Column, Measures, Quality
from pipelines.config.params import Settings
from pipelines.jobs.cells import PROTOCOL, Cell, cells_of_run
from pipelines.reporting.ranking import READING
from pipelines.reporting.tables.results import CellResult, hyperparameters_of, read_records, timings, with_origins
from pipelines.reporting.tables.sheet import Sheet, code, escape, to_markdown
from pipelines.store.layout import KEYS, LEARNED, ORIGIN, Layout, read_json, write_csv
from pipelines.store.schemas import TIMING, Measured

_DERIVED = {"_learned": ", learned", "_seeds_std": ", sd over trainings", "_edit_seeds_std": ", sd over sets of edits"}
"""Endings of columns that follow from a metric's, and of their labels."""
EXTRA = {"already_right": Column("Already right", "%", 1)}
"""Columns that are no metric of a task."""
_ORDER = (
    "Its rows come first, by drawdown; then those that are beaten, those that carry no further than the unedited "
    "network (†), and those whose success is clearly below the required rate."
)
_ABOUT_LEARNED = (
    '"Learned" are the same edits with the hyperparameters that Editable Training ended with, which no tuning held to '
    "the required success. "
)


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
    :ivar headline: the main metrics: the model's quality, the drawdown, the success rate first.
    :ivar axes: titles of axes in figures: of the drawdown, and of the model's quality.
    :ivar histories: what a training logs: titles of axes, and the columns drawn there.
    :ivar judged: the column that the kept epoch was chosen by, and its unit.
    :ivar sequences: columns of tables of edits in a row, and the titles above them.
    :ivar tables: the paper's, and ``claims`` the file of its claims; a task that no paper is about has neither.
    :ivar edited: what is edited, in words.
    :ivar note: what a reader of a cell's row should know of its training and editor, such as
        ``trained with clip_norm 10``; else nothing.
    :ivar published_training: what the paper calls a training, from a benchmark's and our name.
    :ivar words: what stands for names in captions, for a benchmark, besides those of :class:`Table`; these may stand in
        them.
    :ivar examples: makes a page of examples of a benchmark's name, and headings of rows with their records.
    :ivar files: what lies in a benchmark's folder besides: a name, pages, data.
    """

    measures: Measures
    quality: Callable[[Cell, Mapping[str, Any]], Quality]
    leaderboard: Table
    headline: tuple[str, ...]
    axes: Mapping[str, str]
    histories: Mapping[str, tuple[str, ...]]
    judged: tuple[str, str]
    sequences: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    claims: Path | None = None
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
        for ending, words in _DERIVED.items():
            if (metric := self.measures.columns.get(name.removesuffix(ending))) and name.endswith(ending):
                return Column(metric.label + words, metric.unit, metric.digits)
        return self.measures.columns.get(name, EXTRA.get(name))

    def read(self, settings: Settings, benchmark: str, kind: str = "") -> list[CellResult]:
        """Every cell of the benchmark, in the order of its editors; repetitions with the first of their kind.

        :param kind: of records; :data:`pipelines.store.layout.MISTAKES` for those of realistic mistakes.
        :raises InputError: for a missing or broken file, or records made with another protocol.
        """
        groups: dict[tuple[str, ...], list[CellResult]] = {}
        seeds = settings.edit_seeds[:1] if kind else settings.edit_seeds  # mistakes are the same with each
        for cells in cells_of_run(settings, benchmark, None, seeds).values():
            for cell in cells:
                groups.setdefault(tuple(cell.names.values()), []).append(self.read_cell(settings, cell, kind))
        return with_origins([replace(first, repetitions=tuple(others)) for first, *others in groups.values()])

    def read_cell(self, settings: Settings, cell: Cell, kind: str = "") -> CellResult:
        """One cell; see :meth:`read`."""
        path = cell.layout.edits(cell.editor) / f"{cell.file}{kind}.json"
        again = cell.layout.again("evaluate", cell.editor)
        description = Measured.read(path, again)
        if (protocol := description["protocol"]) != PROTOCOL:
            raise InputError(f"{path} was made with protocol {protocol}, this is {PROTOCOL}: {again}")
        timing = TIMING.read(path.with_suffix(".timing.csv"), again, description["edits"])
        try:
            records = read_records(path.with_suffix(".csv"), self.measures, description, again)
            learned = path.with_suffix(LEARNED) if description.get("learned") else None
            learned = read_records(learned, self.measures, description, again) if learned else None
            quality = self.quality(cell, description)
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"the results at {path} are broken ({error}): remove them and {again}") from error
        return CellResult(
            *(cell, description, records, timing["milliseconds"], self.measures, quality),
            method=settings.benchmark(cell.benchmark).method(cell.editor),
            published_training=self.published_training(settings, cell.benchmark, cell.training),
            learned=learned,
            edited="mistakes" if kind else self.edited,
            notes=tuple(filter(None, [_trained_elsewhere(cell, description), self.note(settings, cell)])),
        )


def _trained_elsewhere(cell: Cell, description: Mapping[str, Any]) -> str:
    """On which machine the cell's model was trained, if another one edited it and both were written down."""
    trained = read_json(cell.model.described / ORIGIN).get("machine")
    return f"trained on {trained}" if trained and trained != description["made"]["machine"] else ""


def write_tables(
    settings: Settings,
    layout: Layout,
    told: Presentation,
    results: Sequence[CellResult],
    mistakes: Sequence[CellResult],
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Write every table; one of which this run has no row is removed.

    :returns: the leaderboard, and the paper's tables by name, empty where there are none of their rows.
    """
    board = told.leaderboard.rows(results)
    tables = {table.name: table.rows(mistakes if table.of_mistakes else results) for table in told.tables}
    words = _words(board, mistakes)
    words |= {name: text.format(**words) for name, text in told.words(settings, layout.benchmark).items()}
    drawdown, quality = told.measures.drawdown, results[0].quality
    notes = [escape(settings.benchmark(layout.benchmark).note)]
    if quality.signature:
        notes.append(f"{told.measures.columns[quality.name].label}: {code(quality.signature)}.")
    ranked = replace(told.leaderboard, caption=f"{READING} {_ORDER}\n\n{told.leaderboard.caption}")
    for table, frame in (*((table, tables[table.name]) for table in told.tables), (ranked, board)):
        data, page = (layout.results / f"{table.name}{suffix}" for suffix in (".csv", ".md"))
        if frame.empty:
            data.unlink(missing_ok=True)
            page.unlink(missing_ok=True)
            continue
        write_csv(data, frame, digits=6)
        # Most rows of the leaderboard have no published counterpart: of the paper's numbers, it shows the drawdown.
        if table is ranked:
            frame = frame.drop(columns=set(frame.filter(like="published_")) - {f"published_{drawdown}"})
        chosen = [name for name in hyperparameters_of(results) if name in frame]
        title, columns = table.title.format(benchmark=layout.benchmark), told.columns(table.columns, frame)
        sheet = Sheet(title, frame, columns, drawdown, table.keys, chosen)
        write_atomically(page, to_markdown(sheet, caption=table.caption.format(**words), notes=notes))
    write_csv(layout.results / "timings.csv", timings(results), digits=6)
    return board, tables


def _words(board: pd.DataFrame, mistakes: Sequence[CellResult]) -> dict[str, str]:
    """What stands for the names in captions."""
    fewer = "" if board["edits"].nunique() == 1 else " (of an editor whose steps are slow, fewer)"
    learned = any(name.endswith("_learned") for name in board)
    return {
        "edits": f"{board['edits'].max()} edits{fewer}",
        "mistakes": str(max((result.description["edits"] for result in mistakes), default=0)),
        "learned": _ABOUT_LEARNED if learned else "",
    }
