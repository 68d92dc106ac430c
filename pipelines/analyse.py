"""Stage 4b: what each of many edits did to every test image, and the tables behind Figure 2."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from functools import partial
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from threadpoolctl import threadpool_limits

from benchmarks.data import dataset
from benchmarks.metrics import Estimate
from benchmarks.scoring import descriptors, edit_space
from benchmarks.scoring.descriptors import Descriptors
from benchmarks.scoring.scorer import shards
from benchmarks.seeds import seed
from pipelines import command
from pipelines.config import params as parameters
from pipelines.config.params import Settings
from pipelines.jobs.cells import KEYS, Cell, analysed_cells, fingerprint, read_tuned
from pipelines.jobs.curves import curve
from pipelines.jobs.parallel_map import share_out
from pipelines.jobs.progress import Progress
from pipelines.jobs.scorers import scorer, statistics
from pipelines.store.csv_files import write_csv
from pipelines.store.layout import Layout
from pipelines.store.layout import cell as file_name
from pipelines.store.stage_times import timed

SHARES = (50, 80, 90, 95)
"""Percent of the variance whose number of components is given in ``summary.csv``."""
TABLES = {
    "confusion": [*KEYS, "edited_class", "class", "drawdown_signed", "edits"],
    "tsne": [*KEYS, "edit", "edited_class", "predicted", "target", "x", "y"],
    "variance": [*KEYS, "components", "explained"],
    "summary": [*KEYS, "edits", "descriptors"],
}
"""The tables of Figure 2 and the columns that each starts with."""
CURVE = [*KEYS, "factor", "lr", "edits", "drawdown", "success_rate"]
"""Those that the table of trade-off curves starts with."""


@timed(lambda layout: [*layout.descriptors.glob("*.safetensors"), *layout.descriptors.glob("*.curve/*.json")])
def analyse(
    benchmark: Annotated[str, typer.Argument(help="A name under `benchmarks` in the parameter file.")],
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Find out which classes edits hurt and how many kinds there are (Figure 2), and what other learning rates do."""
    settings = parameters.load(params)
    cells = analysed_cells(settings, benchmark)
    layout = Layout(benchmark)
    layout.descriptors.mkdir(parents=True, exist_ok=True)
    tried = share_out(partial(_analyse_cell, settings), cells, settings.processes, settings.torch_device())
    found = [tables for tables in tried if tables is not None]
    for name, columns in TABLES.items():
        tables = [tables[name] for tables in found] or [pd.DataFrame(columns=columns)]
        write_csv(layout.figure2 / f"{name}.csv", pd.concat(tables, ignore_index=True), digits=6)
    curves = share_out(partial(_curve, settings), cells, settings.processes, settings.torch_device())
    drawn = [curve for curve in curves if not curve.empty] or [pd.DataFrame(columns=CURVE)]
    write_csv(layout.results / "curves.csv", pd.concat(drawn, ignore_index=True), digits=6)
    wanted = {_file(cell) for cell in cells}
    wanted |= {f"{cell.editor}-{cell.file}.curve" for cell in cells}
    for stale in [path for path in layout.descriptors.iterdir() if path.name not in wanted]:
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
    shutil.rmtree(layout.unfinished_descriptors, ignore_errors=True)
    if not cells:
        print(f"analyse {benchmark}: none of the cells in `analysis` is tuned, so there is no Figure 2")


@threadpool_limits.wrap(limits=1)  # sums in another order would lead t-SNE to another picture
def _analyse_cell(settings: Settings, cell: Cell) -> dict[str, pd.DataFrame] | None:
    """The cell's part of every table, None if it has none; its edits are carried out unless they are done already."""
    chosen = settings.benchmark(cell.benchmark).analysis
    progress = Progress(f"analyse {cell}", chosen.edits, "edits")
    edits = _described(settings, cell, progress)
    data = dataset.load(cell.layout.data)
    sizes = np.bincount(data.test.labels.numpy(), minlength=len(data.classes))
    moved = edit_space.moved(edits)
    if moved.sum() < 2:
        progress.finish(f"left out, {moved.sum()} of {len(edits)} edits moved the model and an analysis needs two")
        return None
    values = edits.kl.numpy()[moved]
    positions = edit_space.embed(values, seed(settings.seed, cell.benchmark, "t-SNE"))
    decomposition = edit_space.Decomposition(values)
    tables = {
        "confusion": _confusion(edits, sizes, data.classes),
        "tsne": _embedded(edits, moved, positions, data.classes),
        "variance": pd.DataFrame(
            {
                "components": np.arange(1, len(decomposition.explained) + 1),
                "explained": 100.0 * decomposition.explained,
            }
        ),
        "summary": _summary(edits, sizes, moved, decomposition),
    }
    progress.finish(f"{len(edits)} edits, {moved.sum()} of them with a descriptor")
    return {name: pd.DataFrame({**cell.names, **frame}) for name, frame in tables.items()}


