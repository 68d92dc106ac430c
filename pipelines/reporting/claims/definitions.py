"""Claims as data: what each says, and the comparisons that decide it.

The paper's claims stand in files beside its tables, a file for each kind of task; our own in results/claims.yaml, each
with the benchmarks that it is about. A row is ``training/editor/layers``, as in any table; one of many edits together
goes on with what is edited, how many, and how they are made: ``…/random/25/jointly``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field, model_validator

from benchmarks.errors import InputError, check_known
from benchmarks.metrics import Measures
from pipelines.config import params
from pipelines.config.blocks import Name, Strict
from pipelines.reporting.claims.statistics import Allowed
from pipelines.reporting.tables import paper
from pipelines.reporting.tables.results import PAPERS_PARTS
from pipelines.store.schemas import VARIANCES

OURS = paper.DIRECTORY.parent / "claims.yaml"
"""Claims that this suite makes, of which the paper knows nothing."""
BEST = "best"
"""In place of a part of the model: the one where tuning found the smallest drawdown."""
MISTAKES = "mistakes_"
"""Begins the names of metrics of edits of realistic mistakes."""
TOGETHER = "joint_"
"""Begins the names of metrics of many edits of one network, see :func:`benchmarks.scoring.joint.measured`."""


@dataclass(frozen=True)
class Metric:
    """A number that claims speak of: its words, the unit of a difference, decimals, and what it is computed from."""

    label: str
    unit: str
    digits: int
    source: Literal["edits", "mistakes", "quality", "measurement", "joint"]


MEASURED = {
    "cost_ratio": Metric("time of a training step", "plain steps", 2, "measurement"),
    "own_excess": Metric("drawdown on the edited image's class minus that on others", "points", 2, "measurement"),
    **{
        f"components_{share}": Metric(f"SVD components for {share} % of variance", "components", 1, "measurement")
        for share in VARIANCES
    },
}
"""What is measured besides edits."""
OF_MANY = {
    f"{TOGETHER}fixed": Metric("share of many edits that hold in the end", "points", 1, "joint"),
    f"{TOGETHER}drawdown_signed": Metric("error after − before, of many edits", "points", 2, "joint"),
    f"{TOGETHER}at_own_error": Metric("error after − before at the network's own error, at most", "points", 2, "joint"),
    f"{TOGETHER}generality": Metric("generality of many edits", "points", 1, "joint"),
    f"{TOGETHER}alike": Metric("unedited mistakes of the kind that are mended", "points", 1, "joint"),
}
"""What is measured of many edits of one network."""


def metrics_of(measures: Measures) -> dict[str, Metric]:
    """All numbers of one kind of task that claims may speak of: its measures, of mistakes too, its models' quality,
    :data:`OF_MANY` and :data:`MEASURED`.
    """
    found = {}
    for name, column in measures.columns.items():
        source = "quality" if name == measures.quality else "edits"
        words = column.label if column.label[1:2].isupper() else column.label[0].lower() + column.label[1:]
        found[name] = Metric(words, "points" if column.unit == "%" else column.unit, column.digits, source)
    mistakes = {
        f"{MISTAKES}{name}": Metric(f"{one.label} on mistakes", one.unit, one.digits, "mistakes")
        for name, one in found.items()
        if one.source == "edits"
    }
    return found | mistakes | OF_MANY | MEASURED


@dataclass(frozen=True)
class Row:
    """A row of a table, or a training alone (``editor`` and ``layers`` empty).

    :ivar edits: of many edits together, ``source/count/manner``.
    """

    training: str
    editor: str = ""
    layers: str = ""
    edits: str = ""

    @classmethod
    def parse(cls, text: str) -> Row:
        """:raises InputError: for anything but ``training/editor/layers``, with ``/source/count/manner`` or without, or
        ``training``.
        """
        parts = text.split("/")
        if len(parts) not in (1, 3, 6) or not all(parts):
            raise InputError(
                "a row is training/editor/layers, for many edits together with /source/count/manner, or a training "
                f"alone, not {text!r}"
            )
        return cls(*parts[:3], "/".join(parts[3:]))

    @property
    def cell(self) -> str:
        """``training/editor/layers``."""
        return "/".join(part for part in (self.training, self.editor, self.layers) if part)

    def __str__(self) -> str:
        return "/".join(part for part in (self.cell, self.edits) if part)


_OF = {
    1: "a training alone",
    3: "single edits: training/editor/layers",
    6: "many edits together: training/editor/layers/source/count/manner",
}
"""What a row of so many parts names."""


class Condition(Strict):
    """One thing that must hold: how ``metric`` of one row stands to that of each row of ``than``, or to a bound.

    ``within``, ``by_more_than``, ``above`` and ``below`` are in the metric's unit, ``within_percent`` in percent of
    the other row's value; ``times`` is the share of that value below which the first must lie. ``published`` is what
    the paper prints of a metric that its tables do not have. The first of ``or_of`` that was measured stands in for
    ``of`` where that was not.
    """

    rule: Literal["smaller", "larger", "not_larger", "equivalent", "between"]
    metric: str
    of: str
    or_of: list[str] = Field(default_factory=list)
    than: list[str] = Field(default_factory=list)
    by_more_than: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    times: float | None = Field(default=None, gt=0, lt=1)
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
        return "difference" if self.within_percent is None and self.times is None else "ratio"

    @property
    def allowed(self) -> Allowed:
        """Where the value, or its difference from the other row's, or the ratio of both, must lie."""
        if self.rule == "between":
            low, high = self.above, self.below
            return Allowed(-math.inf if low is None else low, math.inf if high is None else high)
        if self.rule == "smaller":
            return Allowed(high=0.0 - self.by_more_than if self.times is None else self.times)
        if self.rule == "larger":
            return Allowed(low=self.by_more_than)
        if self.within_percent is not None:
            factor = 1 + self.within_percent / 100
            return Allowed(low=1 / factor if self.rule == "equivalent" else -math.inf, high=factor)
        return Allowed(low=-self.within if self.rule == "equivalent" else -math.inf, high=self.within)

    def check(self, metrics: Mapping[str, Metric], of_paper: bool) -> None:
        """That the metric is one of those there are, and that the rows are such as have it.

        :raises InputError: if not.
        """
        check_known("metric", self.metric, metrics, "there are")
        metric = metrics[self.metric]
        if self.or_of and metric.source != "measurement":
            raise InputError(f"'or_of' is for what was measured besides edits, not for {self.metric}")
        for key, instead in (("within_percent", "within"), ("times", "by_more_than")):
            if getattr(self, key) is not None and metric.source not in ("edits", "mistakes"):
                raise InputError(f"{key!r} needs pairs of edits, {self.metric} has none: use {instead!r}")
        parts = 1 if self.metric == "cost_ratio" else 6 if metric.source == "joint" else 3
        for row in (*self.rows, *self.stand_ins):
            if len(str(row).split("/")) != parts:
                raise InputError(f"{self.metric} is that of {_OF[parts]}, not of {str(row)!r}")
        looked_up = metric.source in ("edits", "quality")
        if of_paper and not looked_up and self.published is None:
            raise InputError(f"'published' must say what the paper shows of {self.metric}")
        if looked_up and self.published is not None:
            raise InputError(f"{self.metric} is looked up in the paper's tables: remove 'published'")
        if of_paper:  # the numbers of Table 5, of mistakes, are in a picture: there is nothing to look up
            for row in (row for row in (*self.rows, *self.stand_ins) if metric.source != "mistakes"):
                if in_paper(row).empty:
                    raise InputError(f"the paper has no row {str(row)!r} in its tables")

    @model_validator(mode="after")
    def _consistent(self) -> Condition:
        for key in sorted(self.model_fields_set - {"rule", "metric", "of", "or_of", "published"} - _TAKES[self.rule]):
            raise InputError(f"rule {self.rule} takes no {key!r}")
        if "than" in _TAKES[self.rule] and not self.than:
            raise InputError(f"rule {self.rule} needs 'than', the rows to compare with")
        possible = sorted(_TAKES[self.rule] & {"within", "within_percent", "above", "below"})
        given = [key for key in possible if getattr(self, key) is not None]
        if possible and not given:
            raise InputError(f"rule {self.rule} needs {' or '.join(map(repr, possible))}")
        if given and not self.reason:
            raise InputError(f"rule {self.rule} needs a 'reason' for its bound")
        if self.within is not None and self.within_percent is not None:
            raise InputError("'within' and 'within_percent' exclude each other")
        if self.times is not None and self.by_more_than:
            raise InputError("'times' and 'by_more_than' exclude each other")
        if self.above is not None and self.below is not None and self.above >= self.below:
            raise InputError(f"'above' ({self.above:g}) must be smaller than 'below' ({self.below:g})")
        for text in (self.of, *self.than, *self.or_of):
            Row.parse(text)
        return self


