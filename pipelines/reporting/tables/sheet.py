"""Measured tables for people, as Markdown; and text made safe for it."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from benchmarks.metrics import Column
from pipelines.jobs.progress import one_line
from pipelines.reporting.ranking import FRONT, MISSES, NO_FURTHER, ON_FRONT, misses_success, standing
from pipelines.store.layout import KEYS

NOTHING = "–"
_SYMBOLS = {"beta": "β", "beta1": "β1", "beta2": "β2", "eps": "ε", "mu": "μ"}


@dataclass(frozen=True)
class Sheet:
    """A measured table, and how it is shown.

    :ivar frame: the columns ``keys`` and, for every metric m, ``m`` and, where known, ``m_low`` and ``m_high`` (95 %),
        ``published_m``, and ``note``.
    :ivar columns: the metrics that are shown, by name; the paper's value beside those of which it has any.
    :ivar drawdown: the metric that, with generality, ranks the rows.
    :ivar chosen: columns of hyperparameters, shown as one.
    """

    title: str
    frame: pd.DataFrame
    columns: Mapping[str, Column]
    drawdown: str = "drawdown"
    keys: Sequence[str] = tuple(KEYS)
    chosen: Sequence[str] = ()

    @cached_property
    def published(self) -> set[str]:
        """The metrics of which the paper has at least one number."""
        there = self.frame.dropna(axis="columns", how="all").columns
        return {name for name in self.columns if f"published_{name}" in there}

    @cached_property
    def standings(self) -> list[str]:
        """How each row stands, see :func:`pipelines.reporting.ranking.standing`."""
        if self.drawdown not in self.frame:
            return [""] * len(self.frame)
        return list(standing(self.frame, self.drawdown))

    @cached_property
    def misses(self) -> list[bool]:
        """For each row, whether it has less success than is required."""
        return list(misses_success(self.frame))

    @cached_property
    def notes(self) -> list[str]:
        """The note of each row, or nothing."""
        notes = self.frame["note"] if "note" in self.frame.columns else [""] * len(self.frame)
        return ["" if pd.isna(note) else str(note).strip() for note in notes]

    @property
    def footnotes(self) -> list[str]:
        """All notes in order of appearance, equal ones once; a row's number is its place here, from 1."""
        return list(dict.fromkeys(note for note in self.notes if note))

    def legend(self) -> str:
        """An explanation of brackets, the paper's columns, bold numbers and dashes, where there are any."""
        words = ["[…] is the 95 % interval"]
        if self.published:
            words.append(f'"paper" is the published value ({NOTHING} where there is none)')
        if FRONT in self.standings:
            words.append(f"bold are rows {ON_FRONT} among these")
            if "appendix" in self.frame and self.frame["appendix"].astype(bool).any():
                words[-1] += " that the paper's table has"
        if NO_FURTHER in self.standings:
            words.append(f"† is {NO_FURTHER}, so it never wins")
        if any(self.misses):
            words.append(f"‡ is {MISSES}")
        if "num_steps" in self.columns and (self.frame["num_steps"].isna() & self.frame["success_rate"].notna()).any():
            words.append(f"{NOTHING} under steps: the editor takes no gradient steps")
        return "; ".join(words) + "."

    def markdown(self) -> str:
        """A Markdown table: ``†`` marks rows that carry no further, ``‡`` those that miss the required success."""
        texts = [*(key.capitalize() for key in self.keys), *(["Chosen"] if self.chosen else [])]
        headings = [escape(text) for text in texts]
        for name, column in self.columns.items():
            headings.append(escape(f"{column.label} ({column.unit})" if column.unit else column.label))
            headings += [escape(f"{column.label}, paper")] if name in self.published else []
        rows = []
        for position, (_, row) in enumerate(self.frame.iterrows()):
            cells = [escape(name_of(row[key])) for key in self.keys]
            if note := self.notes[position]:
                cells[-1] += f" <sup>{self.footnotes.index(note) + 1}</sup>"
            if self.chosen:
                cells.append(escape(hyperparameters(row, self.chosen)))
            marks = {
                self.drawdown: " †" if self.standings[position] == NO_FURTHER else "",
                "success_rate": " ‡" if self.misses[position] else "",
            }
            for name, column in self.columns.items():
                text = value(row[name], column)
                bold = name in (self.drawdown, "generality") and self.standings[position] == FRONT
                text = f"{f'**{text}**' if bold else text} {interval(row, name, column)}".strip()
                cells.append(text + marks.get(name, ""))
                if name in self.published:
                    cells.append(printed(row[f"published_{name}"]))
            rows.append(cells)
        return markdown_table(headings, rows, right=range(len(texts), len(headings)))


