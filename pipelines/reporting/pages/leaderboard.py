"""The leaderboard as one self-contained HTML page that sorts and filters in the browser."""

import re
from collections.abc import Sequence
from html import escape
from string import Template

import pandas as pd

from pipelines.reporting.frames import require
from pipelines.reporting.pages.leaderboard_template import PAGE, SCRIPT, STYLE
from pipelines.reporting.tables.markdown import (
    KEYS,
    REQUIRED_SUCCESS,
    Column,
    Footnotes,
    best_rows,
    legend,
    name_of,
    published_metrics,
    reaches_success,
)


def leaderboard_html(
    frame: pd.DataFrame,
    *,
    title: str,
    caption: str,
    scale_note: str,
    metrics: Sequence[Column],
    keys: Sequence[str] = KEYS,
) -> str:
    """Write the leaderboard as a page that needs no other file and no network.

    ``frame`` is the one of :func:`pipelines.reporting.tables.markdown.to_markdown`. Rows stand in the frame's order
    until a header is clicked; cells without a number sort last in both directions. Rows whose success is
    clearly below 95 % are greyed and say so.

    Raises:
        ValueError: when ``frame`` has no rows or lacks a key or metric.
    """
    require(frame, [*keys, *(column.metric for column in metrics)], f"leaderboard {title!r}")
    published = published_metrics(frame, metrics)
    best = best_rows(frame)
    return Template(PAGE).substitute(
        title=escape(title),
        caption=_prose(caption),
        scale_note=_prose(scale_note),
        legend=escape(legend(frame, metrics)),
        style=STYLE,
        script=SCRIPT,
        head="".join(_headings(metrics, keys, published)),
        body="\n".join(_rows(frame, metrics, keys, published, best)),
        notes=_notes(Footnotes(frame).texts),
        count=len(frame),
    )


def _headings(metrics: Sequence[Column], keys: Sequence[str], published: set[str]) -> list[str]:
    cells = [_heading(key.capitalize(), "text") for key in keys]
    for column in metrics:
        cells.append(_heading(column.heading, "number"))
        if column.metric in published:
            cells.append(_heading(column.published_heading, "number paper"))
    return cells


def _heading(text: str, kind: str) -> str:
    return f'<th scope="col" class="{kind}" aria-sort="none"><button type="button">{escape(text)}</button></th>'


def _rows(
    frame: pd.DataFrame, metrics: Sequence[Column], keys: Sequence[str], published: set[str], best: list[bool]
) -> list[str]:
    notes = Footnotes(frame)
    rows = []
    reached = reaches_success(frame) if "success_rate" in frame else pd.Series(True, index=frame.index)
    for position, (_, row) in enumerate(frame.iterrows()):
        below = not reached.iloc[position]
        cells = [f"<td>{escape(name_of(row[key]))}</td>" for key in keys[:-1]]
        cells.append(f"<td>{escape(name_of(row[keys[-1]]))}{_note_mark(notes.number(position))}</td>")
        for column in metrics:
            cells.append(_measured(row, column, below, best[position]))
            if column.metric in published:
                value = row[f"published_{column.metric}"]
                cells.append(f'<td class="number paper" {_sortable(value)}>{column.published(row)}</td>')
        opening = '<tr class="below">' if below else "<tr>"
        rows.append(f"{opening}{''.join(cells)}</tr>")
    return rows


def _measured(row: pd.Series, column: Column, below: bool, best: bool) -> str:
    text = escape(column.value(row))
    if best and column.metric in ("drawdown", "bleu_drawdown"):
        text = f'<strong title="smallest drawdown among rows with enough success">{text}</strong>'
    if below and column.metric == "success_rate":
        text = f'<span class="word">below {REQUIRED_SUCCESS:.0f} %</span> {text}'
    if interval := column.interval(row):
        text += f' <span class="interval">{interval}</span>'
    return f'<td class="number" {_sortable(row[column.metric])}>{text}</td>'


def _sortable(value: float) -> str:
    return f'data-value="{"" if pd.isna(value) else repr(float(value))}"'


def _note_mark(number: int | None) -> str:
    return f' <sup><a href="#note-{number}" aria-label="note {number}">{number}</a></sup>' if number else ""


def _prose(text: str) -> str:
    """A sentence with its `names` set as code and its *words* emphasised, as Markdown shows them."""
    code = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return re.sub(r"(?<!\w)\*(\w[^*]*)\*(?!\w)", r"<em>\1</em>", code)


def _notes(texts: Sequence[str]) -> str:
    if not texts:
        return ""
    items = "".join(f'<li id="note-{number}">{_prose(text)}</li>' for number, text in enumerate(texts, start=1))
    return f"<h2>Notes</h2><ol>{items}</ol>"
