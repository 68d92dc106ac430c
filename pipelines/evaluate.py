"""Stage 4: carry out edits of the test split with the chosen hyperparameters and write one record per edit."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

import editors
from pipelines import command
from pipelines.config.params import Settings
from pipelines.jobs.cells import Cell, cells_of_run, read_times, read_tuned, unfinished
from pipelines.jobs.engine import share_out
from pipelines.jobs.progress import Progress, in_shards, write_described
from pipelines.store.layout import EDITOR, LEARNED, Layout, read_json, remove_others, write_json
from pipelines.store.provenance import git_commit, kind_of, timed
from pipelines.store.schemas import Learned, Measured
from pipelines.tasks import description, edits_of, identity, load_settings, scorer_of, task_of, tuned_editor
from pipelines.tasks.base import RANDOM, EditSet, Scorer

_WORTH_A_PIECE = 60.0
"""Seconds: work that takes less is not divided among nodes, as each part begins by loading model and data."""
_OF_TUNING = ("feasible", "min_success", "tuning")
"""What a cell's description says of its tuning beside the hyperparameters, which alone decide the records."""


@timed(lambda layout: (layout.results / "edits").glob("*/*.timing.csv"))
def evaluate(
    benchmark: command.Benchmark,
    names: command.Editors = None,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Edit test examples, and mistakes if the benchmark has any, and record what each edit did to the test split."""
    settings, layout = load_settings(params), Layout(benchmark)
    block, task = settings.benchmark(benchmark), task_of(settings, benchmark)
    cells = cells_of_run(settings, benchmark, names, settings.edit_seeds)
    git_commit()  # looked up once, before there are workers
    for seed in settings.edit_seeds:
        task.draw(settings, benchmark, task.edit_set(block, "test", seed=seed))
    todo = [
        (cell, source)
        for source in task.sources(block)
        for cell in unfinished(
            "evaluate" if source == RANDOM else f"evaluate {source} of",
            cells if source == RANDOM else cells_of_run(settings, benchmark, names, settings.edit_seeds[:1]),
            lambda cell, source=source: _is_up_to_date(settings, _Asked.of(settings, cell, source)),
        )
    ]
    beside = partial(_computed_with, layout, todo)
    if settings.engine == "ray":
        blocks = [(*piece, block) for piece in todo for block in _blocks(settings, *piece)]
        share_out(settings, partial(_make_block, settings), blocks, beside=beside)
    share_out(settings, partial(_evaluate, settings), todo, beside=beside)
    kinds = [f"{_infix(source)}{kind}" for source in task.sources(block) for kind in (".json", ".csv", ".timing.csv")]
    for name, of_editor in cells.items():
        remove_others(layout.edits(name), {f"{cell.file}{kind}" for cell in of_editor for kind in (*kinds, LEARNED)})
        shutil.rmtree(layout.unfinished("shards", name), ignore_errors=True)
    if not names:
        remove_others(layout.results / "edits", set(cells))


def _computed_with(layout: Layout, todo: Sequence[tuple[Cell, str]]) -> set[str]:
    """The kinds of processor that made the records which stay."""
    replaced = {_result(cell, source) for cell, source in todo}
    stay = [path for path in (layout.results / "edits").glob("*/*.json") if path not in replaced]
    return {kind_of(Measured.read(path, layout.again("evaluate"))["made"]["machine"]) for path in stay}


def _result(cell: Cell, source: str) -> Path:
    """The description of a cell's records, which lie beside it."""
    return cell.layout.edits(cell.editor) / f"{cell.file}{_infix(source)}.json"


def _infix(source: str) -> str:
    """In names of files: nothing for random targets, ``.mistakes`` for mistakes."""
    return "" if source == RANDOM else f".{source}"


@dataclass(frozen=True)
class _Asked:
    """What decides the records of one cell.

    :ivar tuned: the chosen hyperparameters, ``learned`` those that training ended with.
    """

    cell: Cell
    edits: EditSet
    tuned: Mapping[str, Any]
    learned: Mapping[str, Any] | None
    identity: str

    def shards(self, size: int) -> Path:
        """The folder of records that are not complete, ``size`` in a file."""
        file = f"{self.cell.file}-{self.identity[:12]}-{size}"
        return self.cell.layout.unfinished("shards", self.cell.editor, file)

    @classmethod
    def of(cls, settings: Settings, cell: Cell, source: str) -> _Asked:
        block, edits = settings.benchmark(cell.benchmark), edits_of(settings, cell, "test", source)
        tuned, learned = read_tuned(cell), _read_learned(cell) if source == RANDOM else None
        decides = [block.evaluation.model_dump(exclude={"shard"}), asdict(edits), tuned["hyperparameters"]]
        decides += [tuned["max_steps"], learned]
        decides += task_of(settings, cell.benchmark).edits_from(settings, cell, edits)
        return cls(cell, edits, tuned, learned, identity(settings, cell, decides))


def _evaluate(settings: Settings, piece: tuple[Cell, str]) -> None:
    """Evaluate one cell, shard by shard."""
    cell, source = piece
    chosen, asked = settings.benchmark(cell.benchmark).evaluation, _Asked.of(settings, cell, source)
    task = task_of(settings, cell.benchmark)
    tuned, learned, result = asked.tuned, asked.learned, _result(cell, source)
    what = f"evaluate {cell}{'' if source == RANDOM else f' on {source}'}"
    progress = Progress(what, asked.edits.count * (2 if learned else 1), "edits")
    scorer = scorer_of(settings, cell, asked.edits, chosen.control_size)
    folder = asked.shards(chosen.shard)

    def records_with(values: Mapping[str, Any], folder: Path) -> pd.DataFrame:
        editor, count = tuned_editor(settings, cell, scorer, values), len(scorer.requests)
        found = in_shards(folder, count, chosen.shard, lambda rows: _shard(scorer, editor, rows), progress)
        if not task.measures.misleads(found):
            return found
        whole = Progress(f"{what}: again, on all {scorer.examples} control examples", count, "edits")
        return in_shards(folder / "whole", count, chosen.shard, lambda rows: _shard(scorer, editor, rows, True), whole)

    records = records_with(tuned, folder)
    timing = records[["edit", "milliseconds"]]
    records = records.drop(columns="milliseconds").assign(**scorer.columns())
    told = {
        "learned": learned["hyperparameters"] if learned else None,
        **{name: tuned[name] for name in _OF_TUNING},
        "edits": len(records),
        **scorer.described(),
    }
    task.keep(scorer, cell)
    tables = {result.with_suffix(".csv"): records, result.with_suffix(".timing.csv"): timing}
    if learned:
        tables[result.with_suffix(LEARNED)] = records_with(learned, folder / "learned").drop(columns="milliseconds")
    elif source == RANDOM:
        result.with_suffix(LEARNED).unlink(missing_ok=True)
    write_described(result, description(settings, cell, tuned, told, asked.identity), tables)
    succeeded = 100 * records["succeeded"].mean()
    progress.finish(f"{len(records)} edits, {succeeded:.1f} % succeeded, {records['steps'].mean():.2f} steps")


def _blocks(settings: Settings, cell: Cell, source: str) -> list[slice]:
    """A cell's shards in pieces of a minute or more, if it takes as long as its study did; none if that is one."""
    size = settings.benchmark(cell.benchmark).evaluation.shard
    count = math.ceil(edits_of(settings, cell, "test", source).count / size)
    times = read_times(cell.tuned.parent)
    pieces = min(count, int((times.get(cell.tuned.stem) or 0.0) / _WORTH_A_PIECE))
    return [slice(first, None, pieces) for first in range(pieces)] if pieces > 1 else []


def _make_block(settings: Settings, piece: tuple[Cell, str, slice]) -> None:
    """Make some of a cell's shards, which :func:`_evaluate` then finds."""
    cell, source, block = piece
    chosen, asked = settings.benchmark(cell.benchmark).evaluation, _Asked.of(settings, cell, source)
    scorer = scorer_of(settings, cell, asked.edits, chosen.control_size)
    editor, count = tuned_editor(settings, cell, scorer, asked.tuned), len(scorer.requests)
    progress = Progress(f"evaluate {cell}, every {block.step}th shard from {block.start + 1}", count, "edits")
    folder = asked.shards(chosen.shard)
    in_shards(folder, count, chosen.shard, lambda rows: _shard(scorer, editor, rows), progress, block)


def _read_learned(cell: Cell) -> dict[str, Any] | None:
    """The hyperparameters that the cell's model was trained with, if that is this editor on these layers."""
    path = cell.model.described / EDITOR
    if not path.exists():
        return None
    learned = Learned.read(path, cell.layout.again("train", cell.training))
    if (learned["editor"], learned["layers"]) != (cell.editor, cell.layers):
        return None
    return {name: learned[name] for name in ("hyperparameters", "max_steps")}


def _shard(scorer: Scorer, editor: editors.Editor, rows: Sequence[int], every: bool = False) -> pd.DataFrame:
    edits, milliseconds = scorer.edit(editor, rows)
    records = scorer.records(rows, edits, every=every)
    return pd.DataFrame(map(asdict, records)).assign(milliseconds=round(milliseconds, 3))


def _is_up_to_date(settings: Settings, asked: _Asked) -> bool:
    """Whether the records lie there; a later tuning that chose the same values is then noted beside them."""
    result = _result(asked.cell, asked.edits.source)
    described = read_json(result)
    files = [result.with_suffix(kind) for kind in (".csv", ".timing.csv", *([LEARNED] if asked.learned else []))]
    files += task_of(settings, asked.cell.benchmark).kept(asked.cell)
    if described.get("fingerprint") != asked.identity or not all(file.exists() for file in files):
        return False
    tuned = {name: asked.tuned[name] for name in _OF_TUNING}
    if described != described | tuned:
        write_json(result, described | tuned)
    return True


if __name__ == "__main__":
    command.run(evaluate)