def _curve(settings: Settings, cell: Cell) -> pd.DataFrame:
    found = curve(settings, cell)
    return found if found.empty else pd.DataFrame({**cell.names, **found})


def _described(settings: Settings, cell: Cell, progress: Progress) -> Descriptors:
    """The cell's descriptors: those that lie there already, or new ones, shard by shard."""
    chosen = settings.benchmark(cell.benchmark).analysis
    tuned = read_tuned(cell)
    asked = [chosen.edits, chosen.shard, tuned["hyperparameters"], tuned["max_steps"]]
    identity = fingerprint(settings, cell, asked, descriptors.__file__)
    result = cell.layout.descriptors / _file(cell)
    done = descriptors.load(result, identity)
    if done is not None:
        return done
    editor = settings.build(cell.editor, **tuned["hyperparameters"], max_steps=tuned["max_steps"])
    images, data = scorer(settings, cell, "test", chosen.edits, None)
    editor = editor.informed(statistics(settings, cell, images, data.train))
    folder = cell.layout.unfinished_descriptors / f"{cell.editor}-{cell.file}"
    parts = []
    for number, rows in enumerate(shards(chosen.edits, chosen.shard)):
        path = folder / f"{number:05d}.safetensors"
        part = descriptors.load(path, identity)
        if part is None:
            part = descriptors.describe(images, editor, rows, len(data.classes))
            descriptors.save(part, path, identity)
        parts.append(part)
        progress.advance(len(rows))
    found = descriptors.join(parts)
    descriptors.save(found, result, identity)
    return found


def _confusion(edits: Descriptors, sizes: np.ndarray, classes: tuple[str, ...]) -> pd.DataFrame:
    """One row per pair of an edited class and a class of control images, in the order of the classes."""
    return pd.DataFrame(
        {
            "edited_class": np.repeat(classes, len(classes)),
            "class": np.tile(classes, len(classes)),
            "drawdown_signed": edit_space.confusion(edits, sizes).ravel(),
            "edits": np.repeat(np.bincount(edits.labels.numpy(), minlength=len(classes)), len(classes)),
        }
    )


def _embedded(edits: Descriptors, moved: np.ndarray, positions: np.ndarray, classes: tuple[str, ...]) -> pd.DataFrame:
    named = np.array(classes)
    return pd.DataFrame(
        {
            "edit": np.flatnonzero(moved),
            "edited_class": named[edits.labels.numpy()[moved]],
            "predicted": named[edits.predicted.numpy()[moved]],
            "target": named[edits.targets.numpy()[moved]],
            "x": positions[:, 0],
            "y": positions[:, 1],
        }
    )


def _summary(
    edits: Descriptors, sizes: np.ndarray, moved: np.ndarray, decomposition: edit_space.Decomposition
) -> pd.DataFrame:
    """One row of numbers, each with the ends of its 95 % interval."""
    groups = [values.numpy()[moved] for values in (edits.labels, edits.targets)]
    near = edit_space.neighbours(edits.kl.numpy()[moved], groups)
    estimates: dict[str, Estimate] = {
        **edit_space.own_class(edits, sizes),
        **dict(zip(("neighbours_same_class", "neighbours_same_target"), near, strict=True)),
        **{f"components_{percent}": decomposition.components(percent) for percent in SHARES},
    }
    row: dict[str, float] = {"edits": len(edits), "descriptors": int(moved.sum())}
    for name, estimate in estimates.items():
        value, low, high = asdict(estimate).values()
        row |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return pd.DataFrame([row])


def _file(cell: Cell) -> str:
    return f"{file_name(f'{cell.training}-{cell.editor}', cell.layers)}.safetensors"


if __name__ == "__main__":
    command.run(analyse)
