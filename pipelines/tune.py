"""Stage 3: choose an editor's hyperparameters on the tuning split."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import partial
from math import isnan
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

import editors
from benchmarks.files import write_atomically
from pipelines import command
from pipelines.config import params as parameters
from pipelines.config.params import Settings
from pipelines.jobs import search
from pipelines.jobs.cells import Cell, cells_of_run, fingerprint, unfinished
from pipelines.jobs.parallel_map import share_out
from pipelines.jobs.progress import Progress
from pipelines.jobs.scorers import scorer, statistics
from pipelines.jobs.search import Space
from pipelines.store.fingerprint import is_made_of
from pipelines.store.layout import TIMING, Layout
from pipelines.store.stage_times import timed

_RESCORABLE = 20
"""Finalists are looked at on the whole tuning split if it has at most so many times an edit's control images.

Looking at a larger one would cost more than all of the search.
"""


@timed(lambda layout: (layout.results / "tuned").glob("*/*.csv"))
def tune(
    benchmark: Annotated[str, typer.Argument(help="A name under `benchmarks` in the parameter file.")],
    names: command.Editors = None,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Tune editors on every part of every model they edit: smallest drawdown at the required success rate."""
    settings = parameters.load(params)
    layout = Layout(benchmark)
    cells = cells_of_run(settings, benchmark, names)
    todo = unfinished("tune", cells, partial(_is_tuned, settings))
    share_out(partial(_tune_cell, settings), todo, settings.processes, settings.torch_device(), _keep_time)
    for name, of_editor in cells.items():
        folder = layout.tuned(name)
        folder.mkdir(parents=True, exist_ok=True)
        times = _read_times(folder)
        _write_times(folder, {cell.file: times.get(cell.file) for cell in of_editor})
        wanted = {TIMING} | {f"{cell.file}{suffix}" for cell in of_editor for suffix in (".json", ".csv")}
        for stale in [path for path in folder.iterdir() if path.name not in wanted]:
            stale.unlink()
        shutil.rmtree(layout.studies(name), ignore_errors=True)


def _result(cell: Cell) -> Path:
    return cell.layout.tuned(cell.editor) / f"{cell.file}.json"


def _identity(settings: Settings, cell: Cell) -> str:
    asked = settings.editor(cell.editor).model_dump(exclude={"subsets"})
    asked["ranges"] = settings.ranges(cell.benchmark, cell.editor)  # the method's own ranges are in its hash
    tuning = settings.benchmark(cell.benchmark).tuning.model_dump()
    return fingerprint(settings, cell, [tuning, asked], search.__file__)


def _is_tuned(settings: Settings, cell: Cell) -> bool:
    result = _result(cell)
    return is_made_of(result, _identity(settings, cell), result.with_suffix(".csv"))


def _tune_cell(settings: Settings, cell: Cell) -> float:
    """Tune one cell; returns the seconds it took."""
    tuning, chosen = settings.benchmark(cell.benchmark).tuning, settings.editor(cell.editor)
    space = Space(
        hyperparameters=editors.describe(settings.method(cell.editor)).hyperparameters,
        ranges={name: (low, high) for name, (low, high) in settings.ranges(cell.benchmark, cell.editor).items()},
        fixed=chosen.fixed,
        max_steps=chosen.max_steps,
    )
    identity, result = _identity(settings, cell), _result(cell)
    progress = Progress(f"tune {cell}", chosen.trials, "trials")
    count = min(tuning.edits, chosen.edits or tuning.edits)
    images, data = scorer(settings, cell, "tuning", count, tuning.control_size)
    trials, importances = search.search(
        partial(settings.build, cell.editor),
        space,
        images,
        chosen.trials,
        tuning.required,
        cell.layout.studies(cell.editor) / f"{cell.file}-{identity[:12]}.journal",
        (settings.seed, cell.benchmark, cell.training, cell.editor, cell.layers),
        progress,
        statistics(settings, cell, images, data.train),
        rescore=len(data.tuning) <= _RESCORABLE * (tuning.control_size or len(data.tuning)),
    )
    best = trials[trials["chosen"]].iloc[0]
    names = [parameter.name for parameter in space.hyperparameters]
    content = {
        "benchmark": cell.benchmark,
        "training": cell.training,
        "editor": cell.editor,
        "layers": cell.layers,
        "hyperparameters": {name: float(best[name]) for name in names},
        "max_steps": chosen.max_steps,
        "feasible": bool(best["feasible"]),
        "min_success": tuning.min_success,
        "tuning": {
            "trial": int(best["number"]),
            "trials": len(trials),
            "edits": int(best["edits"]),
            "required": tuning.required,
            "success_rate": float(best["success_rate"]),
            "drawdown": float(best["drawdown"]),
            "share_of_full_grid": round(_looked_at(trials, count, tuning.control_size, len(data.tuning)), 2),
        },
        "importances": {name: None if isnan(value) else round(value, 6) for name, value in importances.items()},
        "fingerprint": identity,
    }
    write_atomically(result.with_suffix(".csv"), trials.to_csv(index=False, lineterminator="\n"))
    write_atomically(result, json.dumps(content, indent=2) + "\n")
    note = "" if content["feasible"] else f"; no trial reached {tuning.required:g} % success"
    values = ", ".join(f"{name}={best[name]:.3g}" for name in names)
    progress.finish(
        f"drawdown {best['drawdown']:.2f} points at {best['success_rate']:.0f} % success"
        + (f" with {values}" if values else "")
        + note
    )
    return progress.seconds


def _looked_at(trials: pd.DataFrame, edits: int, control_size: int | None, images: int) -> float:
    """Percent of all pairs of an edit and an image, over all trials, that were looked at; finalists twice."""
    shares = trials["scored"] / edits * (control_size or images) / images + trials["rescored"].notna()
    return 100 * float(shares.mean())


def _keep_time(cell: Cell, seconds: float) -> None:
    folder = cell.layout.tuned(cell.editor)
    _write_times(folder, _read_times(folder) | {cell.file: round(seconds, 1)})


def _write_times(folder: Path, times: Mapping[str, float | None]) -> None:
    write_atomically(folder / TIMING, json.dumps(times, indent=2) + "\n")


def _read_times(folder: Path) -> dict[str, float | None]:
    """Seconds by cell, those of an earlier run among them: what is unchanged keeps its time."""
    try:
        return dict(json.loads((folder / TIMING).read_text()))
    except (OSError, ValueError, TypeError):
        return {}


if __name__ == "__main__":
    command.run(tune)
