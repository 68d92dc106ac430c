"""What the suite's own files hold: tables by their columns, descriptions by their fields, checked when read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from benchmarks.errors import InputError
from pipelines.store.layout import KEYS

_Content = TypeVar("_Content")
VARIANCES = (50, 80, 90, 95)
"""Percent of the variance of edits, of which a table says how many components hold it."""


@dataclass(frozen=True, eq=False)
class Table:
    """What the columns of one kind of CSV hold; others may be there, and hold anything.

    :ivar needed: columns that must be there; of the following, those count that are.
    :ivar counts: hold whole numbers >= 0, ``flags`` True or False, ``numbers`` any numbers or nothing, ``finite`` those
        that are, ``percents`` those from 0 to 100 or nothing, ``times`` finite ones >= 0.
    :ivar within: columns that are at most what others are.
    :ivar told_apart: the columns that tell rows apart; none, if there may be equal ones.
    """

    needed: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    finite: tuple[str, ...] = ()
    percents: tuple[str, ...] = ()
    times: tuple[str, ...] = ()
    within: Mapping[str, str] = field(default_factory=dict)
    told_apart: tuple[str, ...] = ()

    def check(self, frame: pd.DataFrame, rows: int | None = None) -> pd.DataFrame:
        """The table as it is, once it holds what it should.

        :param rows: how many there must be.
        :raises ValueError: naming the first cell that is something else, rows counted from 1.
        """
        if absent := [name for name in self.needed if name not in frame]:
            raise ValueError(f"has no column {absent[0]}")
        if rows is not None and len(frame) != rows:
            raise ValueError(f"has {len(frame)} rows, not {rows}")
        kinds = {
            "a whole number >= 0": (self.counts, lambda value: (value >= 0) & (value < 2**53) & (value % 1 == 0)),
            "a number": (self.numbers, lambda value: ~np.isnan(value)),
            "a finite number": (self.finite, np.isfinite),
            "a percentage": (self.percents, lambda value: (value >= 0) & (value <= 100)),
            "a finite number >= 0": (self.times, lambda value: (value >= 0) & (value < np.inf)),
        }
        for kind, (names, fits) in kinds.items():
            for name in [name for name in names if name in frame]:
                value = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=float)  # arrays: 5 times as fast
                empty = frame[name].isna().to_numpy() if names in (self.percents, self.numbers, self.finite) else False
                with np.errstate(invalid="ignore"):
                    self._refuse(frame, name, ~(fits(value) | empty), kind)
        for name in [name for name in self.flags if name in frame and frame[name].dtype != bool]:
            self._refuse(frame, name, ~frame[name].astype(str).isin(["True", "False"]).to_numpy(), "True or False")
        for name, largest in [(name, other) for name, other in self.within.items() if {name, other} <= {*frame}]:
            beyond = frame[name].to_numpy(dtype=float) > frame[largest].to_numpy(dtype=float)
            self._refuse(frame, name, beyond, f"at most {largest}")
        known = [name for name in self.told_apart if name in frame]
        if known and (twice := frame.duplicated(known)).any():
            raise ValueError(f"has two rows of the same {' and '.join(known)}, at row {1 + int(twice.argmax())}")
        return frame

    @staticmethod
    def _refuse(frame: pd.DataFrame, name: str, wrong: np.ndarray, kind: str) -> None:
        if wrong.any():
            place = int(wrong.argmax())
            raise ValueError(f"has {frame[name].iloc[place]!s:.40} as {name} in row {place + 1}, which is not {kind}")

    def read(self, path: Path, again: str, rows: int | None = None, **options: Any) -> pd.DataFrame:
        """A file as this table.

        :param again: the advice that makes it anew, as the end of a sentence; ``options`` of ``pandas.read_csv``.
        :raises InputError: naming the file, if it is missing or holds something else.
        """
        return _read(path, again, lambda: self.check(pd.read_csv(path, **options), rows))


_VIEWS = {f"{name}_{when}": "views" for name in ("views", "own", "similar") for when in ("before", "after")}
_CONTROL = dict.fromkeys(("wrong_before", "wrong_after", "flips", "changed"), "control_size")
RECORDS = Table(
    needed=("edit", "trivial", "succeeded", "steps"),
    counts=(
        *("edit", "image", "label", "sentence", "steps", "views", "rank", "tokens"),
        *("control_images", "control_size", *_VIEWS, *_CONTROL),
    ),
    flags=("trivial", "succeeded"),
    numbers=("loss", "kl"),
    within={**_VIEWS, **_CONTROL, "control_size": "control_images"},
    told_apart=("edit",),
)
"""One row per edit."""
TIMING = Table(needed=("edit", "milliseconds"), counts=("edit",), times=("milliseconds",), told_apart=("edit",))
TRIALS = Table(
    needed=("number", "success_rate", "drawdown", "rescored", "feasible", "chosen"),
    counts=("number", "edits", "scored"),
    flags=("feasible", "chosen"),
    numbers=("drawdown", "rescored"),
    percents=("success_rate",),
    told_apart=("number",),
)
"""One row per trial of a search."""
EPOCHS = Table(needed=("epoch",), counts=("epoch",), told_apart=("epoch",))
"""One row per epoch of a training."""
CURVES = Table(needed=(*KEYS, "factor"), times=("factor",), percents=("success_rate",))
SEQUENCE = Table(
    counts=("order", "edit", "image", "target", "steps", "control_size", "earlier_in_force", *_VIEWS, *_CONTROL),
    flags=("succeeded", "in_force_at_end", "same_class"),
    within={**_VIEWS, **_CONTROL},
)
"""One row per edit of a row of edits, or per edit and image like the edited one."""
JOINT = Table(
    needed=("source", "draw", "count", "manner", "fixed", "control_size", "wrong_before", "wrong_after"),
    counts=("draw", "count", "fixed", "steps", "control_size", "alike", "alike_after", "views", *_VIEWS, *_CONTROL),
    flags=("succeeded",),
    within={**_VIEWS, **_CONTROL, "fixed": "count", "alike_after": "alike"},
    told_apart=("source", "draw", "count", "manner"),
)
"""One row per request of many edits."""
ROWS = Table(needed=tuple(KEYS), counts=("edits", "orders"), percents=("success_rate",))
"""Rows of several cells, by cell."""
FIGURE2 = Table(needed=tuple(KEYS))
_MEASURED = ("own_excess", *(f"components_{percent}" for percent in VARIANCES))
MODELS = Table(
    needed=tuple(KEYS),
    finite=_MEASURED,
    within={f"{name}_low": name for name in _MEASURED} | {name: f"{name}_high" for name in _MEASURED},
    told_apart=tuple(KEYS),
)
"""One row of Figure 2's numbers per analysed cell, each with the ends of its interval."""
ANYTHING = Table()


