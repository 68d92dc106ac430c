"""Which rows of a table compete, and which win: the Pareto front of drawdown and generality.

Little drawdown alone is won by edits that reach nothing. So a row competes if enough of its edits succeed and they
carry further than the unedited network, and it wins if no other that competes breaks less and reaches further.
"""

import numpy as np
import pandas as pd

REQUIRED_SUCCESS = 95.0
FRONT, BEATEN = "on the Pareto front", "beaten"
NO_FURTHER = "not clearly more general than the unedited network"
BELOW = f"success clearly below {REQUIRED_SUCCESS:.0f} %"
STANDINGS = (FRONT, BEATEN, NO_FURTHER, BELOW)
"""How a row stands among others, the best first; the last two do not compete."""
MISSES = f"success below {REQUIRED_SUCCESS:.0f} %; if clearly, with the whole interval, the row does not compete"
READING = (
    "How to read: a good edit breaks little (drawdown) and reaches far (generality); no other row both breaks less and "
    "reaches further than one on the Pareto front."
)
ON_FRONT = "on the Pareto front of drawdown and generality"


def reaches_success(frame: pd.DataFrame) -> pd.Series:
    """For each row, whether 95 % success lies below the upper end of its interval, or of its value without one.

    Tuning puts most rows at the very edge of the constraint, so that on other edits about half of them measure a
    little less; only rows whose whole interval lies below do not compete.
    """
    return _end(frame, "success_rate", "high") >= REQUIRED_SUCCESS


def misses_success(frame: pd.DataFrame) -> pd.Series:
    """For each row, whether it measured less than 95 % success, clearly or not."""
    return _end(frame, "success_rate", "") < REQUIRED_SUCCESS


def carries_further(frame: pd.DataFrame) -> pd.Series:
    """For each row, whether its interval of generality lies above that of the unedited network, if both are known.

    Of other edits of the kind, that is: a point or two more, which only the same edits before and after can tell, are
    no reach.
    """
    before = frame.get("generality_before", pd.Series(np.nan, index=frame.index))
    return ~(_end(frame, "generality", "low") <= before)


def standing(frame: pd.DataFrame, drawdown: str = "drawdown") -> pd.Series:
    """How each row stands among the others, one of :data:`STANDINGS`; empty where it has no drawdown."""
    found = pd.Series(BEATEN, index=frame.index).mask(on_front(frame, drawdown), FRONT)
    found = found.mask(~carries_further(frame), NO_FURTHER).mask(~reaches_success(frame), BELOW)
    return found.where(frame[drawdown].notna(), "")


def on_front(frame: pd.DataFrame, drawdown: str = "drawdown") -> pd.Series:
    """For each row, whether it competes, and no other that does breaks less and reaches further.

    Rows of an ``appendix``, which the paper's table does not have, do not compete in that table.
    """
    rows = frame[frame[drawdown].notna() & reaches_success(frame) & carries_further(frame)]
    rows = rows[~rows["appendix"].astype(bool)] if "appendix" in rows else rows
    points = np.column_stack([rows[drawdown], -_end(rows, "generality", "").fillna(0.0)])
    return pd.Series(frame.index.isin(rows.index[pareto_front(points)]), index=frame.index)


def pareto_front(points: np.ndarray) -> np.ndarray:
    """Which of the points (N, 2) no other point beats: smaller is better in both columns. Boolean (N,)."""
    no_worse = (points[None, :, :] <= points[:, None, :]).all(axis=2)
    better = (points[None, :, :] < points[:, None, :]).any(axis=2)
    return ~(no_worse & better).any(axis=1)


def _end(frame: pd.DataFrame, name: str, end: str) -> pd.Series:
    """The named end of a metric's interval, or the value without one; infinite where a frame has no such metric."""
    value = frame.get(name, pd.Series(np.inf, index=frame.index))
    return frame.get(f"{name}_{end}", value).fillna(value) if end else value
