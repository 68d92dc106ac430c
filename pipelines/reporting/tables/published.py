"""The paper's tables as data, and how they come to stand beside measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipelines.jobs.cells import KEYS

DIRECTORY = Path(__file__).resolve().parents[3] / "results" / "published"

NAMES = ("architecture", *KEYS, "source")
"""Columns of text; all others are numbers."""
PERCENTAGES = ("test_error", "drawdown", "success_rate", "similar_accuracy")

PAPERS_PARTS = {"condition": "chain3", "votes": ""}
"""Edited parts of models that the paper calls otherwise, or not at all: those of CNP and DkNN."""

ARCHITECTURE = "resnet18"
"""Of the trainings of Table 4 that name none."""


def load(table: str, directory: Path = DIRECTORY) -> pd.DataFrame:
    """Read one published table, such as ``"table1"`` or ``"table5_similar"``, and check it.

    Names are strings, empty where the paper names nothing; metrics are floats (%, percentage points, steps and so on),
    NaN where the paper has no number.

    :raises ValueError: for an unknown table, one without names or sources, text in place of a number, a percentage
        outside 0 to 100, or two rows with the same names.
    """
    path = Path(directory) / f"{table}.csv"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in Path(directory).glob("*.csv")))
        raise ValueError(f"unknown published table {table!r}: {path} does not exist; there are {known}")
    cells = pd.read_csv(path, dtype=str, keep_default_na=False)
    if missing := {*KEYS, "source"}.difference(cells.columns):
        raise ValueError(f"{path}: no column {', '.join(sorted(missing))}; there are {', '.join(cells.columns)}")
    frame = cells.assign(**{name: _numbers(cells[name], path) for name in cells if name not in NAMES})
    _check(frame, path)
    return frame


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
    others = [name for name in dict.fromkeys(load("table4")["architecture"]) if training.startswith(f"{name}-")]
    return others[0] if others else ARCHITECTURE


def beside(measured: pd.DataFrame, published: pd.DataFrame, on: Sequence[str]) -> pd.DataFrame:
    """Add the published metrics to measured rows as ``published_<metric>``, NaN where there is none.

    ``on`` names the columns that identify a row in both frames: ``["editor"]`` for Table 1, whose rows do not
    say which layers they edit, else ``["training", "editor", "layers"]`` and what the table has besides. Rows
    and index of ``measured`` stay as they are.

    :raises KeyError: when a column of ``on`` is missing.
    :raises ValueError: when several published rows share the same names.
    """
    on = list(on)
    metrics = {metric: f"published_{metric}" for metric in published if metric not in NAMES}
    cells = _joinable(published[on + list(metrics)], on).rename(columns=metrics)
    found = _joinable(measured[on], on).merge(cells, how="left", on=on, validate="many_to_one")
    return measured.assign(**{name: found[name].to_numpy() for name in metrics.values()})


def _joinable(frame: pd.DataFrame, on: list[str]) -> pd.DataFrame:
    """Make "no layers" equal in both: measured tables may hold NaN where the published ones are empty."""
    return frame.assign(**{name: frame[name].astype(object).fillna("").astype(str) for name in on})


def _numbers(column: pd.Series, path: Path) -> pd.Series:
    try:
        return pd.to_numeric(column.replace("", None)).astype(float)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: column {column.name} holds something that is no number ({error})") from error


def _check(frame: pd.DataFrame, path: Path) -> None:
    for name in frame.columns.intersection(PERCENTAGES):
        outside = frame[name].notna() & ~frame[name].between(0, 100)
        if outside.any():
            raise ValueError(f"{path}: {name} is {frame.loc[outside, name].iloc[0]}, allowed is 0 to 100")
    if (frame["source"].str.strip() == "").any():
        raise ValueError(f"{path}: a row has no source")
    identity = [name for name in ("architecture", *KEYS, "lr") if name in frame.columns]
    if frame.duplicated(identity).any():
        raise ValueError(f"{path}: two rows have the same {', '.join(identity)}")