_TAKES = {
    "smaller": {"than", "by_more_than", "times"},
    "larger": {"than", "by_more_than"},
    "not_larger": {"than", "within", "within_percent", "reason"},
    "equivalent": {"than", "within", "within_percent", "reason"},
    "between": {"above", "below", "reason"},
}
"""The keys of a condition that each rule takes, besides those that all take."""


class Claim(Strict):
    """A statement, and its conditions, all of which must hold.

    One of the paper's says in our words what stands at ``source``; one of ours names the ``benchmarks`` it is about.
    """

    says: str
    source: str | None = None
    quote: str | None = None
    remark: str | None = None
    benchmarks: list[Name] = Field(default_factory=list)
    conditions: list[Condition] = Field(min_length=1)

    @property
    def trainings(self) -> set[str]:
        """Those that it speaks of."""
        return {row.training for condition in self.conditions for row in (*condition.rows, *condition.stand_ins)}

    @model_validator(mode="after")
    def _of_somebody(self) -> Claim:
        if (self.source is None) == (not self.benchmarks):
            raise InputError("a claim has either a 'source' in the paper, or 'benchmarks' of ours")
        return self


class _File(Strict):
    claims: dict[Name, Claim] = Field(min_length=1)


def in_paper(row: Row) -> pd.DataFrame:
    """The paper's rows of that name, or of that training: one or none, for a whole name."""
    table = _paper(row.layers == BEST)
    found = table[table["training"] == row.training]
    if row.editor:
        found = found[found["editor"] == row.editor]
    if row.editor and row.layers != BEST:
        found = found[found["layers"] == PAPERS_PARTS.get(row.layers, row.layers)]
    return found


