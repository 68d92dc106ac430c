"""What MLflow shows of Table 6: one run per row and one per training, made from result files."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from baselines.model_files import DESCRIPTION
from pipelines.store.layout import HISTORY
from pipelines.store.machine import git_commit
from pipelines.table6 import KEYS, PROTOCOL, RowResult
from pipelines.tracking.sync import RunRecord
from pipelines.translation_job import Job, Model

_SHARED = ("table6.md", "examples.md", "claims.md", "figures/table6.png")


def run_records(job: Job, results: Sequence[RowResult], table: pd.DataFrame) -> list[RunRecord]:
    """The runs of one benchmark's experiment.

    :param table: Table 6, from which metrics and published values come.
    """
    tags = {"benchmark": job.benchmark, "git_commit": git_commit(), "protocol": str(PROTOCOL)}
    lines = zip(results, table.to_dict("records"), strict=True)
    return [_row(job, *line, tags) for line in lines] + [_training(job, one, tags) for one in job.models]


def _row(job: Job, result: RowResult, line: dict, tags: dict[str, str]) -> RunRecord:
    metrics = {name: float(value) for name, value in line.items() if name not in (*KEYS, "note", "edits")}
    folder, row = job.layout.results, result.row
    shared = [path for path in (folder / name for name in _SHARED) if path.exists()]
    return RunRecord(
        key=result.name,
        parameters={**result.description["hyperparameters"], "max_steps": row.max_steps},
        metrics={**metrics, "milliseconds": float(result.milliseconds.mean())},
        series={},
        tags={
            **tags,
            "training": row.training,
            "editor": row.editor,
            "layers": row.layers,
            "kind": "edits",
            **({"note": line["note"]} if line["note"] else {}),
        },
        artifacts=[*shared, job.edits / f"{result.cell.file}.csv"],
    )


def _training(job: Job, model: Model, tags: dict[str, str]) -> RunRecord:
    folder = job.layout.model(model.training, model.seed)
    history = pd.read_csv(folder / HISTORY)
    curves = [name for name in history.columns if name != "epoch"]
    return RunRecord(
        key=f"training/{model.name}",
        parameters=job.chosen.trainings[model.training].model_dump(),
        metrics={},
        series={name: list(zip(history["epoch"].tolist(), history[name].tolist(), strict=True)) for name in curves},
        tags={**tags, "training": model.training, "seed": str(model.seed), "kind": "training"},
        artifacts=[folder / HISTORY, folder / DESCRIPTION],
    )
