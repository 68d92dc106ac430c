"""Smaller steps break less and fail more, whatever the editor: drawdowns compared at equally many failures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def at_equal_failures(values: Sequence[np.ndarray], succeeded: Sequence[np.ndarray]) -> list[np.ndarray] | None:
    """Two rows' drawdowns ``(N,)`` as if both had failed equally often.

    Of the row with the larger mean, the costliest edits that succeeded cost nothing, as if they had not been made: as
    many as the other one failed more often. That favours the larger as much as so many failures can.

    :param succeeded: bool ``(N,)`` of each row, over the same edits.
    :returns: None if the smaller mean is that of the row that failed no more often.
    """
    smaller, larger = sorted((0, 1), key=lambda row: float(values[row].mean()))
    more = int(succeeded[larger].sum()) - int(succeeded[smaller].sum())
    if more <= 0:
        return None
    matched = [row.copy() for row in values]
    costs = np.where(succeeded[larger], values[larger], -np.inf)
    matched[larger][np.argsort(-costs, kind="stable")[:more]] = 0.0
    return matched
