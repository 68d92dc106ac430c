"""What the index of results says of one benchmark: its main table in short, and the verdicts on the paper's claims."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pipelines.jobs.cells import KEYS
from pipelines.reporting.frames import naming_views
from pipelines.reporting.tables import columns
from pipelines.reporting.tables.markdown import Footnotes, escape, legend, table_lines

_IMAGES = (columns.TEST_ERROR, columns.DRAWDOWN, columns.SUCCESS)
_TRANSLATION = (columns.BLEU, columns.BLEU_DRAWDOWN, columns.SUCCESS)
_MAIN = {
    "table3": ("Table 3: ways to prepare a network for edits", KEYS, _IMAGES),
    "table4": ("Table 4: fine-tuning a trained network", ("architecture", *KEYS), _IMAGES),
    "table6": ("Table 6: translation", (*KEYS, "lr"), _TRANSLATION),
}
"""The table that a benchmark is run for; the first there is."""


def main_table(folder: Path) -> list[str]:
    """The benchmark's main table with three of its metrics, rows that were not run left out; nothing without one."""
    for name, (title, keys, metrics) in _MAIN.items():
        if not (folder / f"{name}.csv").exists():
            continue
        frame = pd.read_csv(folder / f"{name}.csv").dropna(subset=[column.metric for column in metrics])
        frame = naming_views(frame) if "views" in frame else frame
        if frame.empty:
            continue
        notes = Footnotes(frame).lines()
        heading = f"**{title}** ([all columns and rows]({folder.name}/{name}.md))"
        lines = [heading, "", *table_lines(frame, metrics, keys), "", *notes]
        return [*lines, *([""] if notes else []), legend(frame, metrics), ""]
    return []


def verdicts(folder: Path) -> list[str]:
    """A line for each of the paper's claims, folded away; nothing for results without claims."""
    path = folder / "claims.csv"
    if not path.exists():
        return []
    judged = pd.read_csv(path).drop_duplicates("claim")
    rows = [f"| {escape(row.says)} | {row.claim_verdict} |" for row in judged.itertuples()]
    summary = f"<details><summary>The paper's claims, and whether they hold on {folder.name}</summary>"
    table = ["| the paper says | verdict here |", "| --- | --- |", *rows]
    return [summary, "", *table, "", f"[How each was decided]({folder.name}/claims.md)", "", "</details>", ""]
