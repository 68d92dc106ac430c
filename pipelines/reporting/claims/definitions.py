"""The paper's claims as data: what each says, and the comparisons that decide it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field, ValidationError, model_validator

from benchmarks.errors import InputError
from pipelines.config import yaml_files
from pipelines.config.trainings import Name, Strict
from pipelines.reporting.claims.verdicts import Allowed
from pipelines.reporting.tables import published

FILE = published.DIRECTORY / "claims.yaml"
BEST = "best"
"""In place of a part of the model: the one where tuning found the smallest drawdown."""


@dataclass(frozen=True)
class Metric:
    """A number that claims speak of: its words, the unit of a difference, decimals, and what it is computed from."""

    label: str
    unit: str
    digits: int
    source: Literal["edits", "mistakes", "test images", "test sentences", "measurement"]


METRICS = {
    "drawdown": Metric("drawdown", "points", 2, "edits"),
    "mistakes_drawdown": Metric("drawdown on mistakes", "points", 2, "mistakes"),
    "num_steps": Metric("gradient steps", "steps", 2, "edits"),
    "test_error": Metric("test error", "points", 2, "test images"),
    "bleu_drawdown": Metric("BLEU drawdown", "points", 2, "edits"),
    "bleu": Metric("BLEU", "points", 2, "test sentences"),
    "cost_ratio": Metric("time of a training step", "plain steps", 2, "measurement"),
    "own_excess": Metric("drawdown on the edited image's class minus that on others", "points", 2, "measurement"),
    **{
        f"components_{share}": Metric(f"SVD components for {share} % of variance", "components", 1, "measurement")
        for share in (50, 80, 90, 95)
    },
}


TABLE6 = ("bleu_drawdown", "bleu")
"""The metrics that translators alone have."""
EDITED = ("edits", "mistakes")
"""Sources of metrics that are means over edits, test images to random targets and mistakes to their true classes."""


@dataclass(frozen=True)
class Row:
    """A row of the leaderboard, or a training alone (``editor`` and ``layers`` empty), or a row of Table 6.

    :ivar lr: the editor's learning rate, where rows of one table differ in it; else empty.
    """

    training: str
    editor: str = ""
    layers: str = ""
    lr: str = ""

    @classmethod
    def parse(cls, text: str) -> Row:
        """:raises InputError: for anything but ``training/editor/layers``, with a learning rate or not, or
        ``training``.
        """
        parts = text.split("/")
        if len(parts) not in (1, 3, 4) or not all(parts):
            raise InputError(f"a row is training/editor/layers[/learning rate], or a training alone, not {text!r}")
        return cls(*parts)

    def __str__(self) -> str:
        return "/".join(part for part in (self.training, self.editor, self.layers, self.lr) if part)


class Condition(Strict):
    """One thing that must hold: how ``metric`` of one row stands to that of each row of ``than``, or to a bound.

    ``within``, ``by_more_than``, ``above`` and ``below`` are in the metric's unit, ``within_percent`` in percent of
    the other row's value. ``published`` is what the paper prints of a metric that its tables do not have. The first of
    ``or_of`` that was measured stands in for ``of`` where that was not.
    """

    rule: Literal["smaller", "larger", "not_larger", "equivalent", "between"]
    metric: str
    of: str
    or_of: list[str] = Field(default_factory=list)
    than: list[str] = Field(default_factory=list)
    by_more_than: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    within: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    within_percent: float | None = Field(default=None, gt=0, lt=100, allow_inf_nan=False)
    above: float | None = Field(default=None, allow_inf_nan=False)
    below: float | None = Field(default=None, allow_inf_nan=False)
    reason: str | None = None
    published: str | None = None

    @property
    def rows(self) -> list[Row]:
        """The row that is spoken of, then those it is compared with."""
        return [Row.parse(text) for text in (self.of, *self.than)]

    @property
    def stand_ins(self) -> list[Row]:
        """The rows that may take the place of the one that is spoken of."""
        return [Row.parse(text) for text in self.or_of]

    @property
    def scale(self) -> Literal["difference", "ratio", "value"]:
        """What :attr:`allowed` is about."""
        if self.rule == "between":
            return "value"
        return "difference" if self.within_percent is None else "ratio"

    @property
    def allowed(self) -> Allowed:
        """Where the value, or its difference from the other row's, or the ratio of both, must lie."""
        if self.rule == "between":
            low, high = self.above, self.below
            return Allowed(-math.inf if low is None else low, math.inf if high is None else high)
        if self.rule == "smaller":
            return Allowed(high=0.0 - self.by_more_than)
        if self.rule == "larger":
            return Allowed(low=self.by_more_than)
        if self.within_percent is not None:
            factor = 1 + self.within_percent / 100
            return Allowed(low=1 / factor if self.rule == "equivalent" else -math.inf, high=factor)
        return Allowed(low=-self.within if self.rule == "equivalent" else -math.inf, high=self.within)

    @model_validator(mode="after")
    def _consistent(self) -> Condition:
        if self.metric not in METRICS:
            raise InputError(f"unknown metric {self.metric!r}; there are: {', '.join(METRICS)}")
        self._check_keys()
        self._check_bounds()
        if self.or_of and METRICS[self.metric].source != "measurement":
            raise InputError(f"'or_of' is for what was measured besides edits, not for {self.metric}")
        for row in (*self.rows, *self.stand_ins):
            if (row.editor == "") != (self.metric == "cost_ratio"):
                wanted = "a training alone" if self.metric == "cost_ratio" else "training/editor/layers"
                raise InputError(f"{self.metric} is that of {wanted}, not of {str(row)!r}")
            if (row.lr == "") != (self.metric not in TABLE6) and self.metric != "num_steps":
                wanted = "a row with" if self.metric in TABLE6 else "a row without"
                raise InputError(f"{self.metric} is that of {wanted} a learning rate, not of {str(row)!r}")
        measured = METRICS[self.metric].source in ("measurement", "mistakes")
        if measured and self.published is None:
            raise InputError(f"'published' must say what the paper shows of {self.metric}")
        if not measured and self.published is not None:
            raise InputError(f"{self.metric} is looked up in the paper's tables: remove 'published'")
        return self

    def _check_keys(self) -> None:
        for key in sorted(self.model_fields_set - {"rule", "metric", "of", "or_of", "published"} - _TAKES[self.rule]):
            raise InputError(f"rule {self.rule} takes no {key!r}")
        if "than" in _TAKES[self.rule] and not self.than:
            raise InputError(f"rule {self.rule} needs 'than', the rows to compare with")

    def _check_bounds(self) -> None:
        possible = sorted(_TAKES[self.rule] & {"within", "within_percent", "above", "below"})
        given = [key for key in possible if getattr(self, key) is not None]
        if possible and not given:
            raise InputError(f"rule {self.rule} needs {' or '.join(map(repr, possible))}")
        if given and not self.reason:
            raise InputError(f"rule {self.rule} needs a 'reason' for its bound")
        if self.within is not None and self.within_percent is not None:
            raise InputError("'within' and 'within_percent' exclude each other")
        if self.within_percent is not None and METRICS[self.metric].source not in EDITED:
            raise InputError(f"'within_percent' needs pairs of edits, {self.metric} has none: use 'within'")
        if self.above is not None and self.below is not None and self.above >= self.below:
            raise InputError(f"'above' ({self.above:g}) must be smaller than 'below' ({self.below:g})")


