"""Tables and pages beside the leaderboard: trainings, edits in a row and together, similar images, side effects."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from baselines.model_files import DESCRIPTION
from benchmarks import metrics
from benchmarks.files import write_atomically
from benchmarks.metrics import Column, Measures
from pipelines.config.params import Settings
from pipelines.reporting.tables.paper import beside, load
from pipelines.reporting.tables.results import CellResult, ends
from pipelines.reporting.tables.sheet import NOTHING, Sheet, escape, markdown_table, name_of, to_markdown
from pipelines.store.layout import COST, KEYS, RANKS, TIMING, Layout, write_csv
from pipelines.store.schemas import ROWS, Cost, Description, Seconds, Trained

TRAININGS = "trainings.csv"
"""The same in every run: ``training, seed, recipe``, the epoch ``kept`` of ``epochs``, and what it was chosen by."""
TIMINGS = "timings-trainings.csv"
"""Wall times: ``seconds`` of a training, and the cost of a step in steps of plain training, where one was measured."""
_COST = ("cost_ratio", "cost_ratio_low", "cost_ratio_high", "edit_steps", "batches")
_WHERE = ("batch_size", "machine", "threads")
SIDE_EFFECTS = "side-effects"
_STAGES = {"sequences": "sequences", "similar": "sequences", "joint": "joint", SIDE_EFFECTS: "report"}
"""The tables that have a page, each with the stage that makes it."""
_EDITED = {
    "random": "test images get labels drawn from all classes (for one in as many, the model says it already)",
    "mistakes": "mistakes of the pre-trained model get their true labels",
}
_IN_A_ROW = {
    "error": "Error after (%)",
    "in_force": "In force at the end (%)",
    "success_rate": "Succeeded when made (%)",
}
SOURCES = {"mistakes": "Mistakes of the network, to their true classes", "random": "Any image, to a random class"}
"""What is edited together, in words."""
_MANNERS = {"jointly": "together", "in_a_row": "one after the other"}
_TOGETHER = {
    "fixed": "Hold in the end (%)",
    "drawdown_signed": "Error after − before (points)",
    "at_own_error": "At the network's own error, at most (points)",
    "generality": "Altered copies of them (%)",
    "alike": "Unedited mistakes of the kind (%)",
    "steps": "Steps",
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


def _about(folder: Path, again: str, file: str, kind: type[Description]) -> dict[str, Any]:
    """What a file about a model says, empty where there is none."""
    return kind.read(folder / file, again) if (folder / file).exists() else {}


def write_ranks(settings: Settings, layout: Layout, mistakes: Sequence[CellResult]) -> None:
    """Write how far mistakes are off, if a training of the run draws targets that are off as far: shares that add up to
    1 by ``rank`` of the wanted class among the pre-trained model's answers.

    Columns: ``training`` of mistakes that are trained on, ``drawn`` the probabilities of matched targets that follow
    from them, ``evaluation`` of mistakes that are edited, ``random`` of targets drawn from all classes.
    """
    block, path = settings.benchmark(layout.benchmark), layout.results / RANKS
    path.unlink(missing_ok=True)
    files = [layout.described(name, settings.training_seeds[0]) / RANKS for name in block.trainings]
    there = [file for file in files if file.exists()]
    own = [result for result in mistakes if result.cell.training == block.mistakes.training]
    if there and own:
        drawn, evaluated = pd.read_csv(there[0]), own[0].records["rank"].value_counts(normalize=True)
        shares = {
            "rank": drawn["rank"],
            "training": drawn["mistakes"] / drawn["mistakes"].sum(),
            "drawn": drawn["probability"],
            "evaluation": evaluated.reindex(range(len(drawn)), fill_value=0.0).to_numpy(),
            "random": 1 / len(drawn),
        }
        write_csv(path, pd.DataFrame(shares), digits=6)


def write_pages(settings: Settings, layout: Layout, results: Sequence[CellResult]) -> None:
    """Write the table of side effects, and a page for each table that there is; what is left from another run goes."""
    block, hurt = settings.benchmark(layout.benchmark), side_effects(results)
    if hurt.empty:
        (layout.results / f"{SIDE_EFFECTS}.csv").unlink(missing_ok=True)
    else:
        write_csv(layout.results / f"{SIDE_EFFECTS}.csv", hurt, digits=6)
    edited = _EDITED[block.sequences.source if block.sequences else "random"]
    pages = {
        "sequences": partial(sequences_markdown, edited=edited),
        "similar": similar_markdown,
        "joint": joint_markdown,
        SIDE_EFFECTS: partial(_side_effects_markdown, measures=results[0].measures),
    }
    for name, page in pages.items():
        path, frame = layout.results / f"{name}.md", hurt if name == SIDE_EFFECTS else table(layout, name)
        if frame.empty:
            path.unlink(missing_ok=True)
        else:
            write_atomically(path, page(frame, layout.benchmark, escape(block.note)))


def table(layout: Layout, name: str) -> pd.DataFrame:
    """A table of a stage, empty where it was not run or had nothing to do."""
    path = layout.results / f"{name}.csv"
    return ROWS.read(path, layout.again(_STAGES[name])) if path.exists() else pd.DataFrame()


def sequences_markdown(frame: pd.DataFrame, benchmark: str, note: str, edited: str) -> str:
    """What is left after the last edit, a row per training, editor and part: means over orders ± standard deviations.

    :param frame: the columns of :func:`benchmarks.scoring.sequential.by_number` and those that name a cell.
    :param edited: what is edited, in words.
    """
    caption = (
        f"Each edit starts from what the earlier ones left: {edited}. The error is that on test images that are "
        f"not edited; an edit is in force while its image gets the wanted label. Every editor has the "
        f"hyperparameters that were tuned for single edits."
    )
    headings = [*(key.capitalize() for key in KEYS), "Edits", "Error before (%)", *_IN_A_ROW.values()]
    lines = []
    for names, rows in frame.groupby(KEYS, sort=False):
        first, last = rows.loc[rows["edits"].idxmin()], rows.loc[rows["edits"].idxmax()]
        spreads = [_spread(last, name) for name in _IN_A_ROW]
        lines.append([*map(_escaped, names), str(int(last["edits"])), f"{first['error']:.1f}", *spreads])
    legend = f"± is the standard deviation over {frame['orders'].max():.0f} orders of the same edits."
    shown = markdown_table(headings, lines, right=range(3, len(headings)))
    return "\n\n".join([f"# Edits in a row on {benchmark}", caption, shown, legend, note]) + "\n"


def similar_markdown(frame: pd.DataFrame, benchmark: str, note: str) -> str:
    """How many of the images most like the edited ones follow, with the paper's value beside it.

    :param frame: the columns that name a cell, ``embedding, edits`` and, for every share, its value and 95 % interval.
    """
    embedding, edits = frame["embedding"].iloc[0], int(frame["edits"].max())
    caption = (
        f"Augmentations of mistakes are edited to their true class ({edits} edits, each on its own). How many other "
        f"pictures of the test image most like each (augmented, then turned and scaled a little) are then assigned to "
        f"that class? What is alike is judged by {_EMBEDDINGS.get(embedding, embedding)}. Where that image is of "
        f"another class, it should not follow; where it is of the same, it may have been right before. So both "
        f"shares stand beside it, and the same for altered copies of the edited image itself. Intervals are over "
        f"edited images."
    )
    rows = beside(frame, load("table5_similar"), KEYS)
    return to_markdown(Sheet(f"Similar images on {benchmark}", rows, _SIMILAR), caption=caption, notes=[note])


def joint_markdown(frame: pd.DataFrame, benchmark: str, note: str) -> str:
    """A table for each source of edits: means over draws ± standard deviations, a row per cell, number and manner.

    :param frame: the columns of :func:`benchmarks.scoring.joint.by_count`, ``source`` and those that name a cell.
    """
    caption = (
        "Many edits asked of a network together, as one request that is met only if all of them hold; and the same "
        "edits one after the other, each starting from what the earlier ones left. The error is that on test images "
        "that are not edited. Where mistakes are edited, fewer of those are wrong than of all, so that less can be "
        "mended there; *at the network's own error* gives both the weight that they have in the whole test set, and is "
        "a bound from above. Unedited mistakes of the kind are test images of the same class that got the same wrong "
        "answer, and the share of them that is right afterwards. Every editor has the hyperparameters that were tuned "
        "for single edits."
    )
    parts = [f"# Edits made together on {benchmark}", caption]
    for source, of_source in frame.groupby("source", sort=False):
        shown = [name for name in _TOGETHER if of_source[name].notna().any()]
        headings = ["Edits", *(key.capitalize() for key in KEYS), "Made", *(_TOGETHER[name] for name in shown)]
        lines = []
        for _, row in of_source.sort_values("count", kind="stable").iterrows():
            names = [*(_escaped(row[key]) for key in KEYS), _MANNERS[row["manner"]]]
            lines.append([f"{row['count']:.0f}", *names, *(_spread(row, name) for name in shown)])
        parts += [f"## {SOURCES[source]}", markdown_table(headings, lines, right=(0, *range(5, len(headings))))]
    draws = f"± is the standard deviation over {frame['draws'].max():.0f} draws of the images."
    parts.append(f"{draws} How long requests took: [timings-joint.csv](timings-joint.csv).")
    return "\n\n".join([*parts, note]) + "\n"


def _escaped(name: object) -> str:
    return escape(name_of(name))


def _spread(row: pd.Series, name: str) -> str:
    """A mean ± its standard deviation."""
    if pd.isna(row[name]):
        return NOTHING
    digits = 2 if name in ("drawdown_signed", "at_own_error") else 1
    spread = NOTHING if pd.isna(row[f"{name}_std"]) else f"{row[f'{name}_std']:.{digits}f}"
    return f"{row[name]:.{digits}f} ± {spread}"


def side_effects(results: Sequence[CellResult]) -> pd.DataFrame:
    """A row for each result whose records say whom its edits hurt: means over edits with 95 % intervals.

    Edits without such images are left out of a mean.
    """
    rows = []
    for result in results:
        measures, records = result.measures, result.records
        try:
            values = measures.side_effects(records) if measures.side_effects else pd.DataFrame()
        except KeyError:  # records from before side effects were measured
            continue
        if len(values):
            values = values.assign(**{measures.drawdown: measures.per_edit(measures.drawdown, records)})
            row: dict[str, object] = {**result.cell.names, "edits": len(values)}
            for name in (measures.drawdown, *measures.side_effect_columns):
                row |= ends(name, metrics.mean(values[name].dropna().to_numpy(dtype=float), name))
            rows.append(row | {"success_rate": 100.0 * float(records["succeeded"].mean())})
    return pd.DataFrame(rows)


def _side_effects_markdown(frame: pd.DataFrame, benchmark: str, note: str, measures: Measures) -> str:
    caption = (
        "An edit that breaks little on average may break much for some. Of the control images of each edit: the share "
        "that was right before and is wrong after, and the other way round; error after − error before on sensitive "
        "images, whose two largest probabilities lay within 0.05 before the edit, of the class that it is largest for, "
        "and its spread over classes (a class of few images varies by itself); on corrupted copies of other images "
        "(turned, scaled, sheared, moved, noisy); and by how much confidence and accuracy part further (expected "
        "calibration error, 15 bins)."
    )
    columns = {measures.drawdown: measures.columns[measures.drawdown], **measures.side_effect_columns}
    return to_markdown(Sheet(f"Side effects on {benchmark}", frame, columns), caption=caption, notes=[note])
