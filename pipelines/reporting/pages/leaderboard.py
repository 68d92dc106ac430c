"""The leaderboard as one self-contained HTML page that sorts and filters in the browser."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

import pandas as pd

from benchmarks.metrics import Column
from pipelines.reporting.tables.markdown import (
    REQUIRED_SUCCESS,
    Sheet,
    hyperparameters,
    interval,
    name_of,
    printed,
    reaches_success,
    value,
)

_PAGE = Path(__file__).with_suffix(".html")
"""Its frame, style and script."""


def leaderboard_html(sheet: Sheet, *, caption: str, scale_note: str) -> str:
    """Write the leaderboard as a page that needs no other file and no network.

    Rows stand in the sheet's order until a header is clicked; cells without a number sort last in both directions. Rows
    whose success is clearly below 95 % are greyed and say so.
    """
    return Template(_PAGE.read_text(encoding="utf-8")).substitute(
        title=escape(sheet.title),
        caption=_prose(caption),
        scale_note=_prose(scale_note),
        legend=escape(sheet.legend()),
        head="".join(
            f'<th scope="col" class="{kind}" aria-sort="none"><button type="button">{escape(text)}</button></th>'
            for text, kind in sheet.headings()
        ),
        body="\n".join(_rows(sheet)),
        notes=_notes(sheet.footnotes),
        count=len(sheet.frame),
    )


def _rows(sheet: Sheet) -> list[str]:
    frame, rows = sheet.frame, []
    reached = reaches_success(frame) if "success_rate" in frame else pd.Series(True, index=frame.index)
    for position, (_, row) in enumerate(frame.iterrows()):
        below = not reached.iloc[position]
        cells = [f"<td>{escape(name_of(row[key]))}</td>" for key in sheet.keys]
        cells[-1] = cells[-1].replace("</td>", f"{_note_mark(sheet.number_of_note(position))}</td>")
        cells += [f"<td>{escape(hyperparameters(row, sheet.chosen))}</td>"] if sheet.chosen else []
        for name, column in sheet.columns.items():
            best = sheet.best[position] and name == sheet.drawdown
            cells.append(_measured(row, name, column, below=below, best=best))
            if name in sheet.published:
                paper = row[f"published_{name}"]
                cells.append(f'<td class="number paper" {_sortable(paper)}>{printed(paper)}</td>')
        opening = '<tr class="below">' if below else "<tr>"
        rows.append(f"{opening}{''.join(cells)}</tr>")
    return rows


def _measured(row: pd.Series, name: str, column: Column, *, below: bool, best: bool) -> str:
    text = escape(value(row[name], column))
    if best:
        text = f'<strong title="smallest drawdown among rows with enough success">{text}</strong>'
    if below and name == "success_rate":
        text = f'<span class="word">below {REQUIRED_SUCCESS:.0f} %</span> {text}'
    if ends := interval(row, name, column):
        text += f' <span class="interval">{ends}</span>'
    return f'<td class="number" {_sortable(row[name])}>{text}</td>'


def _sortable(number: float) -> str:
    return f'data-value="{"" if pd.isna(number) else repr(float(number))}"'


def _note_mark(number: int | None) -> str:
    return f' <sup><a href="#note-{number}" aria-label="note {number}">{number}</a></sup>' if number else ""


def _prose(text: str) -> str:
    """Prose with its `names` set as code and its *words* emphasised, as Markdown shows them."""
    code = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return re.sub(r"(?<!\w)\*(\w[^*]*)\*(?!\w)", r"<em>\1</em>", code)


def _notes(texts: Sequence[str]) -> str:
    if not texts:
        return ""
    items = "".join(f'<li id="note-{number}">{_prose(text)}</li>' for number, text in enumerate(texts, start=1))
    return f"<h2>Notes</h2><ol>{items}</ol>"
