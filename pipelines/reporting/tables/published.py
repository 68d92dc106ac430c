"""The paper's tables as data, and how they come to stand beside measured ones."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipelines.jobs.cells import KEYS

DIRECTORY = Path(__file__).resolve().parents[3] / "results" / "published"

NAMES = ("architecture", *KEYS, "source")
PERCENTAGES = ("test_error", "drawdown", "success_rate", "similar_accuracy")
METRICS = (*PERCENTAGES, "num_steps", "bleu", "bleu_drawdown")

PAPERS_PARTS = {"condition": "chain3", "votes": ""}
"""Edited parts of models that the paper calls otherwise, or not at all: those of CNP and DkNN."""

ARCHITECTURE = "resnet18"
"""Of the trainings of Table 4 that name none."""

_CLASSIFICATION = (*KEYS, "test_error", "drawdown", "success_rate", "num_steps", "source")
SCHEMAS = {
    "table1": _CLASSIFICATION,
    "table2": _CLASSIFICATION,
    "table3": _CLASSIFICATION,
    "table4": ("architecture", *_CLASSIFICATION),
    "table5": _CLASSIFICATION,
    "table5_similar": (*KEYS, "similar_accuracy", "source"),
    "table6": (*KEYS, "lr", "bleu", "bleu_drawdown", "success_rate", "num_steps", "source"),
}


def load(table: str, directory: Path = DIRECTORY) -> pd.DataFrame:
    """Read one published table, ``"table1"`` … ``"table6"`` or ``"table5_similar"``, and check it.

    Names are strings, empty where the paper names nothing; metrics are floats (%, percentage points, steps,
    BLEU), NaN where the paper has no number.

    Raises:
        ValueError: for an unknown table, other columns, text in place of a number, a percentage outside 0 to
            100, a row without a source, or two rows with the same names.
        FileNotFoundError: when the file is not in ``directory``.
    """
    if table not in SCHEMAS:
        raise ValueError(f"unknown published table {table!r}; there are {', '.join(SCHEMAS)}")
    path = Path(directory) / f"{table}.csv"
    if not path.is_file():
        raise FileNotFoundError(f"the published table {path} does not exist")
    cells = pd.read_csv(path, dtype=str, keep_default_na=False)
    if tuple(cells.columns) != SCHEMAS[table]:
        raise ValueError(f"{path}: columns {', '.join(cells.columns)} instead of {', '.join(SCHEMAS[table])}")
    frame = cells.assign(**{name: _numbers(cells[name], path) for name in cells if name not in NAMES})
    _check(frame, path)
    return frame


def table4() -> pd.DataFrame:
    """Table 4 with the names of trainings that this suite has, so that each names a row alone.

    A network with a random extra block is a training of its own here, ``extended``, and those of DenseNet-169 begin
    with its name.
    """
    frame = load("table4")
    names = [
        ("" if row.architecture == ARCHITECTURE else f"{row.architecture}-")
        + ("extended" if (row.training, row.layers) == ("pretrained", "extra") else row.training)
        for row in frame.itertuples()
    ]
    return frame.assign(training=names)


def architecture_of(training: str) -> str:
    """The architecture of a training of Table 4, as the table calls it."""
    others = [name for name in dict.fromkeys(load("table4")["architecture"]) if training.startswith(f"{name}-")]
    return others[0] if others else ARCHITECTURE


def beside(measured: pd.DataFrame, published: pd.DataFrame, on: Sequence[str]) -> pd.DataFrame:
    """Add the published metrics to measured rows as ``published_<metric>``, NaN where there is none.

    ``on`` names the columns that identify a row in both frames: ``["editor"]`` for Table 1, whose rows do not
    say which layers they edit, else ``["training", "editor", "layers"]`` and what the table has besides. Rows
    and index of ``measured`` stay as they are.

    Raises:
        ValueError: when a column of ``on`` is missing, or when several published rows share the same names.
    """
    on = list(on)
    for frame, which in ((measured, "measured"), (published, "published")):
        missing = [column for column in on if column not in frame.columns]
        if missing:
            raise ValueError(f"the {which} table has no column {', '.join(missing)} to join on")
    metrics = {metric: f"published_{metric}" for metric in published if metric in METRICS}
    cells = _joinable(published[on + list(metrics)], on).rename(columns=metrics)
    if cells.duplicated(on).any():
        twice = cells.loc[cells.duplicated(on), on].iloc[0].to_dict()
        raise ValueError(f"several published rows have {twice}; join on more columns than {', '.join(on)}")
    found = _joinable(measured[on], on).merge(cells, how="left", on=on)
    return measured.assign(**{name: found[name].to_numpy() for name in metrics.values()})


def _joinable(frame: pd.DataFrame, on: list[str]) -> pd.DataFrame:
    """Make "no layers" equal in both: measured tables may hold NaN where the published ones are empty."""
    return frame.assign(**{name: frame[name].astype(object).fillna("").astype(str) for name in on if name in NAMES})


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
