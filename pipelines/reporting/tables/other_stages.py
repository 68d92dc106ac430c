"""What stages other than evaluation left: trainings and what they took, edits in a row, similar images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from baselines.model_files import DESCRIPTION
from benchmarks.files import write_atomically
from benchmarks.metrics import Column
from pipelines.config.blocks import Training
from pipelines.config.params import Settings
from pipelines.reporting.ranking import require
from pipelines.reporting.tables import published
from pipelines.reporting.tables.sheet import NOTHING, Sheet, escape, name_of, to_markdown
from pipelines.store.layout import COST, KEYS, TIMING, Layout, write_csv
from pipelines.store.schemas import ROWS, Cost, Description, Seconds, Trained

TRAININGS = "trainings.csv"
"""The same in every run: ``training, seed, recipe``, the epoch ``kept`` of ``epochs``, and what it was chosen by."""
TIMINGS = "timings-trainings.csv"
"""Wall times: ``seconds`` of a training, and the cost of a step in steps of plain training, where one was measured."""
_COST = ("cost_ratio", "cost_ratio_low", "cost_ratio_high", "edit_steps", "batches")
_WHERE = ("batch_size", "machine", "threads")
_TOLD_ELSEWHERE = {
    *("recipe", "epochs", "batch_size", "lr", "lr_new", "schedule", "optimizer"),
    *("architecture", "options", "start", "teacher", "network", "weights", "k", "editor", "layers"),
    *("c_edit", "c_loc", "hyperparameters", "targets"),
}
"""How long and how fast, what is trained, and what a training's name or a table's caption says."""
_EDITED = {
    "random": "test images get labels drawn from all classes (for one in as many, the model says it already)",
    "mistakes": "mistakes of the pre-trained model get their true labels",
}
_SHOWN = {
    "error": "Error after (%)",
    "in_force": "In force at the end (%)",
    "success_rate": "Succeeded when made (%)",
}
_SIMILAR = {
    "similar_accuracy": Column("Similar images follow", "%", 1),
    "similar_before": Column("before the edit", "%", 1),
    "same_class": Column("Similar images of that class", "%", 1),
    "same_class_accuracy": Column("those follow", "%", 1),
    "same_class_before": Column("before the edit", "%", 1),
    "own_accuracy": Column("Other views of the edited image follow", "%", 1),
    "own_before": Column("before the edit", "%", 1),
    "success_rate": Column("Success", "%", 1),
}
_EMBEDDINGS = {
    "inception_v3": "InceptionV3's pooled features",
    "pixels": "their pixels (a substitute for InceptionV3's pooled features)",
    "pooled": "the pre-trained model's own features before its last layer (a substitute for InceptionV3's)",
}


def write_trainings(settings: Settings, layout: Layout, chosen_by: str) -> None:
    """Write both tables; a training of whose model nothing is known has no row.

    :param chosen_by: the number in descriptions of models by which an epoch was chosen, such as ``tuning_error``.
    :raises InputError: for a file about a model that is broken.
    """
    made, timed = [], []
    for name, block in settings.benchmark(layout.benchmark).trainings.items():
        for seed in settings.training_seeds:
            folder, names = layout.described(name, seed), {"training": name, "seed": seed}
            about = partial(_about, folder, layout.again("train", name))
            if described := about(DESCRIPTION, Trained):
                made.append(described | names | {"recipe": block.recipe, "kept": described["epoch"]})
                timed.append(names | about(TIMING, Seconds) | about(COST, Cost))
    columns = ["training", "seed", "recipe", "kept", "epochs", chosen_by]
    write_csv(layout.results / TRAININGS, pd.DataFrame(made, columns=columns), digits=6)
    columns = ["training", "seed", "seconds", *_COST, *_WHERE]
    write_csv(layout.results / TIMINGS, pd.DataFrame(timed, columns=columns), digits=6)


def costs(layout: Layout, trainings: Iterable[str], seed: int) -> dict[str, dict[str, Any]]:
    """What a step cost, by training, of those of which that was measured: ``cost_ratio`` in steps of plain training,
    with ``_low`` and ``_high``, and whatever else stands there.

    :raises InputError: for a file that cannot be read.
    """
    found = {name: _about(layout.described(name, seed), layout.again("train", name), COST, Cost) for name in trainings}
    return {training: cost for training, cost in found.items() if cost}


def note(name: str, training: Training) -> str:
    """Its terms that are not the defaults, such as ``trained with reference_mode train, clip_norm 10``; else nothing.

    :param name: the training's; weights of the terms that it holds are not said again.
    """
    terms = [*_weights(name, training), *_terms(training), *_start(training)]
    return f"trained with {', '.join(terms)}" if terms else ""


def _about(folder: Path, again: str, file: str, kind: type[Description]) -> dict[str, Any]:
    """What a file about a model says, empty where there is none."""
    return kind.read(folder / file, again) if (folder / file).exists() else {}


def _weights(name: str, training: Training) -> Iterator[str]:
    """c_edit and c_loc, which have no default, unless they are the one number in the name."""
    both = [getattr(training, term, None) for term in ("c_edit", "c_loc")]
    if None not in both and (both[0] != both[1] or f"{both[0]:g}" not in name.split("-")):
        yield from (f"{term} {value:g}" for term, value in zip(("c_edit", "c_loc"), both, strict=True))


def _terms(training: Training) -> Iterator[str]:
    for term, field in type(training).model_fields.items():
        value = getattr(training, term)
        if term not in _TOLD_ELSEWHERE and value != field.get_default(call_default_factory=True):
            yield f"{term} {_shown(value)}"


def _start(training: Training) -> Iterator[str]:
    """Where the editor's hyperparameters start, or stay."""
    fixed = ["lr"] if getattr(training, "learning_rate", "") == "fixed" else []
    for name, value in getattr(training, "hyperparameters", {}).items():
        yield f"{name} {'' if name in fixed else 'from '}{value:g}"


