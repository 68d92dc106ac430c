"""Folders of results: tables as CSV files, the same bytes for the same numbers, and nothing that is left over."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from benchmarks.files import write_atomically

KEYS = ["training", "editor", "layers"]
"""The columns that name a cell in every table of a benchmark."""


def write_csv(path: Path, frame: pd.DataFrame, *, digits: int) -> None:
    """Write a table without its index, atomically, every float with so many significant digits."""
    write_atomically(path, frame.to_csv(index=False, float_format=f"%.{digits}g", lineterminator="\n"))


def remove_others(folder: Path, wanted: Collection[str]) -> None:
    """Remove from a folder of results, made if need be, what belongs to none of them any more."""
    folder.mkdir(parents=True, exist_ok=True)  # DVC misses an output that is not there, even if it is empty
    for stale in [path for path in folder.iterdir() if path.name not in wanted]:
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