_TAKES = {
    "smaller": {"than", "by_more_than"},
    "larger": {"than", "by_more_than"},
    "not_larger": {"than", "within", "within_percent", "reason"},
    "equivalent": {"than", "within", "within_percent", "reason"},
    "between": {"above", "below", "reason"},
}
"""The keys of a condition that each rule takes, besides those that all take."""


class Claim(Strict):
    """A sentence of the paper in our words, where it stands, and its conditions, all of which must hold."""

    says: str
    source: str
    quote: str | None = None
    remark: str | None = None
    conditions: list[Condition] = Field(min_length=1)

    @property
    def trainings(self) -> set[str]:
        """Those that it speaks of."""
        return {row.training for condition in self.conditions for row in (*condition.rows, *condition.stand_ins)}


class _File(Strict):
    claims: dict[Name, Claim] = Field(min_length=1)


class Paper:
    """The numbers of Tables 1 to 4 and 6 by row."""

    def value(self, row: Row, metric: str) -> float:
        """The published value, ``nan`` where the row has none.

        :raises InputError: for a row that is in none of the tables.
        """
        table = self._best if row.layers == BEST else self._translation if row.lr else self._named
        chosen = table[table["training"] == row.training]
        if row.editor:
            chosen = chosen[chosen["editor"] == row.editor]
        if row.editor and row.layers != BEST:
            chosen = chosen[chosen["layers"] == published.PAPERS_PARTS.get(row.layers, row.layers)]
        if row.lr:
            chosen = chosen[[f"{value:g}" == row.lr for value in chosen["lr"]]]
        if chosen.empty:
            raise InputError(f"the paper has no row {str(row)!r} in {'Table 6' if row.lr else 'Tables 1 to 4'}")
        return float(chosen[metric].iloc[0]) if row.editor and metric in chosen else math.nan

    @cached_property
    def _best(self) -> pd.DataFrame:
        return published.load("table1")

    @cached_property
    def _translation(self) -> pd.DataFrame:
        return published.load("table6")

    @cached_property
    def _named(self) -> pd.DataFrame:
        tables = [published.load("table3"), published.load("table2"), published.table4()]
        return pd.concat(tables, ignore_index=True)


def load(path: Path = FILE) -> dict[str, Claim]:
    """The claims of a file by name, in its order.

    :raises InputError: one sentence that names the file, the claim and what is wrong with it; also for a row that the
        paper's tables do not have.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: it comes with the repository")
    try:
        claims = _File.model_validate(yaml_files.read(path)).claims
    except ValidationError as error:
        raise InputError(f"{path}: {yaml_files.sentence(error, _File)}") from error
    paper = Paper()
    for name, claim in claims.items():
        # The numbers of Table 5 are in a picture: there is nothing to look up.
        looked_up = [one for one in claim.conditions if METRICS[one.metric].source != "mistakes"]
        for row in (row for one in looked_up for row in (*one.rows, *one.stand_ins)):
            try:
                paper.value(row, "drawdown")
            except InputError as error:
                raise InputError(f"{path}: claims.{name}: {error}") from error
    return claims
