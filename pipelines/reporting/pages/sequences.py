"""Pages of edits in a row and of similar images, from the tables of the stage ``sequences``."""

from __future__ import annotations

import pandas as pd

from benchmarks.files import write_atomically
from pipelines.config.params import Settings
from pipelines.jobs.cells import KEYS
from pipelines.reporting.tables import published
from pipelines.reporting.tables.sequences import sequences_markdown, similar_markdown
from pipelines.store.layout import Layout

_EDITED = {
    "random": "test images get labels drawn from all classes (for one in as many, the model says it already)",
    "mistakes": "mistakes of the pre-trained model get their true labels",
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
        caption = (
            f"Each edit starts from what the earlier ones left: {edited}. The error is that on test images that are "
            f"not edited; an edit is in force while its image gets the wanted label. Every editor has the "
            f"hyperparameters that were tuned for single edits."
        )
        text = sequences_markdown(rows, title=f"Edits in a row on {name}", caption=caption, scale_note=block.note)
        write_atomically(layout.results / "sequences.md", text)
    if not similar.empty:
        beside = published.beside(similar, published.load("table5_similar"), KEYS)
        text = similar_markdown(beside, title=f"Similar images on {name}", scale_note=block.note)
        write_atomically(layout.results / "similar.md", text)


def table(layout: Layout, name: str) -> pd.DataFrame:
    """A table of the stage ``sequences``, empty where it was not run or had nothing to do."""
    path = layout.results / f"{name}.csv"
    return pd.read_csv(path) if path.exists() else pd.DataFrame()
