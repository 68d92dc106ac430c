"""From records to tables: one row per cell, every metric with its interval, the paper's value beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

import editors
from benchmarks.errors import InputError
from benchmarks.metrics import NAMES, Estimate, drawdown, share, summarise
from pipelines.config.params import Settings
from pipelines.jobs.cells import KEYS, PROTOCOL, Cell, cells_of
from pipelines.reporting.tables import published, training_notes
from pipelines.store import origins
from pipelines.store.layout import LEARNED, Layout
from pipelines.store.origins import Merged, Origin

TABLE_2_EDITORS = ("gd", "rmsprop")
WORKAROUNDS = ("lookup_cache", "retrain")
"""Editors that stand in Table 3's appendix: the paper's introduction names them, no table measures them."""
BASELINE = "plain"
"""The training whose models Tables 1 and 2 edit."""


@dataclass(frozen=True, eq=False)
class CellResult:
    """What ``evaluate`` wrote about one cell: its description, one record per edit, milliseconds per edit.

    :ivar learned: records of the same edits with the hyperparameters that training ended with, of a model that was
        trained for this very editor on these layers.
    :ivar origin: where the cell was made, if not here.
    :ivar edited: what was edited, in words.
    :ivar trained: in which terms the training of its model differs from the defaults, in words.
    :ivar gradient_steps: whether its editor's steps follow a gradient; others are shown as a dash.
    :ivar repetitions: the same cell of the training's other seeds.
    """

    cell: Cell
    description: dict[str, Any]
    records: pd.DataFrame
    milliseconds: pd.Series
    learned: pd.DataFrame | None = None
    origin: Origin | None = None
    edited: str = "the test split"
    trained: str = ""
    gradient_steps: bool = True
    repetitions: tuple[CellResult, ...] = ()

    @cached_property
    def row(self) -> dict[str, Any]:
        """Every metric with its interval, and the cell's names; costs thousands of resamples."""
        return _computed_row(self)

    @cached_property
    def wrong(self) -> frozenset[int]:
        """Positions of the test images that the model gets wrong before any edit."""
        return frozenset(map(int, self.description["wrong_before_editing"].split()))

    @property
    def test_error(self) -> Estimate:
        """Test error before any edit, in percent, with Wilson's interval."""
        return share(len(self.wrong), self.description["test_images"])


def read(settings: Settings, benchmark: str, kind: str = "") -> list[CellResult]:
    """Every cell of the benchmark, in the leaderboard's order of editors; repetitions with the first of their kind.

    :param kind: of records; :data:`pipelines.store.layout.MISTAKES` for those of realistic mistakes.
    :raises InputError: for a missing or broken file, or records made with another protocol.
    """
    groups: dict[tuple[str, ...], list[CellResult]] = {}
    merged = origins.read(Layout(benchmark))
    for editor in settings.run_of(benchmark).leaderboard:
        steps = editors.build(settings.method(editor)).takes_gradient_steps
        for cell in cells_of(settings, benchmark, editor):
            trained = training_notes.note(cell.training, settings.training(benchmark, cell.training))
            result = replace(_read_cell(cell, merged, kind), trained=trained, gradient_steps=steps)
            groups.setdefault((cell.training, cell.editor, cell.layers), []).append(result)
    return [replace(first, repetitions=tuple(others)) for first, *others in groups.values()]


def leaderboard(results: Sequence[CellResult]) -> pd.DataFrame:
    """One row per cell, best drawdown first, those whose success is clearly below the required rate last.

    Clearly: with the whole of its 95 % interval. Tuning puts rows at the edge of the constraint, so that on other
    edits many measure a little less.

    Columns: ``training, editor, layers``, each metric with ``_low`` and ``_high``, ``published_…`` and ``note``.
    """
    rows = pd.DataFrame([dict(result.row) for result in results])
    rows = published.beside(rows, _named_as_here(_published_cells(), rows), on=KEYS)
    required = pd.Series([result.description["min_success"] for result in results])
    order = pd.DataFrame({"below": rows["success_rate_high"] < required, "drawdown": rows["drawdown"]})
    return rows.loc[order.sort_values(["below", "drawdown"], kind="stable").index].reset_index(drop=True)


