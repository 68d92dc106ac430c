"""Drawdown against success over the learning rate: two models compared at every success rate, not at one."""

from __future__ import annotations

import json
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import pandas as pd

import editors
from benchmarks.files import write_atomically
from benchmarks.metrics import Measures
from benchmarks.scoring.scorer import shards
from pipelines.config.params import Settings
from pipelines.jobs.cells import KEYS, Cell, read_tuned
from pipelines.jobs.progress import Progress
from pipelines.tasks import task_of
from pipelines.tasks.base import EditSet
from pipelines.tasks.scoring import identity, informed, scorer_of

FACTORS = (0.4, 0.63, 0.8, 1.0, 1.25, 1.6, 2.5)
"""By which the tuned learning rate is multiplied."""
STRENGTH = "lr"
_ENDS = ("", "_low", "_high")


def columns(measures: Measures) -> list[str]:
    """The columns that the table of trade-off curves starts with."""
    return [*KEYS, "factor", STRENGTH, "edits", measures.drawdown, "success_rate"]


def folder_of(cell: Cell) -> Path:
    """A file for each factor, in :attr:`pipelines.store.layout.Layout.descriptors`."""
    return cell.layout.descriptors / f"{cell.editor}-{cell.file}.curve"


def curve(settings: Settings, cell: Cell) -> pd.DataFrame:
    """The evaluated edits once more for each of ``FACTORS``, the other hyperparameters as they were tuned.

    Each is kept as a file of its own and made again only if something changed.

    :returns: one row per factor: the cell's names, ``factor, lr, edits`` and the drawdown, ``success_rate, num_steps,
        generality``, each with ``_low`` and ``_high`` (95 %); none for an editor without a learning rate.
    """
    tuned = read_tuned(cell)
    if STRENGTH not in tuned["hyperparameters"]:
        return pd.DataFrame()
    block, task = settings.benchmark(cell.benchmark), task_of(settings, cell.benchmark)
    chosen, asked = block.evaluation, task.edit_set(block, "test")
    edits = EditSet(asked.split, min(asked.count, block.editor(cell.editor).max_edits or asked.count))
    decides = [chosen.model_dump(exclude={"shard"}), asdict(edits), tuned["hyperparameters"], tuned["max_steps"]]
    found = identity(settings, cell, [*decides, *task.edits_from(settings, cell, edits)], __file__)
    progress = Progress(f"curve {cell}", len(FACTORS), "learning rates")
    scorer, rows = None, []
    for factor in FACTORS:
        path = folder_of(cell) / f"{factor:g}.json"
        row = _read(path, found)
        if row is not None:
            progress.resume(1)
        else:
            scorer = scorer or scorer_of(settings, cell, edits, chosen.control_size)
            values = tuned["hyperparameters"] | {STRENGTH: factor * tuned["hyperparameters"][STRENGTH]}
            editor = settings.build(cell.benchmark, cell.editor, **values, max_steps=tuned["max_steps"])
            editor = informed(settings, cell, scorer, editor)
            row = {"factor": factor, STRENGTH: values[STRENGTH]}
            row |= _row(scorer, editor, task.measures, chosen.shard)
            write_atomically(path, json.dumps({"fingerprint": found, "row": row}) + "\n")
            progress.advance()
        rows.append(row)
    progress.finish(f"{len(FACTORS)} learning rates")
    return pd.DataFrame({**cell.names, **pd.DataFrame(rows)})


def _read(path: Path, wanted: str) -> dict[str, float] | None:
    try:
        kept = json.loads(path.read_text())
        return kept["row"] if kept["fingerprint"] == wanted else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _row(scorer: Any, editor: editors.Editor, measures: Measures, shard: int) -> dict[str, float]:
    records = []
    for rows in shards(len(scorer.requests), shard):
        edits, _ = scorer.edit(editor, rows)
        records += map(asdict, scorer.records(rows, edits))
    frame = pd.DataFrame(records)
    summary = measures.summarise(frame)
    ends = {
        f"{name}{end}": value
        for name in (measures.drawdown, "success_rate", "num_steps", "generality")
        for end, value in zip(_ENDS, astuple(summary[name]), strict=True)
    }
    return {"edits": len(frame), **ends}