def to_markdown(sheet: Sheet, *, caption: str, notes: Sequence[str]) -> str:
    """A measured table as a page of Markdown; ``notes`` are paragraphs at its end."""
    numbered = "\n".join(f"{number}. {escape(text)}" for number, text in enumerate(sheet.footnotes, start=1))
    parts = [f"# {sheet.title}", caption, sheet.markdown(), numbered, sheet.legend(), *notes]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> str:
    """Cells, which are Markdown already, as a table; the places of columns of numbers, which stand on the ``right``."""
    rule = ["---:" if place in right else "---" for place in range(len(headings))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, rule, *rows))


def value(number: float, column: Column) -> str:
    """A measured number, or a dash; percentages carry their sign, so that a cell can be quoted alone."""
    return f"{_digits(number, column)} %" if column.unit == "%" and not pd.isna(number) else _digits(number, column)


def interval(row: pd.Series, name: str, column: Column) -> str:
    """The 95 % interval of a metric as ``[low, high]``, or nothing where it is not known."""
    low, high = (row.get(f"{name}_{end}") for end in ("low", "high"))
    return "" if pd.isna(low) or pd.isna(high) else f"[{_digits(low, column)}, {_digits(high, column)}]"


def printed(number: float) -> str:
    """The paper's value with the decimals it was printed with, or a dash where the paper has none."""
    return NOTHING if pd.isna(number) else f"{number:g}"


def hyperparameters(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """Those that a row has, compactly, such as ``lr 1.3e-3, β 0.5 (10 trials, by sampler)``."""
    there = [name for name in names if not pd.isna(row[name])]
    values = ", ".join(f"{_SYMBOLS.get(name, name)} {_short(row[name])}" for name in there) or NOTHING
    if values == NOTHING or pd.isna(trials := row.get("trials", math.nan)):
        return values
    by = f", by {row['proposed_by']}" if isinstance(row.get("proposed_by"), str) and row["proposed_by"] else ""
    return f"{values} ({trials:.0f} {'trial' if trials == 1 else 'trials'}{by})"


def name_of(value: object) -> str:
    """A name as shown: a dash where there is none, as for methods that change no layers."""
    return NOTHING if pd.isna(value) or str(value) == "" else str(value)


def escape(text: str) -> str:
    """Text of anybody's as one line of Markdown that shows it as it is, also inside a table cell.

    HTML, links, emphasis, pipes and control characters lose their meaning; ``code`` between backticks stays code.
    """
    pieces = re.split(r"(`[^`]+`)", one_line(text))
    line = "".join(code(one).replace("|", r"\|") if place % 2 else _literal(one) for place, one in enumerate(pieces))
    return re.sub(r"^(\d*)(#+\s|[+.)-]\s|[=-]+$)", r"\1\\\2", line)  # no heading, list or line below a heading


def code(text: str) -> str:
    """A name of anybody's as code in Markdown."""
    line = one_line(text.replace("`", ""))
    return f"`{line}`" if line else NOTHING


def _literal(text: str) -> str:
    text = re.sub(r"([\\|*`~$]|\](?=[(\[:])|(?<!\w)_|_(?!\w))", r"\\\1", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _digits(number: float, column: Column) -> str:
    """A number with this column's decimals, a dash where there is none; never a zero with a minus sign."""
    return NOTHING if pd.isna(number) else f"{number:z.{column.digits}f}"


def _short(number: float) -> str:
    """Two or three digits."""
    if number == 0 or 0.01 <= abs(number) < 1e4:
        return f"{number:.3g}" if abs(number) < 10 else f"{number:.0f}"
    digits, _, power = f"{number:.1e}".partition("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"
