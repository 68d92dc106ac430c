"""Figure 2: what each of many edits did to every test image, and the tables that show it (section 4.2)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from benchmarks.analysis import descriptors, edit_space
from benchmarks.analysis.descriptors import Descriptors
from benchmarks.metrics import Estimate
from benchmarks.scoring.scorer import shards
from benchmarks.seeds import seed
from pipelines.config.params import Settings
from pipelines.jobs.cells import KEYS, Cell, read_tuned
from pipelines.jobs.progress import Progress
from pipelines.reporting.tables.results import ends
from pipelines.store.layout import cell as file_name
from pipelines.store.schemas import VARIANCES
from pipelines.tasks import data_of, identity, scorer_of, tuned_editor
from pipelines.tasks.base import EditSet

TABLES = {
    "confusion": [*KEYS, "edited_class", "class", "drawdown_signed", "edits"],
    "tsne": [*KEYS, "edit", "edited_class", "predicted", "target", "x", "y"],
    "variance": [*KEYS, "components", "explained"],
    "summary": [*KEYS, "edits", "descriptors"],
}
"""The tables of Figure 2 and the columns that each starts with."""


@threadpool_limits.wrap(limits=1)  # sums in another order would lead t-SNE to another picture
def analyse(settings: Settings, cell: Cell) -> dict[str, pd.DataFrame] | None:
    """The cell's part of every table, None if it has none; its edits are carried out unless they are done already."""
    chosen = settings.benchmark(cell.benchmark).analysis
    progress = Progress(f"analyse {cell}", chosen.edits, "edits")
    edits = _described(settings, cell, progress)
    data = data_of(settings, cell.benchmark, cell.layout.data)
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


def _described(settings: Settings, cell: Cell, progress: Progress) -> Descriptors:
    """The cell's descriptors: those that lie there already, or new ones, shard by shard."""
    chosen = settings.benchmark(cell.benchmark).analysis
    tuned = read_tuned(cell)
    asked = [chosen.edits, chosen.shard, tuned["hyperparameters"], tuned["max_steps"]]
    wanted = identity(settings, cell, asked, descriptors.__file__)
    result = file_of(cell)
    done = descriptors.load(result, wanted)
    if done is not None:
        return done
    images = scorer_of(settings, cell, EditSet("test", chosen.edits), None)
    editor, classes = tuned_editor(settings, cell, images, tuned), images.classes
    folder = cell.layout.unfinished("descriptors", cell.full_name)
    parts = []
    for number, rows in enumerate(shards(chosen.edits, chosen.shard)):
        path = folder / f"{number:05d}.safetensors"
        part = descriptors.load(path, wanted)
        if part is None:
            part = descriptors.describe(images, editor, rows, classes)
            descriptors.save(part, path, wanted)
        parts.append(part)
        progress.advance(len(rows))
    found = descriptors.join(parts)
    descriptors.save(found, result, wanted)
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
        **{f"components_{percent}": decomposition.components(percent) for percent in VARIANCES},
    }
    row: dict[str, float] = {"edits": len(edits), "descriptors": int(moved.sum())}
    for name, estimate in estimates.items():
        row |= ends(name, estimate)
    return pd.DataFrame([row])


def file_of(cell: Cell) -> Path:
    """The descriptors of a cell's edits, as tensors."""
    return cell.layout.descriptors / f"{file_name(f'{cell.training}-{cell.editor}', cell.layers)}.safetensors"