def _shown(value: Any) -> str:
    if isinstance(value, bool | str):
        return str(value).lower()
    return " ".join(map(str, value)) if isinstance(value, list) else f"{value:g}"


def write_sequences(settings: Settings, layout: Layout) -> None:
    """Write a page for each table that there is; one that is left from another run goes."""
    name, block = layout.benchmark, settings.benchmark(layout.benchmark)
    rows, similar = table(layout, "sequences"), table(layout, "similar")
    for page, found in (("sequences", rows), ("similar", similar)):
        if found.empty:
            (layout.results / f"{page}.md").unlink(missing_ok=True)
    if not rows.empty:
        edited = _EDITED[block.sequences.source if block.sequences else "random"]
        text = sequences_markdown(rows, edited, title=f"Edits in a row on {name}", scale_note=block.note)
        write_atomically(layout.results / "sequences.md", text)
    if not similar.empty:
        beside = published.beside(similar, published.load("table5_similar"), KEYS)
        text = similar_markdown(beside, title=f"Similar images on {name}", scale_note=block.note)
        write_atomically(layout.results / "similar.md", text)


def table(layout: Layout, name: str, stage: str = "sequences") -> pd.DataFrame:
    """A table of a stage, empty where it was not run or had nothing to do."""
    path = layout.results / f"{name}.csv"
    return ROWS.read(path, layout.again(stage)) if path.exists() else pd.DataFrame()


def sequences_markdown(frame: pd.DataFrame, edited: str, *, title: str, scale_note: str) -> str:
    """What is left after the last edit, a row per training, editor and part: means over orders ± standard deviations.

    :param frame: the columns of :func:`benchmarks.scoring.sequential.by_number` and those that name a cell.
    :param edited: what is edited, in words.
    :raises ValueError: when ``frame`` has no rows or lacks a column.
    """
    spreads = [f"{name}_std" for name in _SHOWN]
    require(frame, [*KEYS, "edits", "orders", *_SHOWN, *spreads], f"table {title!r}")
    caption = (
        f"Each edit starts from what the earlier ones left: {edited}. The error is that on test images that are "
        f"not edited; an edit is in force while its image gets the wanted label. Every editor has the "
        f"hyperparameters that were tuned for single edits."
    )
    headings = [*(key.capitalize() for key in KEYS), "Edits", "Error before (%)", *_SHOWN.values()]
    lines = [f"| {' | '.join(headings)} |", f"| {' | '.join(['---'] * 3 + ['---:'] * (len(headings) - 3))} |"]
    for names, rows in frame.groupby(KEYS, sort=False):
        first, last = rows.loc[rows["edits"].idxmin()], rows.loc[rows["edits"].idxmax()]
        cells = [escape(name_of(name)) for name in names]
        cells += [str(int(last["edits"])), f"{first['error']:.1f}", *(_spread(last, name) for name in _SHOWN)]
        lines.append(f"| {' | '.join(cells)} |")
    orders = int(frame["orders"].max())
    legend = f"± is the standard deviation over {orders} orders of the same edits."
    return "\n\n".join([f"# {title}", caption, "\n".join(lines), legend, escape(scale_note)]) + "\n"


def similar_markdown(frame: pd.DataFrame, *, title: str, scale_note: str) -> str:
    """How many of the images most like the edited ones follow, with the paper's value beside it.

    :param frame: the columns that name a cell, ``embedding, edits`` and, for every share, its value and 95 % interval.
    :raises ValueError: when ``frame`` has no rows or lacks a column.
    """
    require(frame, ["embedding", "edits"], f"table {title!r}")
    embedding, edits = frame["embedding"].iloc[0], int(frame["edits"].max())
    caption = (
        f"Augmentations of mistakes are edited to their true class ({edits} edits, each on its own). How many other "
        f"pictures of the test image most like each (augmented, then turned and scaled a little) are then assigned to "
        f"that class? What is alike is judged by {_EMBEDDINGS.get(embedding, embedding)}. Where that image is of "
        f"another class, it should not follow; where it is of the same, it may have been right before. So both "
        f"shares stand beside it, and the same for other pictures of the edited image itself. Intervals are over "
        f"edited images."
    )
    return to_markdown(Sheet(title, frame, _SIMILAR), caption=caption, notes=[escape(scale_note)])


def _spread(row: pd.Series, name: str) -> str:
    spread = row[f"{name}_std"]
    return f"{row[name]:.1f} ± {NOTHING if pd.isna(spread) else f'{spread:.1f}'}"
