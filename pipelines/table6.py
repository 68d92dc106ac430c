"""Table 6: from the records of a translator's edits to rows with intervals, beside the paper's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.errors import InputError
from benchmarks.translation.bleu import COUNTED
from benchmarks.translation.metrics import NAMES, bleu_drawdown, summarise
from pipelines.jobs import cells
from pipelines.reporting.frames import with_views
from pipelines.reporting.tables import published
from pipelines.store.layout import TIMING
from pipelines.translation_job import Job, RowCell
from pipelines.translation_settings import RowSettings, TranslationSettings
from pipelines.translator_edits import PROTOCOL, read_tuned

KEYS = (*cells.KEYS, "lr")
_NUMBERS = ("loss", "kl", "bleu_before", "bleu_after")
"""Columns of records that are empty where an edit made the model's outputs no numbers; elsewhere, empty is a text."""


@dataclass(frozen=True, eq=False)
class RowResult:
    """What the edits of one row came to.

    :ivar description: the JSON file beside the ``records``; ``tuned`` that of the search, empty without one.
    :ivar counts: ``(N, 10)``, what BLEU counts of the test translations before any edit.
    :ivar decoding_seconds: wall time in which the model encodes and translates these N sentences.
    :ivar repetitions: the same row with the other training seeds.
    """

    cell: RowCell
    description: dict[str, Any]
    records: pd.DataFrame
    milliseconds: pd.Series
    tuned: dict[str, Any]
    counts: np.ndarray
    decoding_seconds: float
    repetitions: tuple[RowResult, ...] = ()

    @property
    def row(self) -> RowSettings:
        """What params.yaml says about it."""
        return self.cell.row

    @property
    def lr(self) -> float:
        """The editor's learning rate; nan for an editor without one."""
        return float(self.description["hyperparameters"].get("lr", np.nan))

    @cached_property
    def name(self) -> str:
        """``training/editor/layers/lr``, as claims and MLflow speak of it; without a learning rate, all values."""
        values = self.description["hyperparameters"]
        values = {"lr": values["lr"]} if "lr" in values else values
        shown = [
            ("tuned " if name in self.row.search else "") + (f"{value:g}" if name == "lr" else f"{name} {value:g}")
            for name, value in values.items()
        ]
        editor = with_views(self.row.editor, self.row.views)
        return "/".join([self.row.training, editor, self.row.layers, ", ".join(shown) or "defaults"])

    @property
    def heading(self) -> str:
        """Model, editor and hyperparameters as pages say them."""
        values = ", ".join(
            f"{name} = {value:.2g}" + (" (tuned)" if name in self.row.search else "")
            for name, value in self.description["hyperparameters"].items()
        )
        return f"{self.row.training}, {with_views(self.row.editor, self.row.views)}, {values or 'defaults'}"


def read(job: Job) -> list[RowResult]:
    """Every row of the table, each with its repetitions.

    :raises InputError: for a missing or broken file, or records made with another protocol.
    """
    found: dict[int, list[RowResult]] = {}
    for cell in job.cells:
        found.setdefault(job.chosen.rows.index(cell.row), []).append(_read(job, cell))
    return [replace(first, repetitions=tuple(others)) for first, *others in found.values()]


def table(chosen: TranslationSettings, results: Sequence[RowResult]) -> pd.DataFrame:
    """One line per row: names, BLEU, every metric with its interval, ``published_…`` and ``note``."""
    rows = pd.DataFrame([_line(chosen, result) for result in results])
    paper = published.load("table6").rename(columns={"training": "published_name"})
    on = ["published_name", "editor", "layers", "lr"]
    return published.beside(rows, paper, on=on).drop(columns="published_name")


def published_name(chosen: TranslationSettings, training: str) -> str:
    """What the published table calls a training."""
    editing = chosen.trainings[training].editing
    if editing is None:
        return training if chosen.trainings[training].start is None else ""
    return f"editable-{editing.c_loc:g}-{editing.editor}-{editing.layers}"


def timings(results: Sequence[RowResult]) -> pd.DataFrame:
    """Milliseconds per edit (mean over all, median and largest over shards), and the seconds in which the model
    translates the test set of so many sentences before any edit; not reproducible to the byte.
    """
    lines = []
    for result in results:
        names = {name: getattr(result.row, name) for name in KEYS[:-1]}
        names |= {"lr": result.lr, "views": result.row.views or 0}
        spread = {"": result.milliseconds.mean(), "_median": result.milliseconds.median()}
        spread |= {"_max": result.milliseconds.max()}
        names |= {f"milliseconds{name}": round(value, 3) for name, value in spread.items()}
        lines.append(names | {"decoding_seconds": result.decoding_seconds, "test_sentences": len(result.counts)})
    return pd.DataFrame(lines)


