"""Drawdown against success over the learning rate: two models compared at every success rate, not at one."""

from __future__ import annotations

import json
from dataclasses import asdict, astuple

import pandas as pd

import editors
from benchmarks import metrics
from benchmarks.files import write_atomically
from benchmarks.scoring import Scorer, shards
from pipelines.cells import Cell, fingerprint, read_tuned, scorer, statistics
from pipelines.progress import Progress
from pipelines.settings import Settings

FACTORS = (0.4, 0.63, 0.8, 1.0, 1.25, 1.6, 2.5)
"""By which the tuned learning rate is multiplied."""
STRENGTH = "lr"
_ENDS = ("", "_low", "_high")


def curve(settings: Settings, cell: Cell) -> pd.DataFrame:
    """The evaluated edits once more for each of ``FACTORS``, the other hyperparameters as they were tuned.

    A factor that was finished by an interrupted run is not done again.

    :returns: one row per factor with ``factor, lr, edits`` and ``drawdown, success_rate, num_steps``, each with
        ``_low`` and ``_high`` (95 %); none for an editor without a learning rate.
    """
    tuned = read_tuned(cell)
    if STRENGTH not in tuned["hyperparameters"]:
        return pd.DataFrame()
    chosen = settings.benchmark(cell.benchmark).evaluation
    asked = [settings.seed, chosen.model_dump(), tuned["hyperparameters"], tuned["max_steps"], FACTORS]
    identity = fingerprint(cell, asked, __file__)
    folder = cell.layout.unfinished_descriptors / f"curve-{cell.editor}-{cell.file}-{identity[:12]}"
    progress = Progress(f"curve {cell}", len(FACTORS), "learning rates")
    images, known, rows = None, None, []
    for factor in FACTORS:
        path = folder / f"{factor:g}.json"
        if not path.exists():
            if images is None:
                images, data = scorer(settings, cell, "test", chosen.edits, chosen.control_size)
                known = statistics(editors.build(cell.editor), images, data.train)
            values = tuned["hyperparameters"] | {STRENGTH: factor * tuned["hyperparameters"][STRENGTH]}
            editor = editors.build(cell.editor, **values, max_steps=tuned["max_steps"]).informed(known)
            row = {"factor": factor, STRENGTH: values[STRENGTH], **_row(images, editor, chosen.shard)}
            write_atomically(path, json.dumps(row) + "\n")
        rows.append(json.loads(path.read_text()))
        progress.advance()
    progress.finish(f"{len(FACTORS)} learning rates")
    return pd.DataFrame(rows)


def _row(images: Scorer, editor: editors.Editor, shard: int) -> dict[str, float]:
    records = []
    for rows in shards(len(images.requests), shard):
        edits, _ = images.edit(editor, rows)
        records += [asdict(images.record(row, edit, views=False)) for row, edit in zip(rows, edits, strict=True)]
    frame = pd.DataFrame(records)
    found = {
        "drawdown": metrics.mean(metrics.drawdown(frame).to_numpy(dtype=float), "drawdown"),
        "success_rate": metrics.share(int(frame["succeeded"].sum()), len(frame)),
        "num_steps": metrics.mean(frame["steps"].to_numpy(dtype=float), "num_steps"),
    }
    columns = {
        f"{name}{end}": value for name, one in found.items() for end, value in zip(_ENDS, astuple(one), strict=True)
    }
    return {"edits": len(frame), **columns}
