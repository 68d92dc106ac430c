"""What was measured besides edits, by name: the cost of a training step, the numbers of Figure 2."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.errors import InputError
from benchmarks.metrics import Estimate
from pipelines.jobs.cells import KEYS
from pipelines.reporting.claims.definitions import METRICS
from pipelines.store.layout import COST, Layout

SUMMARY = Path("figure2", "summary.csv")
"""In a benchmark's results: a row per analysed cell, each number with ``_low`` and ``_high``."""


def read(layout: Layout, trainings: Iterable[str], seed: int = 0) -> dict[str, Estimate]:
    """What there is, as ``cost_ratio/<training>`` and ``<number>/<training>/<editor>/<layers>``.

    A file that is missing was not measured; an interval that is missing is ``nan``.

    :raises InputError: for a file that is there and cannot be read.
    """
    found: dict[str, Estimate] = {}
    for training in trainings:
        path = layout.model(training, seed) / COST
        if path.exists():
            cost = read_cost(path)
            ends = (cost["cost_ratio_low"], cost["cost_ratio_high"])
            found[f"cost_ratio/{training}"] = Estimate(cost["cost_ratio"], *ends)
    path = layout.results / SUMMARY
    return found | (_summary(path) if path.exists() else {})


def read_cost(path: Path) -> dict[str, Any]:
    """What a step of a training cost: ``cost_ratio`` in steps of plain training, with ``_low`` and ``_high``, and
    whatever else stands there.

    :raises InputError: for a file that cannot be read.
    """
    try:
        content = dict(json.loads(path.read_text(encoding="utf-8")))
        value = float(content["cost_ratio"])
        low, high = (float(content.get(f"cost_ratio_{end}", math.nan)) for end in ("low", "high"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} does not hold the cost of a training ({error!r}): remove it and train again"
        ) from error
    _checked(path, "cost_ratio", value, low, high)
    return content | {"cost_ratio": value, "cost_ratio_low": low, "cost_ratio_high": high}


def _summary(path: Path) -> dict[str, Estimate]:
    found: dict[str, Estimate] = {}
    try:
        frame = pd.read_csv(path, dtype=dict.fromkeys(KEYS, str))
        if frame.duplicated(KEYS).any():
            raise ValueError("a cell has two rows")
        names = [name for name, metric in METRICS.items() if metric.source == "measurement" and name in frame]
        for row in frame.to_dict("records"):
            for name in names:
                value, low, high = (float(row.get(f"{name}{end}", math.nan)) for end in ("", "_low", "_high"))
                if not math.isnan(value):
                    found["/".join((name, *(row[key] for key in KEYS)))] = _checked(path, name, value, low, high)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        again = "remove it and run the stage that makes it again"
        raise InputError(f"{path} is broken ({' '.join(str(error).split())}): {again}") from error
    return found


def _checked(path: Path, name: str, value: float, low: float, high: float) -> Estimate:
    if not math.isfinite(value) or low > high:
        raise InputError(f"{path}: {name} is {value:g} with the interval [{low:g}, {high:g}], which cannot be")
    return Estimate(value, low, high)
