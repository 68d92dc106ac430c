"""Tables as CSV files: the same numbers give the same bytes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.files import write_atomically


def write_csv(path: Path, frame: pd.DataFrame, *, digits: int) -> None:
    """Write a table without its index, atomically, every float with so many significant digits."""
    write_atomically(path, frame.to_csv(index=False, float_format=f"%.{digits}g", lineterminator="\n"))
