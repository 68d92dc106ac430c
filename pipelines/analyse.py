"""Stage 4b: other learning rates than the tuned ones, and what each of many edits did to every test example."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, astuple
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

import editors
from benchmarks.files import write_atomically
from benchmarks.metrics import Measures
from benchmarks.scoring.scorer import shards
from benchmarks.trade_off import DRAWDOWNS, SUCCEEDED
from pipelines import command
from pipelines.config.params import Settings
from pipelines.jobs.cells import Cell, read_tuned, tuned_cells
from pipelines.jobs.engine import share_out
from pipelines.jobs.progress import Progress
from pipelines.store.layout import KEYS, Layout, remove_others, write_csv
from pipelines.store.provenance import timed
from pipelines.tasks import edits_of, identity, load_settings, scorer_of, task_of, tuned_editor

FACTORS = (0.4, 0.63, 0.8, 1.0, 1.25, 1.6, 2.5)
"""By which the tuned learning rate is multiplied."""
STRENGTH = "lr"
_ENDS = ("", "_low", "_high")


@timed(lambda layout: [*layout.descriptors.glob("*.safetensors"), *layout.descriptors.glob("*.curve/*.json")])
def analyse(
    benchmark: Annotated[str, typer.Argument(help="A name of a file in benchmarks/configs.")],
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Find out what other learning rates do (trade-off curves), and which examples edits hurt (Figure 2)."""
    settings, layout = load_settings(params), Layout(benchmark)
    task, block = task_of(settings, benchmark), settings.benchmark(benchmark)
    asked = block.analysis
    cells, further = (tuned_cells(settings, benchmark, "analyse", names) for names in (asked.cells, asked.curves))
    drawn_of = list(dict.fromkeys([*cells, *further]))
    if drawn_of:
        task.draw(settings, benchmark, task.edit_set(block, "test"))
    # Side by side, so that no worker waits for the last cell of the one before those of the other begin.
    pieces = [*((task.analyse, cell) for cell in cells), *((_curve, cell) for cell in drawn_of)]
    made = share_out(settings, partial(_make, settings), pieces)
    analysed, curves = made[: len(cells)], made[len(cells) :]
    for name, start in task.analysis_tables.items():
        tables = [tables[name] for tables in analysed if tables is not None] or [pd.DataFrame(columns=start)]
        write_csv(layout.figure2 / f"{name}.csv", pd.concat(tables, ignore_index=True), digits=6)
    columns = [*KEYS, "factor", STRENGTH, "edits", task.measures.drawdown, "success_rate"]
    drawn = [one for one in curves if not one.empty] or [pd.DataFrame(columns=columns)]
    write_csv(layout.results / "curves.csv", pd.concat(drawn, ignore_index=True), digits=6)
    remove_others(layout.descriptors, {path.name for path in (*task.analysed(cells), *map(_folder_of, drawn_of))})
    shutil.rmtree(layout.unfinished("descriptors"), ignore_errors=True)
    if not drawn_of:
        print(f"analyse {benchmark}: none of the cells in `analysis` is tuned")


def _make(settings: Settings, piece: tuple[Callable[[Settings, Cell], Any], Cell]) -> Any:
    work, cell = piece
    return work(settings, cell)


def _folder_of(cell: Cell) -> Path:
    """A file for each factor."""
    return cell.layout.descriptors / f"{cell.full_name}.curve"


def _curve(settings: Settings, cell: Cell) -> pd.DataFrame:
    """Drawdown against success: the evaluated edits once more for each of ``FACTORS``, so that two models can be
    compared at every success rate. Each is kept as a file of its own and made again only if something changed.

    :returns: one row per factor: the cell's names, ``factor, lr, edits`` and the drawdown, ``success_rate, num_steps,
        generality``, each with ``_low`` and ``_high`` (95 %), and what :class:`benchmarks.trade_off.TradeOff` reads;
        none for an editor without a learning rate.
    """
    tuned = read_tuned(cell)
    if STRENGTH not in tuned["hyperparameters"]:
        return pd.DataFrame()
    chosen, task = settings.benchmark(cell.benchmark).evaluation, task_of(settings, cell.benchmark)
    edits = edits_of(settings, cell, "test")
    decides = [chosen.model_dump(exclude={"shard"}), asdict(edits), tuned["hyperparameters"], tuned["max_steps"]]
    found = identity(settings, cell, [*decides, *task.edits_from(settings, cell, edits)], __file__)
    progress = Progress(f"curve {cell}", len(FACTORS), "learning rates")
    scorer, rows = None, []
    for factor in FACTORS:
        path = _folder_of(cell) / f"{factor:g}.json"
        row = _read(path, found)
        if row is not None:
            progress.resume(1)
        else:
            scorer = scorer or scorer_of(settings, cell, edits, chosen.control_size)
            values = tuned["hyperparameters"] | {STRENGTH: factor * tuned["hyperparameters"][STRENGTH]}
            editor = tuned_editor(settings, cell, scorer, tuned | {"hyperparameters": values})
            row = {"factor": factor, STRENGTH: values[STRENGTH]}
            row |= _row(scorer, editor, task.measures, chosen.shard)
            write_atomically(path, json.dumps({"fingerprint": found, "row": row}) + "\n")
            progress.advance()
        rows.append(row)
    progress.finish(f"{len(FACTORS)} learning rates")
    return pd.DataFrame({**cell.names, **pd.DataFrame(rows)})


def _read(path: Path, wanted: str) -> dict[str, Any] | None:
    try:
        kept = json.loads(path.read_text())
        return kept["row"] if kept["fingerprint"] == wanted else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _row(scorer: Any, editor: editors.Editor, measures: Measures, shard: int) -> dict[str, Any]:
    frame = _records(scorer, editor, shard)
    if measures.misleads(frame):
        frame = _records(scorer, editor, shard, every=True)
    summary = measures.summarise(frame)
    ends = {
        f"{name}{end}": value
        for name in (measures.drawdown, "success_rate", "num_steps", "generality")
        for end, value in zip(_ENDS, astuple(summary[name]), strict=True)
    }
    succeeded, drawdowns = frame["succeeded"].astype(int), measures.per_edit(measures.drawdown, frame)
    texts = {SUCCEEDED: " ".join(map(str, succeeded)), DRAWDOWNS: " ".join(f"{one:.5g}" for one in drawdowns)}
    return {"edits": len(frame), **ends, **texts}


def _records(scorer: Any, editor: editors.Editor, shard: int, every: bool = False) -> pd.DataFrame:
    records = []
    for rows in shards(len(scorer.requests), shard):
        edits, _ = scorer.edit(editor, rows)
        records += map(asdict, scorer.records(rows, edits, every=every))
    return pd.DataFrame(records)


if __name__ == "__main__":
    command.run(analyse)
