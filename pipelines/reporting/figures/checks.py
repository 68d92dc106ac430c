"""Refusal of frames that cannot be shown, in one sentence that says what is missing."""

from collections.abc import Iterable

import pandas as pd


def require(frame: pd.DataFrame, columns: Iterable[str], what: str) -> None:
    """Check that ``frame`` has rows and the named columns; ``what`` names the product in the message.

    Raises:
        ValueError: when there are no rows or a column is missing.
    """
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        names = ", ".join(map(str, frame.columns))
        raise ValueError(f"{what}: no column {', '.join(map(repr, missing))}; there are {names}")
    if frame.empty:
        raise ValueError(f"{what}: there are no rows to show")
