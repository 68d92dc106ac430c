"""The page of side effects: whom the edits of each row hurt, beyond their mean drawdown."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from benchmarks import metrics
from benchmarks.files import write_atomically
from benchmarks.metrics import Column
from pipelines.reporting.tables.results import CellResult
from pipelines.reporting.tables.sheet import Sheet, escape, to_markdown
from pipelines.store.layout import Layout, write_csv

NAME = "side-effects"
DRAWN = {
    "worst_class": ("Worst class", "o"),
    "sensitive": ("Sensitive images", "D"),
    "corrupted": ("Corrupted images", "^"),
}
"""What the figure shows of each row, beside its drawdown."""


def write(layout: Layout, results: Sequence[CellResult], scale_note: str) -> None:
    """Write table and page, if records say something of it; those that are left from another run go."""
    known = [result for result in results if _known(result)]
    paths = [layout.results / f"{NAME}{end}" for end in (".csv", ".md")]
    if not known:
        for path in paths:
            path.unlink(missing_ok=True)
        return
    frame = pd.DataFrame([_row(result) for result in known])
    write_csv(paths[0], frame, digits=6)
    measures = known[0].measures
    columns: dict[str, Column] = {measures.drawdown: measures.columns[measures.drawdown]}
    columns |= measures.side_effect_columns
    caption = (
        "An edit that breaks little on average may break much for some. Of the control images of each edit: the share "
        "that was right before and is wrong after, and the other way round; error after − error before on sensitive "
        "images, whose two largest probabilities lay within 0.05 before the edit, of the class that it is largest for, "
        "and its spread over classes (a class of few images varies by itself); on corrupted copies of other images "
        "(turned, scaled, sheared, moved, noisy); and by how much confidence and accuracy part further (expected "
        "calibration error, 15 bins)."
    )
    page = to_markdown(
        Sheet(f"Side effects on {layout.benchmark}", frame, columns), caption=caption, notes=[escape(scale_note)]
    )
    write_atomically(paths[1], page)


def _known(result: CellResult) -> bool:
    try:
        return result.measures.side_effects is not None and len(result.measures.side_effects(result.records)) > 0
    except KeyError:  # records from before side effects were measured
        return False


def _row(result: CellResult) -> dict[str, object]:
    """Means over edits with 95 % intervals; edits without such images are left out of a mean."""
    drawdown = result.measures.per_edit(result.measures.drawdown, result.records)
    values = result.measures.side_effects(result.records).assign(**{result.measures.drawdown: drawdown})
    row: dict[str, object] = {**result.cell.names, "edits": len(values)}
    for name in (result.measures.drawdown, *result.measures.side_effect_columns):
        found = metrics.mean(values[name].dropna().to_numpy(dtype=float), name)
        row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    row["success_rate"] = 100.0 * float(result.records["succeeded"].mean())
    return row