@cache
def _paper(best: bool) -> pd.DataFrame:
    """All rows with the names that they have here; those of Table 1, which name no part, for the ``best`` one."""
    numbers = (1,) if best else (3, 2, 4, 6)
    return pd.concat([paper.named(f"table{number}") for number in numbers], ignore_index=True)


def published_value(row: Row, metric: str) -> float:
    """What the paper prints of a metric of a row, ``nan`` where it prints nothing."""
    found = in_paper(row)
    return float(found[metric].iloc[0]) if row.editor and metric in found and len(found) else math.nan


def load(path: Path) -> dict[str, Claim]:
    """The claims of a file by name, in its order.

    :raises InputError: naming the file, the claim and what is wrong with it.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: it comes with the repository")
    return params.validated(_File, params.read_yaml(path), path).claims


def check(path: Path, claims: Mapping[str, Claim], measures: Measures) -> None:
    """That one kind of task has what these claims speak of, and the paper the rows of its own.

    :param path: where they stand.
    :raises InputError: naming the file, the claim and what is wrong with it.
    """
    metrics = metrics_of(measures)
    for name, claim in claims.items():
        for condition in claim.conditions:
            try:
                condition.check(metrics, of_paper=claim.source is not None)
            except InputError as error:
                raise InputError(f"{path}: claims.{name}: {error}") from error


def about(benchmark: str, trainings: set[str], path: Path | None, measures: Measures) -> dict[str, Claim]:
    """The claims on a benchmark: the paper's about any of its trainings, then our own; all of the paper's, if neither.

    :param trainings: the names of the benchmark's, ours and the paper's.
    :param path: the file of the paper's claims about this kind of task; None for none.
    :raises InputError: see :func:`load` and :func:`check`.
    """
    papers, ours = load(path) if path else {}, load(OURS)
    check(path, papers, measures)
    spoken = {name: claim for name, claim in papers.items() if claim.trainings & trainings}
    mine = {name: claim for name, claim in ours.items() if benchmark in claim.benchmarks}
    check(OURS, mine, measures)
    if twice := spoken.keys() & mine.keys():
        raise InputError(f"{OURS}: claims.{min(twice)}: the paper's claims in {path} have one of that name")
    return spoken | mine or papers
