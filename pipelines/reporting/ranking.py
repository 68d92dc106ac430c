"""What all frames of results share: which rows count, and refusal of frames that cannot be shown."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

REQUIRED_SUCCESS = 95.0
BELOW = f"success clearly below {REQUIRED_SUCCESS:.0f} %"
NO_FURTHER = "no more general than the unedited network"
"""Why rows do not compete."""


def require(frame: pd.DataFrame, columns: Iterable[str], what: str) -> None:
    """Check that ``frame`` has rows and the named columns; ``what`` names the product in the message.

    :raises ValueError: when there are no rows or a column is missing.
    """
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        names = ", ".join(map(str, frame.columns))
        raise ValueError(f"{what}: no column {', '.join(map(repr, missing))}; there are {names}")
    if frame.empty:
        raise ValueError(f"{what}: there are no rows to show")


def reaches_success(frame: pd.DataFrame) -> pd.Series:
    """For each row, whether 95 % success lies below the upper end of its interval, or of its value without one.

    Tuning puts most rows at the very edge of the constraint, so that on other edits about half of them measure a
    little less; only rows whose whole interval lies below are set apart.
    """
    if "success_rate" not in frame:
        return pd.Series(True, index=frame.index)
    upper = frame["success_rate_high"] if "success_rate_high" in frame else frame["success_rate"]
    return upper.fillna(frame["success_rate"]) >= REQUIRED_SUCCESS


def carries_further(frame: pd.DataFrame) -> pd.Series:
    """For each row, whether its interval of generality lies above that of the unedited network, if both are known."""
    if not {"generality", "generality_before"} <= set(frame.columns):
        return pd.Series(True, index=frame.index)
    lower = frame["generality_low"] if "generality_low" in frame else frame["generality"]
    return ~(lower.fillna(frame["generality"]) <= frame["generality_before"])


def pareto_front(points: np.ndarray) -> np.ndarray:
    """Which of the points (N, 2) no other point beats: smaller is better in both columns. Boolean (N,)."""
    no_worse = (points[None, :, :] <= points[:, None, :]).all(axis=2)
    better = (points[None, :, :] < points[:, None, :]).any(axis=2)
    return ~(no_worse & better).any(axis=1)
