"""The page of edits made together, from the table of the stage ``joint``."""

from __future__ import annotations

import pandas as pd

from benchmarks.files import write_atomically
from pipelines.config.params import Settings
from pipelines.reporting.ranking import require
from pipelines.reporting.tables.sheet import NOTHING, escape, name_of
from pipelines.store.layout import KEYS, Layout

SOURCES = {"mistakes": "mistakes of the network, to their true classes", "random": "any image, to a random class"}
"""What is edited, in words."""
_MANNERS = {"jointly": "together", "in_a_row": "one after the other"}
_SHOWN = {
    "fixed": "Hold in the end (%)",
    "drawdown_signed": "Error after − before (points)",
    "generality": "Other pictures of them (%)",
    "alike": "Unedited mistakes of the kind (%)",
    "steps": "Steps",
}


def read(layout: Layout) -> pd.DataFrame:
    """The table, empty where the stage was not run or had nothing to do."""
    path = layout.results / "joint.csv"
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def write(settings: Settings, layout: Layout) -> None:
    """Write the page if there is a table; one that is left from another run goes."""
    page, frame = layout.results / "joint.md", read(layout)
    if frame.empty:
        page.unlink(missing_ok=True)
    else:
        write_atomically(page, markdown(frame, layout.benchmark, settings.benchmark(layout.benchmark).note))


def markdown(frame: pd.DataFrame, benchmark: str, scale_note: str) -> str:
    """A table for each source of edits: means over draws ± standard deviations, a row per cell, number and manner.

    :param frame: the columns of :func:`benchmarks.scoring.joint.by_count`, ``source`` and those that name a cell.
    :raises ValueError: when ``frame`` has no rows or lacks a column.
    """
    spreads = [f"{name}_std" for name in _SHOWN]
    require(frame, [*KEYS, "source", "count", "manner", "draws", *_SHOWN, *spreads], "joint edits")
    caption = (
        "Many edits asked of a network together, as one request that is met only if all of them hold; and the same "
        "edits one after the other, each starting from what the earlier ones left. The error is that on test images "
        "that are not edited, so for mistakes it says whether fresh images gain or lose; unedited mistakes of the kind "
        "are test images of the same class that got the same wrong answer, and the share of them that is right "
        "afterwards. Every editor has the hyperparameters that were tuned for single edits."
    )
    parts = [f"# Edits made together on {benchmark}", caption]
    headings = ["Edits", *(key.capitalize() for key in KEYS), "Made", *_SHOWN.values()]
    for source, of_source in frame.groupby("source", sort=False):
        shown = [name for name in _SHOWN if of_source[name].notna().any()]
        columns = [*headings[:5], *(_SHOWN[name] for name in shown)]
        lines = [f"| {' | '.join(columns)} |", f"| ---: | {' | '.join(['---'] * 4 + ['---:'] * len(shown))} |"]
        for _, row in of_source.sort_values("count", kind="stable").iterrows():
            cells = [f"{row['count']:.0f}", *(escape(name_of(row[key])) for key in KEYS), _MANNERS[row["manner"]]]
            lines.append(f"| {' | '.join([*cells, *(_spread(row, name) for name in shown)])} |")
        parts += [f"## {SOURCES[source][0].upper()}{SOURCES[source][1:]}", "\n".join(lines)]
    draws = f"± is the standard deviation over {frame['draws'].max():.0f} draws of the images."
    parts.append(f"{draws} How long requests took: [timings-joint.csv](timings-joint.csv).")
    return "\n\n".join([*parts, escape(scale_note)]) + "\n"


def _spread(row: pd.Series, name: str) -> str:
    if pd.isna(row[name]):
        return NOTHING
    digits = 2 if name == "drawdown_signed" else 1
    spread = NOTHING if pd.isna(row[f"{name}_std"]) else f"{row[f'{name}_std']:.{digits}f}"
    return f"{row[name]:.{digits}f} ± {spread}"
