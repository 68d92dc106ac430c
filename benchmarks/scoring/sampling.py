"""What a sample of control images adds to |error after − error before|, and where that would mislead.

The change on a sample is the whole set's plus noise. With its sign it is right on average; without, the noise of both
signs adds up, most where the change itself is small: of an edit that mends as much as it breaks, 400 images show half
a point. No sample is free of that, so small drawdowns are counted on the whole set.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import special

_NEGLIGIBLE = 0.2
"""Of the mean's standard error: an interval that is off by so much covers in 94.6 % of repetitions instead of 95 %."""


def change(records: pd.DataFrame) -> pd.Series:
    """Error after − error before of each edit, in percentage points; negative if the edit mended more than it broke."""
    return 100.0 * (records["wrong_after"] - records["wrong_before"]) / records["control_size"]


def added(records: pd.DataFrame) -> pd.Series:
    """What sampling adds to each edit's |change| on average, in points, estimated from that edit; 0 on a whole set.

    The mean of |X| minus |μ| for a normal X with mean μ, where μ is the change that was found, and the variance that of
    so many images drawn without replacement, of which so many became wrong or right. Records of earlier versions, which
    do not say how many became wrong, count every flip: also those from one wrong answer to another, which a network
    that is mostly wrong has many of.
    """
    looked_at, there = records["control_size"], records["control_images"]
    found, changed = change(records).abs(), records["flips"]
    if "broken" in records:
        changed = 2 * records["broken"] + records["wrong_before"] - records["wrong_after"]
    spread = 1e4 * changed / looked_at - found**2
    deviation = np.sqrt(spread / (looked_at - 1).clip(lower=1) * (1 - looked_at / there))
    units = (found / deviation).where(deviation > 0, np.inf).to_numpy(dtype=float)
    return 2 * deviation * np.exp(-(units**2) / 2) / np.sqrt(2 * np.pi) - 2 * found * special.ndtr(-units)


def misleads(records: pd.DataFrame) -> bool:
    """Whether what sampling adds to the mean |change| is more than a fifth of the mean's standard error."""
    error = change(records).abs().std(ddof=1) / np.sqrt(len(records))
    return len(records) > 1 and bool(added(records).mean() > _NEGLIGIBLE * error)
