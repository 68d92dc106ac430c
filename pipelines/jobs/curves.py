"""Drawdown against success over the learning rate: two models compared at every success rate, not at one."""

from __future__ import annotations

import json
from dataclasses import asdict, astuple
from pathlib import Path

import pandas as pd

import editors
from benchmarks import metrics
from benchmarks.files import write_atomically
from benchmarks.scoring import measures
from benchmarks.scoring.scorer import Scorer, shards
from pipelines.config.params import Settings
from pipelines.jobs.cells import Cell, fingerprint, read_tuned
from pipelines.jobs.progress import Progress
from pipelines.jobs.scorers import scorer, statistics

FACTORS = (0.4, 0.63, 0.8, 1.0, 1.25, 1.6, 2.5)
"""By which the tuned learning rate is multiplied."""
STRENGTH = "lr"
_ENDS = ("", "_low", "_high")


def curve(settings: Settings, cell: Cell) -> pd.DataFrame:
    """The evaluated edits once more for each of ``FACTORS``, the other hyperparameters as they were tuned.

    They are kept beside the descriptors of edits, a file for each factor, and made again only if something changed.

    :returns: one row per factor with ``factor, lr, edits`` and ``drawdown, success_rate, num_steps, generality``, each
        with ``_low`` and ``_high`` (95 %); none for an editor without a learning rate.
    """
    tuned = read_tuned(cell)
    if STRENGTH not in tuned["hyperparameters"]:
        return pd.DataFrame()
    chosen, limit = settings.benchmark(cell.benchmark).evaluation, settings.editor(cell.editor).edits
    count = min(chosen.edits, limit or chosen.edits)
    asked = [chosen.model_dump(), count, tuned["hyperparameters"], tuned["max_steps"]]
    identity = fingerprint(settings, cell, asked, __file__)
    folder = cell.layout.descriptors / f"{cell.editor}-{cell.file}.curve"
    progress = Progress(f"curve {cell}", len(FACTORS), "learning rates")
    images, known, rows = None, None, []
    for factor in FACTORS:
        path = folder / f"{factor:g}.json"
        row = _read(path, identity)
        if row is not None:
            progress.resume(1)
        else:
            if images is None:
                images, data = scorer(settings, cell, "test", count, chosen.control_size)
                known = statistics(settings, cell, images, data.train)
            values = tuned["hyperparameters"] | {STRENGTH: factor * tuned["hyperparameters"][STRENGTH]}
            editor = settings.build(cell.editor, **values, max_steps=tuned["max_steps"]).informed(known)
            row = {"factor": factor, STRENGTH: values[STRENGTH], **_row(images, editor, chosen.shard)}
            write_atomically(path, json.dumps({"fingerprint": identity, "row": row}) + "\n")
            progress.advance()
        rows.append(row)
    progress.finish(f"{len(FACTORS)} learning rates")
    return pd.DataFrame(rows)


def _read(path: Path, identity: str) -> dict[str, float] | None:
    try:
        kept = json.loads(path.read_text())
        return kept["row"] if kept["fingerprint"] == identity else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _row(images: Scorer, editor: editors.Editor, shard: int) -> dict[str, float]:
    records = []
    for rows in shards(len(images.requests), shard):
        edits, _ = images.edit(editor, rows)
        records += [asdict(images.record(row, edit)) for row, edit in zip(rows, edits, strict=True)]
    frame = pd.DataFrame(records)
    found = {
        "drawdown": metrics.mean(measures.drawdown(frame).to_numpy(dtype=float), "drawdown"),
        "success_rate": metrics.share(int(frame["succeeded"].sum()), len(frame)),
        "num_steps": metrics.mean(frame["steps"].to_numpy(dtype=float), "num_steps"),
        "generality": metrics.mean(measures.generality(frame).to_numpy(dtype=float), "generality"),
    }
    columns = {
        f"{name}{end}": value for name, one in found.items() for end, value in zip(_ENDS, astuple(one), strict=True)
    }
    return {"edits": len(frame), **columns}
