"""Stage 3: choose an editor's hyperparameters on the tuning split."""

from __future__ import annotations

import json
import shutil
from functools import partial
from math import isnan
from pathlib import Path
from typing import Annotated

import typer

import editors
from benchmarks.files import write_atomically
from pipelines import command, search
from pipelines import settings as parameters
from pipelines.cells import Cell, cells_of, fingerprint, scorer, statistics
from pipelines.layout import Layout
from pipelines.progress import Progress
from pipelines.search import Space
from pipelines.settings import Settings
from pipelines.workers import share_out


def tune(
    benchmark: Annotated[str, typer.Argument(help="A name under `benchmarks` in the parameter file.")],
    editor: Annotated[str, typer.Argument(help="A name under `editors` in the parameter file.")],
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Tune one editor on every part of every model it edits: smallest drawdown at the required success rate."""
    settings = parameters.load(params)
    cells = cells_of(settings, benchmark, editor)
    folder = Layout(benchmark).tuned(editor)
    if not cells:
        folder.mkdir(parents=True, exist_ok=True)
        print(f"tune {benchmark} {editor}: nothing to do, `trainings` lists none of those in editors.{editor}.subsets")
    earlier = _read_timing(folder / "timing.json")
    seconds = share_out(partial(_tune_cell, settings), cells, settings.processes, settings.torch_device())
    timing = {
        cell.file: earlier.get(cell.file) if taken is None else round(taken, 1)
        for cell, taken in zip(cells, seconds, strict=True)
    }
    write_atomically(folder / "timing.json", json.dumps(timing, indent=2) + "\n")
    wanted = {"timing.json"} | {f"{cell.file}{suffix}" for cell in cells for suffix in (".json", ".csv")}
    for stale in [path for path in folder.iterdir() if path.name not in wanted]:
        stale.unlink()
    shutil.rmtree(Layout(benchmark).studies(editor), ignore_errors=True)


def _tune_cell(settings: Settings, cell: Cell) -> float | None:
    """Tune one cell; returns the seconds it took, None if it was done already."""
    tuning, chosen = settings.benchmark(cell.benchmark).tuning, settings.editor(cell.editor)
    space = Space(
        hyperparameters=editors.describe(settings.method(cell.editor)).hyperparameters,
        ranges={name: (low, high) for name, (low, high) in chosen.ranges.items()},
        fixed=chosen.fixed,
        max_steps=chosen.max_steps,
    )
    asked = chosen.model_dump(exclude={"subsets"})  # the search ranges of the method's own file are in its hash
    identity = fingerprint(settings, cell, [tuning.model_dump(), asked], search.__file__)
    result = cell.layout.tuned(cell.editor) / f"{cell.file}.json"
    progress = Progress(f"tune {cell}", chosen.trials, "trials")
    if _finished(result, identity):
        progress.finish("unchanged")
        return None
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
        statistics(settings.build(cell.editor), images, data.train),
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


def _read_timing(path: Path) -> dict[str, float]:
    """Seconds by cell of an earlier run, of which the cells that are unchanged keep theirs."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _finished(result: Path, identity: str) -> bool:
    try:
        return json.loads(result.read_text())["fingerprint"] == identity and result.with_suffix(".csv").exists()
    except (OSError, ValueError, KeyError, TypeError):
        return False


if __name__ == "__main__":
    command.run(tune)
