"""Stage 3: choose an editor's hyperparameters on the tuning split."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

import editors
from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from benchmarks.metrics import Measures
from pipelines import command
from pipelines.config.params import Settings
from pipelines.jobs import search, trials, weakest
from pipelines.jobs.cells import Cell, cells_of_run, read_times, unfinished
from pipelines.jobs.engine import share_out
from pipelines.jobs.parallel_map import tf32
from pipelines.jobs.progress import Progress
from pipelines.jobs.search import Space
from pipelines.jobs.trials import Asked
from pipelines.store.fingerprint import is_made_of
from pipelines.store.layout import TIMING, Layout, remove_others, write_json
from pipelines.store.provenance import timed
from pipelines.tasks import editor_of, edits_of, identity, load_settings, scorer_of, task_of


@timed(lambda layout: (layout.results / "tuned").glob("*/*.csv"))
def tune(
    benchmark: command.Benchmark,
    names: command.Editors = None,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Tune editors on every part of every model they edit: smallest drawdown at the required success rate."""
    settings, layout = load_settings(params), Layout(benchmark)
    block, task = settings.benchmark(benchmark), task_of(settings, benchmark)
    cells = cells_of_run(settings, benchmark, names)
    if any(block.editor(name).trials for name in cells):
        task.draw(settings, benchmark, task.edit_set(block, "tuning"))
    todo = unfinished("tune", cells, partial(_is_tuned, settings))
    share_out(settings, partial(_tune, settings), todo, _keep_time)
    for name, of_editor in cells.items():
        folder = layout.tuned(name)
        times = read_times(folder)
        write_json(folder / TIMING, {cell.file: times.get(cell.file) for cell in of_editor})
        wanted = {TIMING} | {f"{cell.file}{suffix}" for cell in of_editor for suffix in (".json", ".csv")}
        remove_others(folder, wanted)
        shutil.rmtree(layout.unfinished("studies", name), ignore_errors=True)
    if not names:
        remove_others(layout.results / "tuned", set(cells))


def _identity(settings: Settings, cell: Cell) -> str:
    block = settings.benchmark(cell.benchmark)
    chosen = block.editor(cell.editor).model_dump(exclude={"layers"})
    if not chosen["trials"]:
        return identity(settings, cell, [chosen, block.tuning.min_success])
    edits = task_of(settings, cell.benchmark).edits_from(settings, cell, edits_of(settings, cell, "tuning"))
    code = [one.__file__ for one in (search, trials, weakest)]
    tuning = block.tuning.model_dump(exclude=None if block.tuning.tf32 else {"tf32"})  # as before there was a choice
    return identity(settings, cell, [tuning, chosen, *edits], *code)


def _is_tuned(settings: Settings, cell: Cell) -> bool:
    others = [cell.tuned.with_suffix(".csv")] if settings.benchmark(cell.benchmark).editor(cell.editor).trials else []
    return is_made_of(cell.tuned, _identity(settings, cell), *others)


def _tune(settings: Settings, cell: Cell) -> float:
    """Tune one cell; returns the seconds it took."""
    block = settings.benchmark(cell.benchmark)
    chosen, found = block.editor(cell.editor), _identity(settings, cell)
    progress = Progress(f"tune {cell}", chosen.trials, "trials")
    known = editors.describe(block.method(cell.editor)).hyperparameters
    if chosen.trials:
        space = Space(known, dict(chosen.ranges), chosen.fixed, chosen.max_steps)
        with tf32(block.tuning.tf32):
            table, asked, share = _search(settings, cell, space, found, progress)
        best = table[table["chosen"]].iloc[0]
        values = {parameter.name: float(best[parameter.name]) for parameter in known}
        content = {"feasible": bool(best["feasible"]), "tuning": _summary(table, asked, share)}
        cell.tuned.unlink(missing_ok=True)  # until its trials are there as well
        write_atomically(cell.tuned.with_suffix(".csv"), table.to_csv(index=False, lineterminator="\n"))
    else:
        values = {one.name: float(chosen.fixed.get(one.name, one.default)) for one in known}
        content = {"feasible": True, "tuning": None}
    described = {
        "benchmark": cell.benchmark,
        **cell.names,
        "hyperparameters": values,
        "max_steps": chosen.max_steps,
        "min_success": block.tuning.min_success,
        **content,
        "fingerprint": found,
    }
    write_json(cell.tuned, described)
    progress.finish(_told(described, task_of(settings, cell.benchmark).measures))
    return progress.seconds


