"""Stage 4: carry out edits of the test split with the chosen hyperparameters and write one record per edit."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

import editors
from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from benchmarks.scoring import Scorer
from pipelines import command
from pipelines import settings as parameters
from pipelines.cells import PROTOCOL, Cell, cells_of, fingerprint, read_tuned, scorer, statistics
from pipelines.layout import EDITOR, Layout
from pipelines.progress import Progress
from pipelines.record_files import as_csv, in_shards
from pipelines.settings import Settings
from pipelines.workers import share_out

LEARNED = ".learned.csv"
"""Records of the same edits with the hyperparameters that training ended with, of a model trained for this editor."""


def evaluate(
    benchmark: Annotated[str, typer.Argument(help="A name under `benchmarks` in the parameter file.")],
    editor: Annotated[str, typer.Argument(help="A name under `editors` in the parameter file.")],
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Edit test images with a tuned editor and record what each edit did to the rest of the test split."""
    settings = parameters.load(params)
    cells = cells_of(settings, benchmark, editor)
    folder = Layout(benchmark).edits(editor)
    if not cells:
        folder.mkdir(parents=True, exist_ok=True)
        print(f"evaluate {benchmark} {editor}: nothing to do, `trainings` lists none of editors.{editor}.subsets")
    share_out(partial(_evaluate_cell, settings), cells, settings.processes, settings.torch_device())
    wanted = {f"{cell.file}{suffix}" for cell in cells for suffix in (".json", ".csv", ".timing.csv", LEARNED)}
    for stale in [path for path in folder.iterdir() if path.name not in wanted]:
        stale.unlink()
    shutil.rmtree(Layout(benchmark).shards(editor), ignore_errors=True)


def _evaluate_cell(settings: Settings, cell: Cell) -> None:
    """Evaluate one cell unless it is done already, shard by shard."""
    chosen = settings.benchmark(cell.benchmark).evaluation
    tuned = read_tuned(cell)
    learned = _read_learned(cell)
    count = min(chosen.edits, settings.editor(cell.editor).edits or chosen.edits)
    asked = [settings.seed, chosen.model_dump(), count, tuned["hyperparameters"], tuned["max_steps"], learned]
    identity = fingerprint(cell, asked)
    result = cell.layout.edits(cell.editor) / f"{cell.file}.json"
    progress = Progress(f"evaluate {cell}", count * (2 if learned else 1), "edits")
    if _finished(result, identity):
        progress.finish("unchanged")
        return
    images, data = scorer(settings, cell, "test", count, chosen.control_size)
    known = statistics(editors.build(cell.editor), images, data.train)
    folder = cell.layout.shards(cell.editor) / f"{cell.file}-{identity[:12]}"

    def records_with(values: dict[str, Any], max_steps: int, folder: Path) -> pd.DataFrame:
        editor = editors.build(cell.editor, **values, max_steps=max_steps).informed(known)
        return in_shards(folder, count, chosen.shard, lambda rows: _run_shard(images, editor, rows), progress)

    records = records_with(tuned["hyperparameters"], tuned["max_steps"], folder)
    timing = records[["edit", "milliseconds"]]
    records = records.drop(columns="milliseconds")
    wrong = images.wrong_before
    description = {
        "benchmark": cell.benchmark,
        "training": cell.training,
        "editor": cell.editor,
        "layers": cell.layers,
        "hyperparameters": tuned["hyperparameters"],
        "max_steps": tuned["max_steps"],
        "learned": learned["hyperparameters"] if learned else None,
        "feasible": tuned["feasible"],
        "min_success": tuned["min_success"],
        "tuning": tuned["tuning"],
        "edits": len(records),
        "test_images": len(data.test),
        "test_images_wrong_before_editing": wrong,
        "dataset": data.fingerprint(),
        "protocol": PROTOCOL,
        "fingerprint": identity,
    }
    write_atomically(result.with_suffix(".csv"), as_csv(records))
    write_atomically(result.with_suffix(".timing.csv"), as_csv(timing))
    result.with_suffix(LEARNED).unlink(missing_ok=True)
    if learned:
        with_learned = records_with(learned["hyperparameters"], learned["max_steps"], folder / "learned")
        write_atomically(result.with_suffix(LEARNED), as_csv(with_learned.drop(columns="milliseconds")))
    write_atomically(result, json.dumps(description, indent=2) + "\n")
    succeeded = 100 * records["succeeded"].mean()
    progress.finish(f"{len(records)} edits, {succeeded:.1f} % succeeded, {records['steps'].mean():.2f} steps")


def _read_learned(cell: Cell) -> dict[str, Any] | None:
    """What the cell's model was trained with, if that is this editor on these layers."""
    path = cell.model / EDITOR
    try:
        learned = json.loads(path.read_text())
        if (learned["editor"], learned["layers"]) != (cell.editor, cell.layers):
            return None
        return {name: learned[name] for name in ("hyperparameters", "max_steps")}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not describe an editor ({error!r}): train {cell.training} again") from error


def _run_shard(images: Scorer, editor: editors.Editor, rows: range) -> pd.DataFrame:
    edits, milliseconds = images.edit(editor, rows)
    records = [asdict(images.record(row, edit)) for row, edit in zip(rows, edits, strict=True)]
    return pd.DataFrame(records).assign(milliseconds=round(milliseconds, 3))


def _finished(result: Path, identity: str) -> bool:
    try:
        described = json.loads(result.read_text())
        files = (".csv", ".timing.csv", *([LEARNED] if described["learned"] else []))
        return described["fingerprint"] == identity and all(result.with_suffix(suffix).exists() for suffix in files)
    except (OSError, ValueError, KeyError, TypeError):
        return False


if __name__ == "__main__":
    command.run(evaluate)
