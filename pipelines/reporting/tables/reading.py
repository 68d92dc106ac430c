"""The files that ``evaluate`` wrote, read back as a result for each cell."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.errors import InputError
from benchmarks.metrics import Measures
from pipelines.config.params import Settings
from pipelines.jobs.cells import PROTOCOL, Cell, cells_of_run
from pipelines.reporting.tables.presentation import Presentation
from pipelines.reporting.tables.results import CellResult, with_origins
from pipelines.store import layout


def read(settings: Settings, benchmark: str, told: Presentation, kind: str = "") -> list[CellResult]:
    """Every cell of the benchmark, in the order of its editors; repetitions with the first of their kind.

    :param kind: of records; :data:`pipelines.store.layout.MISTAKES` for those of realistic mistakes.
    :raises InputError: for a missing or broken file, or records made with another protocol.
    """
    groups: dict[tuple[str, ...], list[CellResult]] = {}
    for cells in cells_of_run(settings, benchmark, None, settings.edit_seeds).values():
        for cell in cells:
            groups.setdefault(tuple(cell.names.values()), []).append(read_cell(settings, cell, told, kind))
    return with_origins([replace(first, repetitions=tuple(others)) for first, *others in groups.values()])


def read_cell(settings: Settings, cell: Cell, told: Presentation, kind: str = "") -> CellResult:
    """One cell; see :func:`read`."""
    path = cell.layout.edits(cell.editor) / f"{cell.file}{kind}.json"
    again = f"run `python -m pipelines.evaluate {cell.benchmark} {cell.editor}`"
    try:
        description = json.loads(path.read_text())
        records = _records(path.with_suffix(".csv"), told.measures)
        milliseconds = pd.read_csv(path.with_suffix(".timing.csv"))["milliseconds"]
        learned = _records(path.with_suffix(layout.LEARNED), told.measures) if description.get("learned") else None
        protocol, edits, _ = description["protocol"], description["edits"], description["hyperparameters"]
        quality = told.quality(cell, description)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing: {again} first") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the results at {path} are broken ({error}): remove them and {again}") from error
    if protocol != PROTOCOL:
        raise InputError(f"{path} was made with protocol {protocol}, this is {PROTOCOL}: {again}")
    if len(records) != edits:
        raise InputError(f"{path} speaks of {edits} edits, its records are {len(records)}: remove it and {again}")
    return CellResult(
        *(cell, description, records, milliseconds, told.measures, quality),
        method=settings.benchmark(cell.benchmark).method(cell.editor),
        published_training=told.published_training(settings, cell.benchmark, cell.training),
        learned=learned,
        edited="mistakes" if kind else told.edited,
        notes=tuple(filter(None, [_trained_elsewhere(cell, description), told.note(settings, cell)])),
    )


def _trained_elsewhere(cell: Cell, description: dict[str, Any]) -> str:
    """On which machine the cell's model was trained, if another one edited it and both were written down."""
    try:
        trained = str(json.loads((cell.model.described / layout.ORIGIN).read_text())["machine"])
        return f"trained on {trained}" if trained != description["made"]["machine"] else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _records(path: Path, measures: Measures) -> pd.DataFrame:
    if not measures.texts:
        return pd.read_csv(path)
    numbers = pd.read_csv(path, nrows=0).columns.difference(measures.texts)
    absent = {name: [""] for name in numbers}
    return pd.read_csv(path, keep_default_na=False, na_values=absent, dtype=dict.fromkeys(measures.texts, str))