def table1(results: Sequence[CellResult]) -> pd.DataFrame:
    """Each editor on the part of the plain model where it had the smallest drawdown *on the tuning split*."""
    elsewhere = {*WORKAROUNDS, *published.load("table3")["editor"]} - {*published.load("table1")["editor"]}
    plain = [result for result in results if result.cell.training == BASELINE and result.cell.editor not in elsewhere]
    chosen = [
        best_part([result for result in plain if result.cell.editor == editor])
        for editor in dict.fromkeys(result.cell.editor for result in plain)
    ]
    return _rows(chosen, published.load("table1"), on=["editor"])


def best_part(results: Sequence[CellResult]) -> CellResult:
    """Of several parts of one model, the one with the smallest drawdown *on the tuning split*, feasible ones first.

    :raises ValueError: for no results.
    """
    return min(results, key=_tuning_rank)


def table2(results: Sequence[CellResult]) -> pd.DataFrame:
    """Gradient descent and RMSProp on every part of the plain model."""
    chosen = [
        result for result in results if result.cell.training == BASELINE and result.cell.editor in TABLE_2_EDITORS
    ]
    return _rows(chosen, published.load("table2"), on=KEYS)


def table3(results: Sequence[CellResult]) -> pd.DataFrame:
    """The paper's eleven rows in its order, then, as ``appendix``, what it does not have; empty without any of them.

    These are trainings of this run's own and the workarounds, which the paper names and does not measure. A row of the
    paper's that this run does not have is empty and says so.
    """
    rows = leaderboard(results)
    paper = _named_as_here(published.load("table3"), rows)
    names = list(paper[KEYS].itertuples(index=False, name=None))
    if not set(names).intersection(rows[KEYS].itertuples(index=False, name=None)):
        return pd.DataFrame(columns=KEYS)
    missing = paper[[name not in set(rows[KEYS].itertuples(index=False, name=None)) for name in names]]
    missing = published.beside(missing[KEYS].assign(note="not part of this run"), paper, on=KEYS)
    rows = pd.concat([rows, missing], ignore_index=True)
    order = {name: place for place, name in enumerate(names)}
    place = [order.get(name, len(order)) for name in rows[KEYS].itertuples(index=False, name=None)]
    rows = rows.assign(place=place, appendix=[number == len(order) for number in place])
    shown = ~rows["appendix"] | (rows["training"] != BASELINE) | rows["editor"].isin(WORKAROUNDS)
    rows = rows[shown].sort_values(["place", "editor"], kind="stable")
    return rows.drop(columns="place").reset_index(drop=True)


def _rows(chosen: Sequence[CellResult], paper: pd.DataFrame, on: list[str]) -> pd.DataFrame:
    """The rows of these cells beside the paper's; without any, an empty table with their names."""
    if not chosen:
        return pd.DataFrame(columns=KEYS)
    return published.beside(pd.DataFrame([dict(result.row) for result in chosen]), paper, on=on)


def timings(results: Sequence[CellResult]) -> pd.DataFrame:
    """Milliseconds per edit (mean over all, median and largest over shards); not reproducible to the byte."""
    return pd.DataFrame(
        [
            {
                **result.cell.names,
                "milliseconds": round(result.milliseconds.mean(), 3),
                "milliseconds_median": round(result.milliseconds.median(), 3),
                "milliseconds_max": round(result.milliseconds.max(), 3),
            }
            for result in results
        ]
    )


def _computed_row(result: CellResult) -> dict[str, Any]:
    summary = summarise(result.records)
    description = result.description
    summary["test_error"] = result.test_error
    row: dict[str, Any] = result.cell.names
    for name in ("test_error", *NAMES, *(f"{name}_nontrivial" for name in NAMES)):
        row |= _columns(name, summary[name])
    if not result.gradient_steps:
        row |= {name: math.nan for name in row if name.startswith("num_steps")}
    if result.learned is not None:
        learned = summarise(result.learned)
        row |= _columns("drawdown_learned", learned["drawdown"])
        row |= _columns("success_rate_learned", learned["success_rate"])
    if result.repetitions:
        row |= _spread([result, *result.repetitions])
    notes = [shortfall(result), f"made on {result.origin}" if result.origin else "", result.trained]
    return row | {"edits": description["edits"], "note": "; ".join(note for note in notes if note)}