def seconds(job: Job, results: Sequence[RowResult]) -> dict[str, float]:
    """Wall time of each training, and of each model's translating the whole test set, as they were written down."""
    files = {f"train/{one.name}": job.layout.model(one.training, one.seed) / TIMING for one in job.models}
    found = {name: json.loads(path.read_text())["seconds"] for name, path in files.items() if path.exists()}
    rows = [one for result in results for one in (result, *result.repetitions)]
    return found | {f"translate/{one.cell.model.name}": one.decoding_seconds for one in rows}


def _line(chosen: TranslationSettings, result: RowResult) -> dict[str, Any]:
    summary, described, row = summarise(result.records), result.description, result.row
    line: dict[str, Any] = {name: getattr(row, name) for name in KEYS[:-1]} | {"lr": result.lr}
    line |= {"tuned": bool(row.search), "views": row.views or 0}
    line["published_name"] = "" if row.search or row.views else published_name(chosen, row.training)
    line |= {name: described[name] for name in ("bleu", "bleu_low", "bleu_high")}
    for name in (*NAMES, *(f"{name}_nontrivial" for name in NAMES)):
        estimate = summary[name]
        line |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    if result.repetitions:
        line |= _spread([result, *result.repetitions])
    return line | {"edits": len(result.records), "note": _note(chosen, result)}


def _spread(results: Sequence[RowResult]) -> dict[str, float]:
    """Mean and standard deviation over training seeds: what another training would change, apart from the edits."""
    drawdowns = pd.Series([bleu_drawdown(result.records).mean() for result in results])
    scores = pd.Series([result.description["bleu"] for result in results])
    return {
        "seeds": len(results),
        "bleu_drawdown_seeds_mean": drawdowns.mean(),
        "bleu_drawdown_seeds_std": drawdowns.std(),
        "bleu_seeds_mean": scores.mean(),
        "bleu_seeds_std": scores.std(),
    }


def _note(chosen: TranslationSettings, result: RowResult) -> str:
    notes = (_training_note(chosen, result.row.training), _views_note(result.row), _tuning_note(result))
    return "; ".join(note for note in notes if note)


def _training_note(chosen: TranslationSettings, training: str) -> str:
    editing, source = chosen.trainings[training].editing, chosen.trainings[training].start
    if editing is None:
        return f"goes on from {source} without edits, to tell what longer training alone brings" if source else ""
    rate = editing.hyperparameters.get("lr")
    trained = f"trained with learning rate {rate:g} of the editor" if rate is not None else "trained with its defaults"
    per_token = editing.c_loc / chosen.trainings[training].tokens
    weight = f"c_loc = {editing.c_loc:g} ({per_token:.2g} beside a loss per token, in full batches)"
    return f"{trained}, {weight}" + (f", going on from {source}" if source else "")


def _views_note(row: RowSettings) -> str:
    if row.views is None:
        return ""
    return f"up to {row.views} sentences near the edited one had to follow too, others than generality is measured on"


def _tuning_note(result: RowResult) -> str:
    tuned = result.tuned
    if not tuned:
        return ""
    words = ", ".join(f"{name} = {value:.3g}" for name, value in tuned["hyperparameters"].items())
    if not tuned["feasible"]:
        return f"tuned: no trial reached {tuned['required']:g} % success on validation edits, {words} came closest"
    edits = f"{tuned['edits']} validation edits, {tuned['trials']} trials"
    return f"tuned to the smallest BLEU drawdown at {tuned['required']:g} % success: {words} ({edits})"


def _read(job: Job, cell: RowCell) -> RowResult:
    path = job.edits / f"{cell.file}.json"
    again = f"remove them and run `python -m pipelines.translation {job.benchmark}`"
    try:
        described = json.loads(path.read_text())
        missing = {name: [""] for name in _NUMBERS}
        records = pd.read_csv(path.with_suffix(".csv"), keep_default_na=False, na_values=missing)
        milliseconds = pd.read_csv(path.with_name(f"{cell.file}.timing.csv"))["milliseconds"]
        translations, timing = job.translated(cell.model)
        counts = pd.read_csv(translations)[list(COUNTED)].to_numpy()
        taken = float(json.loads(timing.read_text())["seconds"])
        tuned = read_tuned(job, cell)
        if len(records) != described["edits"]:
            raise ValueError(f"{len(records)} records of {described['edits']}")
        if described["protocol"] != PROTOCOL:
            raise ValueError(f"made with protocol {described['protocol']}, this is {PROTOCOL}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} or what lies beside it is missing or broken ({error}): {again}") from error
    return RowResult(cell, described, records, milliseconds, tuned, counts, taken)
