"""Pages of prose whose numbers are looked up, so that none says what no table holds.

A template in ``results/pages`` becomes the page of the same name in ``results``. It is Markdown with fields, whose
files are tables in ``results``, named without their ending:

- ``{{digits/leaderboard plain/rmsprop/chain3 drawdown}}`` is a number with its interval. A row is named by its
  identifying columns, as many as it takes to tell it from others; of ``one,other`` the first that there is.
- ``{{digits/claims cnp-is-almost-as-good}}`` is a verdict and the comparison that decides it.
- ``{{rows FILE FILE | METRIC METRIC | ...}}`` is a table, whose further lines are ``words = row``.
- ``{{claims BENCHMARK BENCHMARK | CLAIM CLAIM}}`` is a table of verdicts.

What is not there is "not measured" on the page. A table that lacks a name is also said to whoever reports; one that is
not there at all belongs to a benchmark or stage that was not run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

import pandas as pd

from benchmarks.files import write_atomically
from benchmarks.metrics import Column
from pipelines.reporting.claims.statistics import HOLM, Verdict
from pipelines.reporting.tables.presentation import Presentation
from pipelines.reporting.tables.sheet import NOTHING, escape, interval, markdown_table, printed, value

FIELD = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
TEMPLATES = "pages"
"""The folder of templates, in that of results."""
_KEYS = ("training", "editor", "layers", "way", "seed", "source", "count", "manner", "number", "edits")
_OTHERS = {
    "error": Column("Error", "%", 1),
    "in_force": Column("In force", "%", 1),
    "fixed": Column("Hold", "%", 1),
    "at_own_error": Column("At the network's own error, at most", "points", 2),
    "alike": Column("Unedited ones of the kind", "%", 1),
    "cost_ratio": Column("Cost of a step", "plain steps", 2),
    "test_drawdown": Column("Drawdown", "points", 2),
}
"""What other stages and studies measure."""
_UNKNOWN = "*not measured*"
_MADE = "<!-- Made by `python -m pipelines.report` from {}/{}, which is the file to change. -->\n\n"


def write_pages(results: Path, told: Sequence[Presentation]) -> list[str]:
    """Write every page that has a template.

    :param told: how each kind of task is told that there is.
    :returns: for each name that a table does not have, the page, line and name.
    """
    problems = []
    columns = dict(_OTHERS)
    for measures in (one.measures for one in told):
        columns |= measures.columns | measures.side_effect_columns
    for template in sorted((results / TEMPLATES).glob("*.md")):
        text, missing = _Filler(results, columns).fill(template.read_text(encoding="utf-8"))
        write_atomically(results / template.name, _MADE.format(TEMPLATES, template.name) + text)
        problems += [f"{TEMPLATES}/{template.name}, line {line}: {what}" for line, what in missing]
    return problems


@dataclass(frozen=True)
class _Filler:
    results: Path
    columns: Mapping[str, Column]

    def fill(self, template: str) -> tuple[str, list[tuple[int, str]]]:
        """The page, and the line and name of what is not there."""
        missing: list[tuple[int, str]] = []

        def filled(match: re.Match[str]) -> str:
            try:
                return self._field(match[1].strip())
            except (LookupError, ValueError) as error:
                line = template.count("\n", 0, match.start()) + 1
                missing.append((line, f"{shorten(match[1], 60)}: {error.args[0]}"))
                return _UNKNOWN

        return FIELD.sub(filled, template), missing

    def _field(self, asked: str) -> str:
        start, *parts = asked.split("|")
        what, *names = start.split()
        if what == "rows":
            return self._rows(names, parts[0].split(), parts[1].strip().splitlines())
        if what == "claims":
            return self._claims(names, parts[0].split())
        if (frame := self._read(what)) is None:
            return _UNKNOWN
        name = names.pop(0)
        if what.endswith("/claims") and (frame["claim"] == name).any():
            return _verdict(frame[frame["claim"] == name])
        if not names or (row := _row(frame, what, name)) is None:
            raise LookupError(f"{what} has no {name!r}")
        return self._number(row, what, names[0], ends=True)

    def _read(self, file: str) -> pd.DataFrame | None:
        path = self.results / f"{file}.csv"
        return pd.read_csv(path) if path.exists() else None

    def _column(self, metric: str) -> Column:
        if metric.startswith("published_"):
            return Column(f"{self._column(metric.removeprefix('published_')).label}, paper", "", 2)
        return self.columns.get(metric, Column(metric.replace("_", " ").capitalize(), "", 1))

    def _number(self, row: pd.Series, file: str, metric: str, ends: bool) -> str:
        if metric not in row:
            raise LookupError(f"{file} has no column {metric!r}")
        if metric.startswith("published_"):
            return printed(row[metric])
        column = self._column(metric)
        spread = row.get(f"{metric}_std")
        around = interval(row, metric, column) if pd.isna(spread) else f"± {spread:.{column.digits}f}"
        return f"{value(row[metric], column)} {around if ends else ''}".strip()

    def _rows(self, files: Sequence[str], metrics: Sequence[str], lines: Sequence[str]) -> str:
        """A column for each file and metric; the first metric of each file has its intervals."""
        frames = {file: frame for file in files if (frame := self._read(file)) is not None}
        if not frames:
            return f"{_UNKNOWN}: there is no {' or '.join(f'`{file}.csv`' for file in files)} yet"
        head, rows = [""], []
        for file in frames:
            of = f"{file.rpartition('/')[0]}: " if len(frames) > 1 else ""
            shown = [self._column(metric) for metric in metrics]
            head += [f"{of}{one.label}{f' ({one.unit})' if one.unit else ''}" for one in shown]
        for line in lines:
            words, _, name = (part.strip() for part in line.rpartition("="))
            found = {file: _row(frame, file, name) for file, frame in frames.items()}
            if all(row is None for row in found.values()):
                raise LookupError(f"{' and '.join(frames)} have no {name!r}")
            cells = [
                NOTHING if row is None else self._number(row, file, metric, ends=metric == metrics[0])
                for file, row in found.items()
                for metric in metrics
            ]
            rows.append([words, *cells])
        return markdown_table(head, rows, right=range(1, len(head)))

    def _claims(self, benchmarks: Sequence[str], claims: Sequence[str]) -> str:
        """A line for each claim, a column for each benchmark."""
        frames = {name: frame for name in benchmarks if (frame := self._read(f"{name}/claims")) is not None}
        if not frames:
            return _UNKNOWN
        table = []
        for claim in claims:
            found = [frame[frame["claim"].isin(claim.split(","))] for frame in frames.values()]
            says = [rows["says"].iloc[0] for rows in found if len(rows)]
            if not says:
                raise LookupError(f"no claims.csv of {', '.join(benchmarks)} has {claim!r}")
            table.append([escape(says[0]), *(_verdict(rows) if len(rows) else NOTHING for rows in found)])
        return markdown_table(["claim", *(f"[{name}]({name}/claims.md)" for name in frames)], table)


def _row(frame: pd.DataFrame, file: str, names: str) -> pd.Series | None:
    """The row whose identifying columns begin with the parts of a name: of the first of several names that has one."""
    keys = [key for key in _KEYS if key in frame]
    for name in names.split(","):
        rows = frame
        for key, part in zip(keys, name.split("/"), strict=False):
            rows = rows[rows[key].astype(str).str.removesuffix(".0") == part]
        if len(rows) > 1:
            raise LookupError(f"{file} has several rows {name!r}")
        if len(rows):
            return rows.iloc[0]
    return None


def _verdict(comparisons: pd.DataFrame) -> str:
    """A claim's verdict with the first of its comparisons that has it, such as ``**holds**: -2.46 [-3.08, -1.85]``.

    With ° behind the verdict where it would be undecided among so many claims, as on a page of claims.
    """
    verdict = str(comparisons["claim_verdict"].iloc[0])
    row = comparisons.sort_values("verdict", key=lambda column: column != verdict, kind="stable").iloc[0]
    if row[["estimate", "estimate_low", "estimate_high"]].isna().any():
        return verdict
    sign = "" if row["scale"] == "ratio" or pd.isna(row["than"]) else "+"
    number, low, high = (f"{row[name]:{sign}z.2f}" for name in ("estimate", "estimate_low", "estimate_high"))
    of = "" if row["metric"].endswith("drawdown") else f"{row['metric'].replace('_', ' ')} "
    mark = " °" if Verdict(verdict).decided and comparisons["claim_p_holm"].iloc[0] > HOLM else ""
    return f"**{verdict}**{mark}: {of}{'× ' if row['scale'] == 'ratio' else ''}{number} [{low}, {high}]"
