"""Edits in a row, and whether edits carry over to similar images, as Markdown for people."""

import pandas as pd

from pipelines.jobs.cells import KEYS
from pipelines.reporting.frames import require
from pipelines.reporting.tables.columns import SUCCESS
from pipelines.reporting.tables.markdown import NOTHING, Column, escape, name_of, to_markdown

_SHOWN = {
    "error": "Error after (%)",
    "in_force": "In force at the end (%)",
    "success_rate": "Succeeded when made (%)",
}
SIMILAR_COLUMNS = [
    Column("similar_accuracy", "Similar images follow", "%", 1),
    Column("similar_before", "before the edit", "%", 1),
    Column("same_class", "Similar images of that class", "%", 1),
    Column("same_class_accuracy", "those follow", "%", 1),
    Column("same_class_before", "before the edit", "%", 1),
    Column("own_accuracy", "Other views of the edited image follow", "%", 1),
    Column("own_before", "before the edit", "%", 1),
    SUCCESS,
]
_EMBEDDINGS = {
    "inception_v3": "InceptionV3's pooled features",
    "pixels": "their pixels (a substitute for InceptionV3's pooled features)",
    "pooled": "the pre-trained model's own features before its last layer (a substitute for InceptionV3's)",
}


def sequences_markdown(frame: pd.DataFrame, *, title: str, caption: str, scale_note: str) -> str:
    """What is left after the last edit, a row per training, editor and part: means over orders ± standard deviations.

    ``frame`` is the table of rows: the columns of :func:`benchmarks.scoring.sequential.by_number`
    and those that name a cell.

    Raises:
        ValueError: when ``frame`` has no rows or lacks a column.
    """
    spreads = [f"{name}_std" for name in _SHOWN]
    require(frame, [*KEYS, "edits", "orders", *_SHOWN, *spreads], f"table {title!r}")
    headings = [*(key.capitalize() for key in KEYS), "Edits", "Error before (%)", *_SHOWN.values()]
    lines = [f"| {' | '.join(headings)} |", f"| {' | '.join(['---'] * 3 + ['---:'] * (len(headings) - 3))} |"]
    for names, rows in frame.groupby(KEYS, sort=False):
        first, last = rows.loc[rows["edits"].idxmin()], rows.loc[rows["edits"].idxmax()]
        cells = [escape(name_of(name)) for name in names]
        cells += [str(int(last["edits"])), f"{first['error']:.1f}", *(_spread(last, name) for name in _SHOWN)]
        lines.append(f"| {' | '.join(cells)} |")
    orders = int(frame["orders"].max())
    legend = f"± is the standard deviation over {orders} orders of the same edits."
    return "\n\n".join([f"# {title}", caption, "\n".join(lines), legend, scale_note]) + "\n"


def similar_markdown(frame: pd.DataFrame, *, title: str, scale_note: str) -> str:
    """How many of the images most like the edited ones follow, with the paper's value beside it.

    ``frame`` has the columns that name a cell, ``embedding, edits`` and, for every share, its value and 95 % interval.

    Raises:
        ValueError: when ``frame`` has no rows or lacks a column.
    """
    require(frame, ["embedding", "edits"], f"table {title!r}")
    embedding, edits = (
        _EMBEDDINGS.get(frame["embedding"].iloc[0], frame["embedding"].iloc[0]),
        int(frame["edits"].max()),
    )
    caption = (
        f"Augmentations of mistakes are edited to their true class ({edits} edits, each on its own). How many other "
        f"pictures of the test image most like each (augmented, then turned and scaled a little) are then assigned to "
        f"that class? What is alike is judged by {embedding}. Where that image is of another class, it should not "
        f"follow; where it is of the same, it may have been right before. So both shares stand beside it, and the same "
        f"for other pictures of the edited image itself. Intervals are over edited images."
    )
    return to_markdown(frame, title=title, caption=caption, scale_note=scale_note, metrics=SIMILAR_COLUMNS)


def _spread(row: pd.Series, name: str) -> str:
    spread = row[f"{name}_std"]
    return f"{row[name]:.1f} ± {NOTHING if pd.isna(spread) else f'{spread:.1f}'}"