def _columns(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _spread(results: Sequence[CellResult]) -> dict[str, float]:
    """Mean and standard deviation over training seeds: what another training would change, apart from the edits."""
    drawdowns = pd.Series([drawdown(result.records).mean() for result in results])
    errors = pd.Series([result.test_error.value for result in results])
    return {
        "seeds": len(results),
        "drawdown_seeds_mean": drawdowns.mean(),
        "drawdown_seeds_std": drawdowns.std(),
        "test_error_seeds_mean": errors.mean(),
        "test_error_seeds_std": errors.std(),
    }


def shortfall(result: CellResult) -> str:
    """What speaks against a row: that it was not, or clearly is not, at the required success; nothing if it is."""
    required, tuning = result.description["min_success"], result.description["tuning"]
    if not result.description["feasible"]:
        return (
            f"no trial of the tuning reached {tuning.get('required', required):g} % success; "
            f"the one that came closest ({tuning['success_rate']:.1f} %) is shown"
        )
    if share(int(result.records["succeeded"].sum()), len(result.records)).high < required:
        reached = f"{tuning['success_rate']:.1f} % success on the tuning split"
        return f"tuned to {reached}, clearly below {required:g} % on {result.edited}"
    return ""


def _tuning_rank(result: CellResult) -> tuple[bool, float]:
    tuning = result.description["tuning"]
    feasible = result.description["feasible"]
    return (not feasible, tuning["drawdown"] if feasible else -tuning["success_rate"])


def _published_cells() -> pd.DataFrame:
    """The paper's numbers by training, editor and layers, from whichever of Tables 1 to 4 has the fullest row."""
    tables = [published.table4(), *map(published.load, ("table3", "table2", "table1"))]
    tables = pd.concat(tables, ignore_index=True)
    named = tables[(tables["layers"] != "") | (tables["training"] != BASELINE)]
    return named.drop_duplicates(KEYS, keep="first").reset_index(drop=True)


def _named_as_here(paper: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Published rows with our names of the edited parts where the paper has none or another."""
    ours = {
        (row.training, row.editor, published.PAPERS_PARTS[row.layers]): row.layers
        for row in rows.itertuples()
        if row.layers in published.PAPERS_PARTS
    }
    found = [ours.get((row.training, row.editor, row.layers), row.layers) for row in paper.itertuples()]
    return paper.assign(layers=found)


def _read_cell(cell: Cell, merged: Merged, kind: str) -> CellResult:
    path = cell.layout.edits(cell.editor) / f"{cell.file}{kind}.json"
    again = f"run `python -m pipelines.evaluate {cell.benchmark} {cell.editor}`"
    try:
        description = json.loads(path.read_text())
        records = pd.read_csv(path.with_suffix(".csv"))
        milliseconds = pd.read_csv(path.with_suffix(".timing.csv"))["milliseconds"]
        learned = pd.read_csv(path.with_suffix(LEARNED)) if description.get("learned") else None
        protocol, edits, _ = description["protocol"], description["edits"], description["wrong_before_editing"]
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing: {again} first") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the results at {path} are broken ({error}): remove them and {again}") from error
    if protocol != PROTOCOL:
        raise InputError(f"{path} was made with protocol {protocol}, this is {PROTOCOL}: {again}")
    if len(records) != edits:
        raise InputError(f"{path} speaks of {edits} edits, its records are {len(records)}: remove it and {again}")
    origin = merged.origin(cell.editor, f"{cell.file}{kind}", description)
    edited = "mistakes" if kind else CellResult.edited
    return CellResult(cell, description, records, milliseconds, learned, origin, edited)
