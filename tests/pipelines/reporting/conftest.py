"""Measured tables as ``evaluate`` makes them, small and written by hand."""

import numpy as np
import pandas as pd
import pytest


def with_intervals(frame: pd.DataFrame) -> pd.DataFrame:
    ends = {}
    for metric in ("drawdown", "success_rate", "num_steps"):
        ends[f"{metric}_low"] = frame[metric] - 0.25
        ends[f"{metric}_high"] = frame[metric] + 0.5
    return frame.assign(**ends)


def steps_only_of(frame: pd.DataFrame, editors: list[str]) -> pd.DataFrame:
    """The same, but all other editors take no gradient steps."""
    names = [f"num_steps{end}" for end in ("", "_low", "_high")]
    return frame.assign(**{name: frame[name].where(frame["editor"].isin(editors)) for name in names})


@pytest.fixture
def table1() -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "training": "plain",
            "editor": ["gd", "rmsprop", "momentum", "mine"],
            "layers": ["all", "chain3", "chain4", "chain2"],
            "test_error": 2.22,
            "drawdown": [4.9, 2.31, 2.05, 3.5],
            "success_rate": [97.8, 98.8, 93.2, 99.0],
            "num_steps": [3.9, 3.1, 5.2, 2.5],
            "published_drawdown": [3.8, 1.77, 2.42, np.nan],
            "note": ["", "", "no trial met the 95 % constraint | least violating", np.nan],
        }
    )
    return with_intervals(frame)


@pytest.fixture
def table2() -> pd.DataFrame:
    layers = ["chain4", "all", "chain1", "chain2", "chain3"]
    frame = pd.DataFrame([{"editor": e, "layers": name} for e in ("gd", "rmsprop") for name in layers])
    frame = frame.assign(
        training="plain",
        test_error=2.22,
        drawdown=np.arange(1.0, 11.0),
        success_rate=[96.0] * 9 + [90.0],
        num_steps=np.linspace(2, 5, 10),
        published_drawdown=[4.76, 3.8, 18.3, 7.7, 5.3, 1.99, 2.29, 22.8, 1.85, 1.77],
    )
    return with_intervals(frame)
