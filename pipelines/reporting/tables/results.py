"""The result of a cell, for every kind of task: what ``evaluate`` wrote of it, and the row of numbers it makes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

import editors
from benchmarks.metrics import Estimate, Measures, Quality, share
from pipelines.jobs.cells import Cell
from pipelines.store.schemas import RECORDS

PAPERS_PARTS = {"condition": "chain3", "votes": ""}
"""Edited parts of models that the paper calls otherwise, or not at all: those of CNP and DkNN."""
_AT_MOST = (
    "drawdown at most that large: each edit was looked at on a sample of the control set, whose noise |·| adds up; the "
    "interval holds what all of it may show"
)
_REPEATED = {"seeds": "edit_seed", "edit_seeds": "seed"}
"""What a cell is repeated over, as columns call it, with the seed that stays the same."""


@dataclass(frozen=True, eq=False)
class CellResult:
    """What was found of one cell, for every kind of task.

    :ivar description: of the edits: hyperparameters, how they were tuned, how many edits there are, and so on.
    :ivar records: a row per edit; ``milliseconds`` those of each.
    :ivar method: the registered name of its editor.
    :ivar published_training: what the paper calls its training.
    :ivar learned: records of the same edits with the hyperparameters that training ended with, of a model that was
        trained for this very editor on these layers.
    :ivar edited: what was edited, in words.
    :ivar notes: what a reader of its row should know: where it was made, if elsewhere, and of its training.
    :ivar repetitions: the same cell with other seeds, of its training or of the edits.
    """

    cell: Cell
    description: dict[str, Any]
    records: pd.DataFrame
    milliseconds: pd.Series
    measures: Measures
    quality: Quality
    method: str = ""
    published_training: str = ""
    learned: pd.DataFrame | None = None
    edited: str = "the test split"
    notes: tuple[str, ...] = ()
    repetitions: tuple[CellResult, ...] = ()

    @property
    def name(self) -> str:
        """``training/editor/layers``."""
        return "/".join(self.cell.names.values())

    @property
    def hyperparameters(self) -> dict[str, float]:
        """The chosen ones."""
        return self.description["hyperparameters"]

    @property
    def tuning(self) -> dict[str, Any]:
        """How they were chosen; empty where they were given."""
        return self.description["tuning"] or {}

    @property
    def required(self) -> float:
        """The success rate that its tuning had to reach, in percent."""
        return self.description["min_success"]

    @property
    def success(self) -> Estimate:
        """The share of edits that succeeded, in percent."""
        return share(int(self.records["succeeded"].sum()), len(self.records))

    @property
    def published_names(self) -> dict[str, str]:
        """Training, editor and layers as the paper calls them."""
        ours = self.cell.names
        layers = PAPERS_PARTS.get(ours["layers"], ours["layers"])
        return ours | {"training": self.published_training or ours["training"], "layers": layers}

    @property
    def made(self) -> str:
        """The machine and the commit that made its records."""
        return "{machine} at commit {commit:.12}".format(**self.description["made"])

    @cached_property
    def row(self) -> dict[str, Any]:
        """Its names, every metric with its interval, and notes; costs thousands of resamples."""
        return _row(self)


def read_records(path: Path, measures: Measures, description: Mapping[str, Any], again: str) -> pd.DataFrame:
    """The records of a cell's edits, a row each, with what only their ``description`` says.

    :raises InputError: for a missing or broken file; ``again`` says what makes it.
    """
    texts = dict.fromkeys(measures.texts, str)
    # A text may be "null"; where numbers are told apart from texts, nothing but an empty cell is no number.
    options = {"keep_default_na": False, "na_values": [""], "dtype": texts} if texts else {}
    records = RECORDS.read(path, again, description["edits"], **options)
    if texts:
        return records.fillna(dict.fromkeys(texts, ""))
    return RECORDS.check(measures.completed(records, description))


def with_origins(results: Sequence[CellResult]) -> list[CellResult]:
    """The results, of which those that were made elsewhere than most of them say so in a note."""
    elsewhere = made_elsewhere(results)
    return [
        replace(result, notes=(f"made on {result.made}", *result.notes)) if result.made in elsewhere else result
        for result in results
    ]


def made_elsewhere(results: Sequence[CellResult]) -> dict[str, int]:
    """Numbers of results that were made elsewhere than most of them, by machine and commit."""
    counts = Counter(result.made for result in results)
    return dict(sorted((made, count) for made, count in counts.items() if made != counts.most_common(1)[0][0]))


def machine_of(results: Sequence[CellResult]) -> str:
    """The machine that made most of the results."""
    return Counter(result.description["made"]["machine"] for result in results).most_common(1)[0][0]


def rows_of(results: Sequence[CellResult]) -> pd.DataFrame:
    """The rows of results, in their order: names, chosen hyperparameters, how many ``trials`` there were, what the
    chosen one was ``proposed_by``, metrics with intervals, ``note``.
    """
    frame = pd.DataFrame([dict(result.row) for result in results])
    values = pd.DataFrame([result.hyperparameters for result in results], columns=hyperparameters_of(results))
    values["trials"] = [result.tuning.get("trials", math.nan) for result in results]
    values["proposed_by"] = [result.tuning.get("proposed_by", "") for result in results]
    place = frame.columns.get_loc("layers") + 1
    return pd.concat([frame.iloc[:, :place], values, frame.iloc[:, place:]], axis=1)


def hyperparameters_of(results: Sequence[CellResult]) -> list[str]:
    """The names of all hyperparameters that were chosen, in order of appearance."""
    return list(dict.fromkeys(name for result in results for name in result.hyperparameters))


def timings(results: Sequence[CellResult]) -> pd.DataFrame:
    """Milliseconds per edit (mean over all, median and largest over shards); not reproducible to the byte."""
    return pd.DataFrame(
        [
            {
                **result.cell.names,
                "milliseconds": round(result.milliseconds.mean(), 3),
                "milliseconds_median": round(result.milliseconds.median(), 3),
                "milliseconds_max": round(result.milliseconds.max(), 3),
                **result.quality.timings,
            }
            for result in results
        ]
    )


def shortfall(result: CellResult) -> str:
    """What speaks against a row: that it was not, or clearly is not, at the required success; nothing if it is."""
    required, tuning = result.required, result.tuning
    if tuning and not result.description["feasible"]:
        return (
            f"no trial of the tuning reached {tuning['required']:g} % success; "
            f"the one that came closest ({tuning['success_rate']:.1f} % of {tuning['edits']} edits) is shown"
        )
    if result.success.high >= required:
        return ""
    if not tuning:
        return f"{result.success.value:.1f} % success, clearly below {required:g} % on {result.edited}"
    reached = f"{tuning['success_rate']:.1f} % success on the tuning split"
    return f"tuned to {reached}, clearly below {required:g} % on {result.edited}"


def _row(result: CellResult) -> dict[str, Any]:
    measures, quality = result.measures, result.quality
    summary = {quality.name: quality.estimate, **measures.summarise(result.records)}
    row: dict[str, Any] = dict(result.cell.names)
    for name in (quality.name, *measures.names, *(f"{name}_nontrivial" for name in measures.names)):
        row |= ends(name, summary[name])
    if result.method and not editors.build(result.method).takes_gradient_steps:
        row |= {name: math.nan for name in row if name.startswith("num_steps")}
    if result.learned is not None:
        learned = measures.summarise(result.learned)
        for name in (measures.drawdown, "success_rate"):
            row |= ends(f"{name}_learned", learned[name])
    if result.repetitions:
        row |= _spread(result)
    notes = filter(None, [shortfall(result), _AT_MOST if measures.misleads(result.records) else "", *result.notes])
    return row | {"edits": result.description["edits"], "note": "; ".join(notes)}


def ends(name: str, estimate: Estimate) -> dict[str, float]:
    """An estimate as columns: its value, and the ends of its interval."""
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _spread(result: CellResult) -> dict[str, float]:
    """Mean and standard deviation over training seeds, and over seeds of the edits: what others would change."""
    measures, spread = result.measures, {}
    for ending, fixed in _REPEATED.items():
        same = [one for one in result.repetitions if getattr(one.cell, fixed) == getattr(result.cell, fixed)]
        if same:
            results = [result, *same]
            drawdowns = [measures.per_edit(measures.drawdown, one.records).mean() for one in results]
            qualities = [one.quality.estimate.value for one in results]
            spread[ending] = len(results)
            for name, values in ((measures.drawdown, pd.Series(drawdowns)), (measures.quality, pd.Series(qualities))):
                spread |= {f"{name}_{ending}_mean": values.mean(), f"{name}_{ending}_std": values.std()}
    return spread
