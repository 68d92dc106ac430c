"""Pages of edits in a row and of similar images, from the tables of the stage ``sequences``."""

from __future__ import annotations

import pandas as pd

from benchmarks.files import write_atomically
from benchmarks.metrics import Column
from pipelines.config.params import Settings
from pipelines.jobs.cells import KEYS
from pipelines.reporting.frames import require
from pipelines.reporting.tables import published
from pipelines.reporting.tables.markdown import NOTHING, Sheet, escape, name_of, to_markdown
from pipelines.store.layout import Layout

_EDITED = {
    "random": "test images get labels drawn from all classes (for one in as many, the model says it already)",
    "mistakes": "mistakes of the pre-trained model get their true labels",
}
_SHOWN = {
    "error": "Error after (%)",
    "in_force": "In force at the end (%)",
    "success_rate": "Succeeded when made (%)",
}
_SIMILAR = {
    "similar_accuracy": Column("Similar images follow", "%", 1),
    "similar_before": Column("before the edit", "%", 1),
    "same_class": Column("Similar images of that class", "%", 1),
    "same_class_accuracy": Column("those follow", "%", 1),
    "same_class_before": Column("before the edit", "%", 1),
    "own_accuracy": Column("Other views of the edited image follow", "%", 1),
    "own_before": Column("before the edit", "%", 1),
    "success_rate": Column("Success", "%", 1),
}
_EMBEDDINGS = {
    "inception_v3": "InceptionV3's pooled features",
    "pixels": "their pixels (a substitute for InceptionV3's pooled features)",
    "pooled": "the pre-trained model's own features before its last layer (a substitute for InceptionV3's)",
}


def write(settings: Settings, layout: Layout) -> None:
    """Write a page for each table that there is; one that is left from another run goes."""
    name, block = layout.benchmark, settings.benchmark(layout.benchmark)
    rows, similar = table(layout, "sequences"), table(layout, "similar")
    for page, found in (("sequences", rows), ("similar", similar)):
        if found.empty:
            (layout.results / f"{page}.md").unlink(missing_ok=True)
    if not rows.empty:
        edited = _EDITED[block.sequences.source if block.sequences else "random"]
        text = sequences_markdown(rows, edited, title=f"Edits in a row on {name}", scale_note=block.note)
        write_atomically(layout.results / "sequences.md", text)
    if not similar.empty:
        beside = published.beside(similar, published.load("table5_similar"), KEYS)
        text = similar_markdown(beside, title=f"Similar images on {name}", scale_note=block.note)
        write_atomically(layout.results / "similar.md", text)


def table(layout: Layout, name: str) -> pd.DataFrame:
    """A table of the stage ``sequences``, empty where it was not run or had nothing to do."""
    path = layout.results / f"{name}.csv"
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def sequences_markdown(frame: pd.DataFrame, edited: str, *, title: str, scale_note: str) -> str:
    """What is left after the last edit, a row per training, editor and part: means over orders ± standard deviations.

    :param frame: the columns of :func:`benchmarks.scoring.sequential.by_number` and those that name a cell.
    :param edited: what is edited, in words.
    :raises ValueError: when ``frame`` has no rows or lacks a column.
    """
    spreads = [f"{name}_std" for name in _SHOWN]
    require(frame, [*KEYS, "edits", "orders", *_SHOWN, *spreads], f"table {title!r}")
    caption = (
        f"Each edit starts from what the earlier ones left: {edited}. The error is that on test images that are "
        f"not edited; an edit is in force while its image gets the wanted label. Every editor has the "
        f"hyperparameters that were tuned for single edits."
    )
    headings = [*(key.capitalize() for key in KEYS), "Edits", "Error before (%)", *_SHOWN.values()]
    lines = [f"| {' | '.join(headings)} |", f"| {' | '.join(['---'] * 3 + ['---:'] * (len(headings) - 3))} |"]
    for names, rows in frame.groupby(KEYS, sort=False):
        first, last = rows.loc[rows["edits"].idxmin()], rows.loc[rows["edits"].idxmax()]
        cells = [escape(name_of(name)) for name in names]
        cells += [str(int(last["edits"])), f"{first['error']:.1f}", *(_spread(last, name) for name in _SHOWN)]
        lines.append(f"| {' | '.join(cells)} |")
    orders = int(frame["orders"].max())
    legend = f"± is the standard deviation over {orders} orders of the same edits."
    return "\n\n".join([f"# {title}", caption, "\n".join(lines), legend, escape(scale_note)]) + "\n"


def similar_markdown(frame: pd.DataFrame, *, title: str, scale_note: str) -> str:
    """How many of the images most like the edited ones follow, with the paper's value beside it.

    :param frame: the columns that name a cell, ``embedding, edits`` and, for every share, its value and 95 % interval.
    :raises ValueError: when ``frame`` has no rows or lacks a column.
    """
    require(frame, ["embedding", "edits"], f"table {title!r}")
    embedding, edits = frame["embedding"].iloc[0], int(frame["edits"].max())
    caption = (
        f"Augmentations of mistakes are edited to their true class ({edits} edits, each on its own). How many other "
        f"pictures of the test image most like each (augmented, then turned and scaled a little) are then assigned to "
        f"that class? What is alike is judged by {_EMBEDDINGS.get(embedding, embedding)}. Where that image is of "
        f"another class, it should not follow; where it is of the same, it may have been right before. So both "
        f"shares stand beside it, and the same for other pictures of the edited image itself. Intervals are over "
        f"edited images."
    )
    return to_markdown(Sheet(title, frame, _SIMILAR), caption=caption, notes=[escape(scale_note)])


def _spread(row: pd.Series, name: str) -> str:
    spread = row[f"{name}_std"]
    return f"{row[name]:.1f} ± {NOTHING if pd.isna(spread) else f'{spread:.1f}'}"