def _search(
    settings: Settings, cell: Cell, space: Space, found: str, progress: Progress
) -> tuple[pd.DataFrame, Asked, float]:
    """The trials of a cell's study, what was asked of them, and the percentage of all pairs of an edit and an example
    that they looked at.
    """
    block, task = settings.benchmark(cell.benchmark), task_of(settings, cell.benchmark)
    edits, tuning = edits_of(settings, cell, "tuning"), block.tuning
    scorer = scorer_of(settings, cell, edits, tuning.control_size)
    allowed = trials.allowed_failures(edits.count, tuning.min_success, tuning.confidence)
    asked = Asked(edits.count, allowed, min(tuning.edits, edits.count))
    journal = cell.layout.unfinished("studies", cell.editor) / f"{cell.file}-{found[:12]}.journal"
    _check_journal(journal)
    table = search.search(
        partial(editor_of, settings, cell, scorer),
        space,
        scorer,
        task.measures,
        block.editor(cell.editor).trials,
        asked,
        journal,
        (settings.seed, cell.benchmark, cell.training, cell.editor, cell.layers),
        progress,
        task.rescorable,
    )
    size = (tuning.control_size or scorer.examples) / scorer.examples
    shares = table["scored"] / asked.scored * size + table["rescored"].notna()
    return table, asked, 100 * float(shares.mean())


def _summary(table: pd.DataFrame, asked: Asked, share: float) -> dict[str, Any]:
    best = table[table["chosen"]].iloc[0]
    return {
        "trial": int(best["number"]),
        "trials": len(table),
        "proposed_by": str(best["proposed_by"]),
        "edits": int(best["edits"]),
        "required": round(asked.required, 2),
        "success_rate": float(best["success_rate"]),
        "drawdown": float(best["drawdown"]),
        "share_of_full_grid": round(share, 2),
    }


def _told(described: Mapping[str, Any], measures: Measures) -> str:
    values = ", ".join(f"{name}={value:.3g}" for name, value in described["hyperparameters"].items())
    tuning = described["tuning"]
    if tuning is None:
        return f"given: {values or 'no hyperparameters'}"
    note = "" if described["feasible"] else f"; no trial reached {tuning['required']:g} % success"
    column = measures.columns[measures.drawdown]
    drawdown = f"{tuning['drawdown']:.{column.digits}f} {column.unit}".strip()
    reached = f"drawdown {drawdown} at {tuning['success_rate']:.0f} % success"
    return f"{reached}{f' with {values}' if values else ''}{note}"


def _keep_time(cell: Cell, seconds: float) -> None:
    folder = cell.layout.tuned(cell.editor)
    write_json(folder / TIMING, read_times(folder) | {cell.file: round(seconds, 1)})


def _check_journal(journal: Path) -> None:
    """Let a study end with its last whole line: a full disk leaves half of one, which the next would continue.

    :raises InputError: if another line is broken.
    """
    if not journal.exists():
        return
    *whole, torn = journal.read_bytes().split(b"\n")
    try:
        if not all(isinstance(json.loads(line), dict) for line in whole):
            raise ValueError
    except ValueError as error:
        raise InputError(f"{journal} is not a readable study: remove it to tune from the start") from error
    if torn:
        write_atomically(journal, b"".join(line + b"\n" for line in whole))


if __name__ == "__main__":
    command.run(tune)
