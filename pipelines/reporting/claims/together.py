"""Many edits of one network in claims: a number for each draw of images, and comparisons over the same draws."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.errors import InputError
from benchmarks.metrics import CONFIDENCE, Estimate
from benchmarks.scoring.joint import measured
from pipelines.reporting.claims.definitions import TOGETHER, Row
from pipelines.store.layout import KEYS, Layout
from pipelines.store.schemas import JOINT, Description


def read(layout: Layout) -> dict[str, pd.DataFrame]:
    """The records of requests of many edits by ``training/editor/layers``; none where the stage was not run.

    :raises InputError: naming the file that is broken.
    """
    again, found = layout.again("joint"), {}
    for path in sorted(layout.joint.glob("*.json")):
        described = Description.read(path, again)
        found["/".join(str(described.get(key)) for key in KEYS)] = JOINT.read(path.with_suffix(".csv"), again)
    return found


def by_draw(records: pd.DataFrame | None, row: Row, metric: str) -> pd.Series:
    """A metric of a row for each draw, in their order; empty where such edits were not made."""
    if records is None:
        return pd.Series(dtype=float)
    source, count, manner = row.edits.split("/")
    asked = (records["source"] == source) & (records["count"].astype(str) == count) & (records["manner"] == manner)
    rows = records[asked].set_index("draw").sort_index()
    return measured(rows)[metric.removeprefix(TOGETHER)].dropna()


def compare(rows: Sequence[Row], values: Sequence[pd.Series]) -> tuple[Estimate, str]:
    """The mean over draws of one row, or of its difference from another, with Student's interval; and how it was made.

    :raises InputError: if both rows did not meet the same edits.
    """
    first, *others = values
    for row, other in zip(rows[1:], others, strict=True):
        same = {(one.training, *one.edits.split("/")[:2]) for one in (rows[0], row)}
        random = rows[0].edits.split("/")[:2] == row.edits.split("/")[:2] and row.edits.startswith("random/")
        if not (len(same) == 1 or random) or not first.index.equals(other.index):
            raise InputError(f"{rows[0]} and {row} are not about the same edits")
        first = first - other
    _, count, _ = rows[0].edits.split("/")
    draws = f"{len(first)} draws of {count} images; Student's t"
    return student(first.to_numpy()), f"paired, the same {draws}" if others else draws


def student(values: np.ndarray) -> Estimate:
    """The mean of ``(N,)`` with Student's interval, which suits few draws; none (nan) for fewer than two."""
    if len(values) < 2:
        return Estimate(float(values.mean()) if len(values) else math.nan, math.nan, math.nan)
    from scipy import stats  # takes a second: only for whoever computes intervals

    value, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * error
    return Estimate(value, value - half, value + half)
