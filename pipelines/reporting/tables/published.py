"""The paper's tables as data, and how they come to stand beside measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipelines.store.layout import KEYS

DIRECTORY = Path(__file__).resolve().parents[3] / "results" / "published"

NAMES = ("architecture", *KEYS, "source")
"""Columns of text; all others are numbers."""
PAPERS_PARTS = {"condition": "chain3", "votes": ""}
"""Edited parts of models that the paper calls otherwise, or not at all: those of CNP and DkNN."""
ARCHITECTURE = "resnet18"
"""Of the trainings of Table 4 that name none."""


def load(table: str) -> pd.DataFrame:
    """Read one published table, such as ``"table1"`` or ``"table5_similar"``.

    Names are strings, empty where the paper names nothing; metrics are floats (%, percentage points, steps and so on),
    NaN where the paper has no number.
    """
    cells = pd.read_csv(DIRECTORY / f"{table}.csv", dtype=str, keep_default_na=False)
    return cells.assign(**{name: pd.to_numeric(cells[name]).astype(float) for name in cells if name not in NAMES})


def named(table: str) -> pd.DataFrame:
    """A published table whose training, editor and layers name a row alone, as they do here.

    In Table 4, a network with a random extra block is a training of its own here, ``extended``, and the trainings of
    DenseNet-169 begin with its name. Where rows differ in a learning rate, the editor's name ends with it, such as
    ``rmsprop_1e-3``.
    """
    frame = load(table)
    if "architecture" in frame:
        prefixes = [f"{name}-" * (name != ARCHITECTURE) for name in frame["architecture"]]
        extended = (frame["training"] == "pretrained") & (frame["layers"] == "extra")
        frame["training"] = prefixes + frame["training"].mask(extended, "extended")
    if "lr" in frame:
        rates = [f"{value:.0e}".replace("e-0", "e-") for value in frame.pop("lr")]
        frame["editor"] = frame["editor"] + "_" + rates
    return frame


def architecture_of(training: str) -> str:
    """The architecture of a training of Table 4, as the table calls it."""
    others = load("table4")["architecture"].unique()
    return next((name for name in others if training.startswith(f"{name}-")), ARCHITECTURE)


def beside(measured: pd.DataFrame, published: pd.DataFrame, on: Sequence[str]) -> pd.DataFrame:
    """Add the published metrics to measured rows as ``published_<metric>``, NaN where there is none.

    ``on`` names the columns that identify a row in both frames: ``["editor"]`` for Table 1, whose rows do not
    say which layers they edit, else ``["training", "editor", "layers"]``. Rows and index of ``measured`` stay.

    :raises ValueError: when several published rows share the same names.
    """
    metrics = {metric: f"published_{metric}" for metric in published if metric not in NAMES}
    asked, cells = (frame[[*on]].astype(object).fillna("").astype(str) for frame in (measured, published))
    cells = cells.join(published[[*metrics]].rename(columns=metrics))
    found = asked.merge(cells, how="left", on=[*on], validate="many_to_one")
    return measured.assign(**{name: found[name].to_numpy() for name in metrics.values()})
