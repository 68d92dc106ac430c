"""Stage 4: carry out edits of the test split with the chosen hyperparameters and write one record per edit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

import editors
from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from benchmarks.scoring.scorer import Scorer
from pipelines import command
from pipelines.config import params as parameters
from pipelines.config.params import Settings
from pipelines.jobs import realistic_mistakes
from pipelines.jobs.cells import PROTOCOL, Cell, cells_of_run, fingerprint, read_tuned, unfinished
from pipelines.jobs.parallel_map import share_out
from pipelines.jobs.progress import Progress
from pipelines.jobs.scorers import mistakes_scorer, scorer, statistics
from pipelines.store.layout import EDITOR, LEARNED, MISTAKES, Layout
from pipelines.store.records import in_shards, write_records
from pipelines.store.stage_times import timed

_OF_TUNING = ("feasible", "min_success", "tuning")
"""What a cell's description says of its tuning beside the hyperparameters, which alone decide the records."""


@timed(lambda layout: (layout.results / "edits").glob("*/*.timing.csv"))
def evaluate(
    benchmark: Annotated[str, typer.Argument(help="A name under `benchmarks` in the parameter file.")],
    names: command.Editors = None,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Edit test images, and mistakes if the benchmark has any, and record what each edit did to the test split."""
    settings = parameters.load(params)
    layout = Layout(benchmark)
    cells = cells_of_run(settings, benchmark, names)
    todo = [
        (cell, mistakes)
        for mistakes in ((False, True) if settings.benchmark(benchmark).mistakes else (False,))
        for cell in unfinished(
            "evaluate mistakes of" if mistakes else "evaluate",
            cells,
            lambda cell, mistakes=mistakes: _is_up_to_date(_Asked.of(settings, cell, mistakes)),
        )
    ]
    share_out(partial(_evaluate_cell, settings), todo, settings.processes, settings.torch_device())
    kinds = [".json", ".csv", ".timing.csv", LEARNED]
    if settings.benchmark(benchmark).mistakes:
        kinds += [f"{MISTAKES}{kind}" for kind in kinds[:3]]
    for name, of_editor in cells.items():
        folder = layout.edits(name)
        folder.mkdir(parents=True, exist_ok=True)
        wanted = {f"{cell.file}{suffix}" for cell in of_editor for suffix in kinds}
        for stale in [path for path in folder.iterdir() if path.name not in wanted]:
            stale.unlink()
        shutil.rmtree(layout.shards(name), ignore_errors=True)


@dataclass(frozen=True)
class _Asked:
    """What decides the records of one cell.

    :ivar mistakes: whether realistic mistakes are edited, and not test images to random targets.
    :ivar edits: how many; ``tuned`` the chosen hyperparameters, ``learned`` those that training ended with.
    """

    cell: Cell
    mistakes: bool
    edits: int
    tuned: Mapping[str, Any]
    learned: Mapping[str, Any] | None
    identity: str

    @property
    def result(self) -> Path:
        return self.cell.layout.edits(self.cell.editor) / f"{self.cell.file}{MISTAKES if self.mistakes else ''}.json"

    @classmethod
    def of(cls, settings: Settings, cell: Cell, mistakes: bool) -> _Asked:
        block = settings.benchmark(cell.benchmark)
        tuned, learned = read_tuned(cell), None if mistakes else _read_learned(cell)
        wanted = block.mistakes.edits if mistakes else block.evaluation.edits
        count = min(wanted, settings.editor(cell.editor).edits or wanted)
        asked = [block.evaluation.model_dump(), count, tuned["hyperparameters"], tuned["max_steps"], learned]
        if mistakes:
            asked.append(realistic_mistakes.identity(settings, cell.benchmark, cell.seed))
        code = [realistic_mistakes.__file__] if mistakes else []
        return cls(cell, mistakes, count, tuned, learned, fingerprint(settings, cell, asked, *code))


def _evaluate_cell(settings: Settings, piece: tuple[Cell, bool]) -> None:
    """Evaluate one cell, shard by shard; on mistakes if the second part of ``piece`` says so."""
    cell, mistakes = piece
    chosen = settings.benchmark(cell.benchmark).evaluation
    asked = _Asked.of(settings, cell, mistakes)
    tuned, learned, result = asked.tuned, asked.learned, asked.result
    what = f"evaluate {cell}{' on mistakes' if mistakes else ''}"
    progress = Progress(what, asked.edits * (2 if learned else 1), "edits")
    if mistakes:
        images, data = mistakes_scorer(settings, cell, asked.edits, chosen.control_size)
    else:
        images, data = scorer(settings, cell, "test", asked.edits, chosen.control_size)
    known = statistics(settings, cell, images, data.train)
    folder = cell.layout.shards(cell.editor) / f"{cell.file}-{asked.identity[:12]}"

    def records_with(values: dict[str, Any], max_steps: int, folder: Path) -> pd.DataFrame:
        editor = settings.build(cell.editor, **values, max_steps=max_steps).informed(known)
        return in_shards(folder, asked.edits, chosen.shard, lambda rows: _run_shard(images, editor, rows), progress)

    records = records_with(tuned["hyperparameters"], tuned["max_steps"], folder)
    timing = records[["edit", "milliseconds"]]
    records = records.drop(columns="milliseconds")
    if mistakes:
        records["rank"] = images.ranks.numpy()
    description = {
        "benchmark": cell.benchmark,
        "training": cell.training,
        "editor": cell.editor,
        "layers": cell.layers,
        "hyperparameters": tuned["hyperparameters"],
        "max_steps": tuned["max_steps"],
        "learned": learned["hyperparameters"] if learned else None,
        **{name: tuned[name] for name in _OF_TUNING},
        "edits": len(records),
        "test_images": len(data.test),
        "wrong_before_editing": " ".join(map(str, images.wrong_before)),  # of the test images; one line, not one each
        "dataset": data.fingerprint(),
        "protocol": PROTOCOL,
        "fingerprint": asked.identity,
    }
    write_records(result.with_suffix(".csv"), records)
    write_records(result.with_suffix(".timing.csv"), timing)
    if not mistakes:
        result.with_suffix(LEARNED).unlink(missing_ok=True)
    if learned:
        with_learned = records_with(learned["hyperparameters"], learned["max_steps"], folder / "learned")
        write_records(result.with_suffix(LEARNED), with_learned.drop(columns="milliseconds"))
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


def _is_up_to_date(asked: _Asked) -> bool:
    """Whether the records lie there; a later tuning that chose the same values is then noted beside them."""
    result = asked.result
    try:
        described = json.loads(result.read_text())
        files = (".csv", ".timing.csv", *([LEARNED] if described["learned"] else []))
        if described["fingerprint"] != asked.identity or not all(result.with_suffix(one).exists() for one in files):
            return False
        tuned = {name: asked.tuned[name] for name in _OF_TUNING}
        if described != described | tuned:
            write_atomically(result, json.dumps(described | tuned, indent=2) + "\n")
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False


if __name__ == "__main__":
    command.run(evaluate)
