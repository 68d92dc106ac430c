"""From records to tables: one row per cell, every metric with its interval, the paper's value beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from benchmarks.errors import InputError
from benchmarks.metrics import NAMES, share, summarise
from pipelines.cells import PROTOCOL, Cell, cells_of
from pipelines.presentation import published
from pipelines.settings import Settings

TABLE_1_METRICS = ("test_error", "drawdown", "success_rate", "num_steps")
TABLE_2_EDITORS = ("gd", "rmsprop")
BASELINE = "plain"
"""The training whose models Tables 1 and 2 edit."""


@dataclass(frozen=True, eq=False)
class CellResult:
    """What ``evaluate`` wrote about one cell: its description, one record per edit, milliseconds per edit."""

    cell: Cell
    description: dict[str, Any]
    records: pd.DataFrame
    milliseconds: pd.Series

    @cached_property
    def row(self) -> dict[str, Any]:
        """Every metric with its interval, and the cell's names; costs thousands of resamples."""
        return _computed_row(self)


def read(settings: Settings, benchmark: str) -> list[CellResult]:
    """Every cell of the benchmark, in the leaderboard's order of editors.

    :raises InputError: for a missing or broken file, or records made with another protocol.
    """
    return [_read_cell(cell) for editor in settings.leaderboard for cell in cells_of(settings, benchmark, editor)]


def leaderboard(results: Sequence[CellResult]) -> pd.DataFrame:
    """One row per cell, best drawdown first, those whose success is clearly below the required rate last.

    Clearly: with the whole of its 95 % interval. Tuning puts rows at the edge of the constraint, so that on other
    edits many measure a little less.

    Columns: ``training, editor, layers``, each metric with ``_low`` and ``_high``, ``published_…`` and ``note``.
    """
    rows = pd.DataFrame([dict(result.row) for result in results])
    rows = published.beside(rows, _published_cells(), on=["training", "editor", "layers"])
    required = pd.Series([result.description["min_success"] for result in results])
    order = pd.DataFrame({"below": rows["success_rate_high"] < required, "drawdown": rows["drawdown"]})
    return rows.loc[order.sort_values(["below", "drawdown"], kind="stable").index].reset_index(drop=True)


def table1(results: Sequence[CellResult]) -> pd.DataFrame:
    """Each editor on the part of the plain model where it had the smallest drawdown *on the tuning split*."""
    plain = [result for result in results if result.cell.training == BASELINE]
    chosen = [
        best_part([result for result in plain if result.cell.editor == editor])
        for editor in dict.fromkeys(result.cell.editor for result in plain)
    ]
    rows = pd.DataFrame([dict(result.row) for result in chosen])
    return published.beside(rows, published.load("table1"), on=["editor"])


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
    rows = pd.DataFrame([dict(result.row) for result in chosen])
    return published.beside(rows, published.load("table2"), on=["training", "editor", "layers"])


def timings(results: Sequence[CellResult]) -> pd.DataFrame:
    """Milliseconds per edit (mean over all, median and largest over shards); not reproducible to the byte."""
    return pd.DataFrame(
        [
            {
                **_names(result.cell),
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
    error = share(description["test_images_wrong_before_editing"], description["test_images"])
    row: dict[str, Any] = _names(result.cell)
    for name in ("test_error", *NAMES, *(f"{name}_nontrivial" for name in NAMES)):
        estimate = error if name == "test_error" else summary[name]
        row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return row | {"edits": description["edits"], "note": _note(result)}


def _names(cell: Cell) -> dict[str, Any]:
    return {"training": cell.training, "editor": cell.editor, "layers": cell.layers}


def _note(result: CellResult) -> str:
    required, tuning = result.description["min_success"], result.description["tuning"]
    if not result.description["feasible"]:
        return (
            f"no trial of the tuning reached {required:g} % success; "
            f"the one that came closest ({tuning['success_rate']:.1f} %) is shown"
        )
    if share(int(result.records["succeeded"].sum()), len(result.records)).high < required:
        reached = f"{tuning['success_rate']:.1f} % success on the tuning split"
        return f"tuned to {reached}, clearly below {required:g} % on the test split"
    return ""


def _tuning_rank(result: CellResult) -> tuple[bool, float]:
    tuning = result.description["tuning"]
    feasible = result.description["feasible"]
    return (not feasible, tuning["drawdown"] if feasible else -tuning["success_rate"])


def _published_cells() -> pd.DataFrame:
    """The paper's numbers by training, editor and layers, from whichever of Tables 1 to 3 has the fullest row."""
    tables = pd.concat([published.load(name) for name in ("table3", "table2", "table1")], ignore_index=True)
    named = tables[tables["layers"] != ""]
    return named.drop_duplicates(["training", "editor", "layers"], keep="first").reset_index(drop=True)


def _read_cell(cell: Cell) -> CellResult:
    path = cell.layout.edits(cell.editor) / f"{cell.file}.json"
    again = f"run `python -m pipelines.evaluate {cell.benchmark} {cell.editor}`"
    try:
        description = json.loads(path.read_text())
        records = pd.read_csv(path.with_suffix(".csv"))
        milliseconds = pd.read_csv(path.with_suffix(".timing.csv"))["milliseconds"]
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing: {again} first") from error
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"the results at {path} are broken ({error}): remove them and {again}") from error
    if description.get("protocol") != PROTOCOL:
        raise InputError(f"{path} was made with protocol {description.get('protocol')}, this is {PROTOCOL}: {again}")
    if len(records) != description["edits"]:
        raise InputError(f"{path} speaks of {description['edits']} edits, its records are {len(records)}: {again}")
    return CellResult(cell, description, records, milliseconds)
