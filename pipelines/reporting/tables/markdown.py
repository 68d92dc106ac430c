"""Measured tables as Markdown for people: value, interval, the paper's value, footnotes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pipelines.reporting.frames import REQUIRED_SUCCESS, reaches_success, require
from pipelines.store.layout import KEYS

NOTHING = "–"


@dataclass(frozen=True)
class Column:
    """One metric of a table: its column in the frame, the words and unit above it, and the decimals shown."""

    metric: str
    header: str
    unit: str
    digits: int

    @property
    def heading(self) -> str:
        """The header with its unit, e.g. ``Drawdown (points)``."""
        return f"{self.header} ({self.unit})" if self.unit else self.header

    @property
    def published_heading(self) -> str:
        """The header of the paper's column, e.g. ``Drawdown, paper``."""
        return f"{self.header}, paper"

    def number(self, value: float) -> str:
        """The value with this column's decimals, a dash where there is none; never a zero with a minus sign."""
        return NOTHING if pd.isna(value) else f"{value:z.{self.digits}f}"

    def published(self, row: pd.Series) -> str:
        """The paper's value with the decimals it was printed with, or a dash where the paper has none."""
        value = row[f"published_{self.metric}"]
        return NOTHING if pd.isna(value) else f"{value:g}"

    def value(self, row: pd.Series) -> str:
        """The measured value, or a dash; percentages carry their sign, so that a cell can be quoted alone."""
        text = self.number(row[self.metric])
        return f"{text} %" if self.unit == "%" and text != NOTHING else text

    def interval(self, row: pd.Series) -> str:
        """The 95 % interval as ``[low, high]``, or nothing where it is not known."""
        low, high = (row.get(f"{self.metric}_{end}") for end in ("low", "high"))
        if pd.isna(low) or pd.isna(high):
            return ""
        return f"[{self.number(low)}, {self.number(high)}]"


def to_markdown(
    frame: pd.DataFrame,
    *,
    title: str,
    caption: str,
    scale_note: str,
    metrics: Sequence[Column],
    keys: Sequence[str] = KEYS,
) -> str:
    """Write a measured table as a Markdown section.

    ``frame`` has the columns ``keys`` and, for every metric m, ``m`` and, where known, ``m_low`` and
    ``m_high`` (95 %), ``published_m``, and ``note``. The smallest drawdown among the rows with at least 95 %
    success is bold; a paper's column is shown when it has a number; equal notes share one footnote.

    Raises:
        ValueError: when ``frame`` has no rows or lacks a key or metric.
    """
    require(frame, [*keys, *(column.metric for column in metrics)], f"table {title!r}")
    notes = Footnotes(frame)
    lines = table_lines(frame, metrics, keys)
    parts = [f"# {title}", caption, "\n".join(lines)]
    parts.append("\n".join(notes.lines()))
    parts += [legend(frame, metrics), scale_note]
    return "\n\n".join(part for part in parts if part) + "\n"


def table_lines(frame: pd.DataFrame, metrics: Sequence[Column], keys: Sequence[str]) -> list[str]:
    """The lines of a Markdown table of ``frame``: its keys, and each metric with its interval and the paper's value."""
    published = published_metrics(frame, metrics)
    notes = Footnotes(frame)
    best = best_rows(frame)

    headings = [key.capitalize() for key in keys]
    rules = ["---"] * len(keys)
    for column in metrics:
        headings.append(column.heading)
        rules.append("---:")
        if column.metric in published:
            headings.append(column.published_heading)
            rules.append("---:")

    lines = [_line([escape(heading) for heading in headings]), _line(rules)]
    for position, (_, row) in enumerate(frame.iterrows()):
        cells = [escape(name_of(row[key])) for key in keys]
        if number := notes.number(position):
            cells[-1] += f" <sup>{number}</sup>"
        for column in metrics:
            bold = best[position] and column.metric in ("drawdown", "bleu_drawdown")
            value = f"**{column.value(row)}**" if bold else column.value(row)
            cells.append(f"{value} {column.interval(row)}".strip())
            if column.metric in published:
                cells.append(column.published(row))
        lines.append(_line(cells))
    return lines


class Footnotes:
    """The notes of ``frame``, numbered from 1 in order of appearance; equal notes share a number."""

    def __init__(self, frame: pd.DataFrame) -> None:
        notes = frame["note"] if "note" in frame.columns else [""] * len(frame)
        self._by_row = ["" if pd.isna(note) else str(note).strip() for note in notes]
        self.texts = list(dict.fromkeys(text for text in self._by_row if text))

    def lines(self) -> list[str]:
        """All notes as a numbered list in Markdown."""
        return [f"{number}. {escape(text)}" for number, text in enumerate(self.texts, start=1)]

    def number(self, position: int) -> int | None:
        """The number of the note of the row at ``position``, or None where it has none."""
        text = self._by_row[position]
        return self.texts.index(text) + 1 if text else None


def published_metrics(frame: pd.DataFrame, metrics: Sequence[Column]) -> set[str]:
    """The metrics for which the paper has at least one number in this frame."""
    names = {column.metric: f"published_{column.metric}" for column in metrics}
    return {metric for metric, name in names.items() if name in frame.columns and frame[name].notna().any()}


def best_rows(frame: pd.DataFrame) -> list[bool]:
    """For each row, whether it has the smallest drawdown among those that reach 95 % success, an appendix left out."""
    metric = next((name for name in ("drawdown", "bleu_drawdown") if name in frame.columns), None)
    if metric is None or "success_rate" not in frame.columns:
        return [False] * len(frame)
    eligible = frame[metric].where(reaches_success(frame))
    if "appendix" in frame:
        eligible = eligible.where(~frame["appendix"].astype(bool))
    return list(eligible.notna() & (eligible == eligible.min()))


def without_steps(frame: pd.DataFrame) -> pd.Series:
    """For each row, whether it was measured and has no number of steps: its editor takes none along a gradient."""
    if not {"num_steps", "drawdown"} <= set(frame.columns):
        return pd.Series(False, index=frame.index)
    return frame["num_steps"].isna() & frame["drawdown"].notna()


def legend(frame: pd.DataFrame, metrics: Sequence[Column]) -> str:
    """The sentence that explains brackets, the paper's columns, bold numbers and dashes, as far as there are any."""
    words = ["[…] is the 95 % interval"]
    if published_metrics(frame, metrics):
        words.append(f'"paper" is the published value ({NOTHING} where there is none)')
    if any(best_rows(frame)):
        words.append(f"bold is the smallest drawdown among rows not clearly below {REQUIRED_SUCCESS:.0f} % success")
        if "appendix" in frame and frame["appendix"].astype(bool).any():
            words[-1] += ", without those that the paper's table does not have"
    if any(column.metric == "num_steps" for column in metrics) and without_steps(frame).any():
        words.append(f"{NOTHING} under steps: the editor takes no gradient steps")
    return "; ".join(words) + "."


def name_of(value: object) -> str:
    """A name as shown: a dash where there is none, as for methods that change no layers; two digits of a number."""
    if pd.isna(value) or str(value) == "":
        return NOTHING
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def escape(text: str) -> str:
    """Text that Markdown shows as it is, also inside a table cell."""
    text = re.sub(r"([\\|*`])", r"\\\1", " ".join(text.split()))
    return text.replace("<", "&lt;")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
