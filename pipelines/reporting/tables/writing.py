"""The tables of a report as files: CSV with all numbers, Markdown for people, the leaderboard as a page of HTML too."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from benchmarks.files import write_atomically
from pipelines.config.params import Settings
from pipelines.reporting.pages.leaderboard import leaderboard_html
from pipelines.reporting.tables.markdown import Sheet, escape, to_markdown
from pipelines.reporting.tables.presentation import Presentation, Table
from pipelines.reporting.tables.results import CellResult, hyperparameters_of, timings
from pipelines.store.csv_files import write_csv
from pipelines.store.layout import Layout

_LEARNED = (
    '"Learned" are the same edits with the hyperparameters that Editable Training ended with, which no tuning held to '
    "the required success. "
)


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
    words = _words(board, mistakes) | dict(told.words(settings, layout.benchmark))
    note = settings.benchmark(layout.benchmark).note
    chosen = hyperparameters_of(results)
    for table in told.tables:
        if tables[table.name].empty:
            for suffix in (".md", ".csv"):
                (layout.results / f"{table.name}{suffix}").unlink(missing_ok=True)
        else:
            _write(layout, table, told, tables[table.name], chosen, words, note)
    sheet = _write(layout, told.leaderboard, told, board, chosen, words, note)
    page = leaderboard_html(sheet, caption=told.leaderboard.caption.format(**words), scale_note=note)
    write_atomically(layout.results / "leaderboard.html", page)
    write_csv(layout.results / "timings.csv", timings(results), digits=6)
    return board, tables


def _write(
    layout: Layout,
    table: Table,
    told: Presentation,
    frame: pd.DataFrame,
    chosen: Sequence[str],
    words: dict[str, str],
    note: str,
) -> Sheet:
    write_csv(layout.results / f"{table.name}.csv", frame, digits=6)
    drawdown = told.measures.drawdown
    if table is told.leaderboard:  # most of its rows have no published counterpart: of the paper's, the drawdown only
        frame = frame.drop(columns=set(frame.filter(like="published_")) - {f"published_{drawdown}"})
    title, columns = table.title.format(benchmark=layout.benchmark), told.columns(table.columns, frame)
    sheet = Sheet(title, frame, columns, drawdown, table.keys, [name for name in chosen if name in frame])
    text = to_markdown(sheet, caption=table.caption.format(**words), notes=[escape(note)])
    write_atomically(layout.results / f"{table.name}.md", text)
    return sheet


def _words(board: pd.DataFrame, mistakes: Sequence[CellResult]) -> dict[str, str]:
    """What stands for the names in captions."""
    fewer = "" if board["edits"].nunique() == 1 else " (of an editor whose steps are slow, fewer)"
    learned = any(name.endswith("_learned") for name in board)
    return {
        "edits": f"{board['edits'].max()} edits{fewer}",
        "mistakes": str(max((result.description["edits"] for result in mistakes), default=0)),
        "learned": _LEARNED if learned else "",
    }