class Description(BaseModel):
    """What a JSON file says; fields that it says beside those of its kind are kept."""

    model_config = ConfigDict(extra="allow")

    @classmethod
    def check(cls, content: Any) -> dict[str, Any]:
        """The fields as they are, once they are what they should be.

        :raises ValueError: naming the first field that is something else.
        """
        try:
            cls.model_validate(content, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            where, said = ".".join(map(str, first["loc"])) or "it", first["msg"].partition(" or instance of ")[0]
            raise ValueError(f"says of {where}: {said[:1].lower()}{said[1:]}") from error
        return content

    @classmethod
    def read(cls, path: Path, again: str) -> dict[str, Any]:
        """A file as a description of this kind.

        :param again: the advice that makes it anew, as the end of a sentence.
        :raises InputError: naming the file, if it is missing or says something else.
        """
        return _read(path, again, lambda: cls.check(json.loads(path.read_text(encoding="utf-8"))))


class _Search(BaseModel):
    trials: int = Field(ge=1)
    edits: int = Field(ge=0)
    required: FiniteFloat = Field(ge=0, le=100)
    success_rate: FiniteFloat = Field(ge=0, le=100)


class Tuned(Description):
    """The values that a search chose for a cell."""

    hyperparameters: dict[str, FiniteFloat]
    max_steps: int = Field(ge=0)
    feasible: bool
    min_success: FiniteFloat = Field(ge=0, le=100)
    tuning: _Search | None


class _Made(BaseModel):
    commit: str
    machine: str


class Measured(Tuned):
    """A file of records: of which cell, how many, and what they follow from."""

    training: str
    editor: str
    layers: str
    edits: int = Field(ge=0)
    dataset: str
    protocol: int
    made: _Made
    fingerprint: str


class Trained(Description):
    """A model, without its weights."""

    training: str
    epoch: int = Field(ge=0)
    epochs: int = Field(ge=0)


def trained_on(description: Mapping[str, Any]) -> str | None:
    """The fingerprint of the data that a description of a model or of records names; a translator's calls it
    ``corpus``.
    """
    return description.get("dataset", description.get("corpus"))


class Cost(Description):
    """What a training step costs, in steps of plain training, with its interval."""

    cost_ratio: FiniteFloat
    cost_ratio_low: float = math.nan
    cost_ratio_high: float = math.nan

    @model_validator(mode="after")
    def _ordered(self) -> Cost:
        if self.cost_ratio_low > self.cost_ratio_high:
            raise ValueError(f"cost_ratio_low, {self.cost_ratio_low:g}, is above cost_ratio_high")
        return self


class Seconds(Description):
    """Wall time."""

    seconds: FiniteFloat = Field(ge=0)


class Learned(Description):
    """The editor that a model was trained for, with the hyperparameters that training ended with."""

    editor: str
    layers: str
    hyperparameters: dict[str, FiniteFloat]
    max_steps: int = Field(ge=0)


class Stages(Description):
    """By stage, how long it took, and its surroundings."""

    __pydantic_extra__: dict[str, dict[str, Any]]


class Data(Description):
    """Prepared data."""

    fingerprint: str


class _Hardware(BaseModel):
    cpu: str
    cores: int = Field(ge=1)
    gpu: str | None = None


class Origin(Description):
    """Where a model was made, and what was asked of it there, by name."""

    commit: str
    machine: str
    asked: dict[str, Any] = Field(default_factory=dict)


class Run(Description):
    """A report: on which machine, of which commit and data."""

    protocol: int
    seed: int
    data: Data
    hardware: _Hardware
    git_commit: str
    machine: str
    parameters: dict[str, Any]
    training_seeds: list[int]
    edit_seeds: list[int]


_OF_FILES: tuple[tuple[str, Table | type[Description]], ...] = (
    ("*/timing.json", Description),
    ("edits/*.timing.csv", TIMING),
    ("edits/*.csv", RECORDS),
    ("edits/*", Measured),
    ("models/*/history.csv", EPOCHS),
    ("models/*/model.json", Trained),
    ("models/*/cost.json", Cost),
    ("models/*/editor.json", Learned),
    ("models/*/made.json", Origin),
    ("*.timing.csv", ANYTHING),
    ("tuned/*.csv", TRIALS),
    ("tuned/*", Tuned),
    ("sequences/*.csv", SEQUENCE),
    ("joint/*.csv", JOINT),
    ("figure2/summary.csv", MODELS),
    ("figure2/*.csv", FIGURE2),
    ("curves.csv", CURVES),
    ("sequences.csv", ROWS),
    ("similar.csv", ROWS),
    ("joint.csv", ROWS),
    ("run.json", Run),
    ("stages.json", Stages),
    ("*.csv", ANYTHING),
)
"""What files hold, by patterns of their paths, of which the first that fits counts; those of none are descriptions."""


def kind_of(name: str) -> Table | type[Description]:
    """What a file below ``results/<benchmark>/`` holds, by its path there."""
    return next((kind for pattern, kind in _OF_FILES if fnmatchcase(name, pattern)), Description)


def _read(path: Path, again: str, content: Callable[[], _Content]) -> _Content:
    try:
        return content()
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: {again}") from error
    except (OSError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"{path} {reason(error)}: remove it and {again}") from error


def reason(error: Exception) -> str:
    """What is wrong with a file, as the end of a sentence that names it."""
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return text if text.startswith(("has ", "says ")) else f"cannot be read ({text})"
