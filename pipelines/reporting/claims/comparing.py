"""One condition of a claim against a benchmark's results: the rows that are compared, and the interval between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from benchmarks import metrics
from benchmarks.errors import InputError
from benchmarks.metrics import Estimate, Measures
from benchmarks.scoring import joint
from benchmarks.trade_off import TradeOff, at_success
from pipelines.reporting.claims import definitions, statistics
from pipelines.reporting.claims.definitions import BEST, MISTAKES, TOGETHER, Condition, Metric, Row
from pipelines.reporting.claims.statistics import Z_POWER, Verdict, Z
from pipelines.reporting.tables.paper import best_part
from pipelines.reporting.tables.results import CellResult, shortfall


@dataclass(frozen=True)
class Side:
    """One row in a comparison, with the paper's value of the metric and ours; ``nan`` where there is none.

    ``best``: the part of the model was chosen by tuning, and :attr:`row` names it if it was measured. ``success`` is
    the share of edits that succeeded, in percent, for what is computed from edits.
    """

    row: Row
    best: bool
    published: float
    measured: float
    success: float = math.nan


@dataclass(frozen=True)
class Comparison:
    """One line of a claim: two sides (one, where a number is held against bounds) and what the data say of them.

    ``estimate`` is the first side's value minus the second's, their ratio, or the value itself, as the condition's
    ``scale`` says. ``missing`` names what the run lacks, ``caveats`` what speaks against the verdict. ``bought``: more
    failures explain the smaller drawdown, see :func:`_bought`, so that it decides nothing.
    """

    condition: Condition
    metric: Metric
    sides: tuple[Side, ...]
    missing: tuple[str, ...] = ()
    estimate: Estimate = statistics.NOTHING
    method: str = ""
    caveats: tuple[str, ...] = ()
    bought: bool = False

    @property
    def verdict(self) -> Verdict:
        """Whether the condition holds between these sides."""
        if self.missing:
            return Verdict.NOT_MEASURED
        return Verdict.UNDECIDED if self.bought else self.condition.allowed.decide(self.estimate)

    @property
    def p_value(self) -> float:
        """See :meth:`pipelines.reporting.claims.statistics.Allowed.p_value`."""
        return 1.0 if self.missing or self.bought else self.condition.allowed.p_value(self.estimate)

    @property
    def detectable(self) -> float:
        """The difference from the bound that as many such edits decide in four of five repetitions."""
        return (self.estimate.high - self.estimate.low) / 2 * (1 + Z_POWER / Z)


@dataclass(frozen=True)
class Evidence:
    """What a run measured.

    :ivar measures: what its records say.
    :ivar mistakes: results of the same cells on realistic mistakes.
    :ivar measured: other numbers by name, such as ``cost_ratio/plain``.
    :ivar curves: the evaluated edits at several strengths, by ``training/editor/layers``.
    :ivar together: records of many edits of one network, by ``training/editor/layers``.
    """

    measures: Measures
    results: Sequence[CellResult]
    mistakes: Sequence[CellResult] = ()
    measured: Mapping[str, Estimate] = field(default_factory=dict)
    curves: Mapping[str, TradeOff] = field(default_factory=dict)
    together: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def cell(self, row: Row, metric: Metric) -> CellResult | None:
        """The result of a row, on the edits that a metric is about.

        The training may have the name that the paper gives it. Of all parts that were edited, the one that tuning
        chose, for ``best``.
        """
        results = self.mistakes if metric.source == "mistakes" else self.results
        same = [one for one in results if one.cell.editor == row.editor]
        same = [one for one in same if one.cell.training == row.training] or [
            one for one in same if one.published_training == row.training
        ]
        if row.layers == BEST:
            return best_part(same) if same else None
        return next((one for one in same if one.cell.layers == row.layers), None)


def compare(condition: Condition, metric: Metric, evidence: Evidence) -> list[Comparison]:
    """The row that is spoken of with each of the others, or alone."""
    first, *others = condition.rows
    between = {"measurement": _numbers, "joint": _together}.get(metric.source, _cells)
    return [between(condition, metric, rows, evidence) for rows in ([(first, one) for one in others] or [(first,)])]


def _numbers(condition: Condition, metric: Metric, rows: Sequence[Row], evidence: Evidence) -> Comparison:
    """Of what was measured besides edits; the first row is that, or the first of its stand-ins, which was measured."""
    asked, measured = rows[0], evidence.measured
    possible = (row for row in (asked, *condition.stand_ins) if f"{condition.metric}/{row}" in measured)
    rows = [next(possible, asked), *rows[1:]]
    keys = [f"{condition.metric}/{row}" for row in rows]
    found = [measured.get(key, statistics.NOTHING) for key in keys]
    sides = tuple(Side(row, False, math.nan, estimate.value) for row, estimate in zip(rows, found, strict=True))
    if missing := tuple(key for key in keys if key not in measured):
        return Comparison(condition, metric, sides, missing)
    instead = (f"{rows[0]}: stands in for {asked}, which this run lacks",) if rows[0] != asked else ()
    caveats = (*instead, *_caveats([cell for row in rows if (cell := evidence.cell(row, metric))]))
    if len(found) == 1:
        return Comparison(condition, metric, sides, (), found[0], "as measured", caveats)
    return Comparison(condition, metric, sides, (), statistics.independent_difference(*found), "not paired", caveats)


def _together(condition: Condition, metric: Metric, rows: Sequence[Row], evidence: Evidence) -> Comparison:
    """Of many edits of one network; beside each row stands the share of them that hold."""
    found, held = (
        [by_draw(evidence.together.get(row.cell), row, name) for row in rows]
        for name in (condition.metric, f"{TOGETHER}fixed")
    )
    shares = [math.nan if condition.metric == f"{TOGETHER}fixed" else float(values.mean()) for values in held]
    sides = tuple(
        Side(row, False, math.nan, float(values.mean()), share)
        for row, values, share in zip(rows, found, shares, strict=True)
    )
    if missing := tuple(str(row) for row, values in zip(rows, found, strict=True) if values.isna().all()):
        return Comparison(condition, metric, sides, missing)
    return Comparison(condition, metric, sides, (), *_over_draws(rows, found))


def by_draw(records: pd.DataFrame | None, row: Row, metric: str) -> pd.Series:
    """A metric of a row for each draw, in their order; empty where such edits were not made."""
    if records is None:
        return pd.Series(dtype=float)
    source, count, manner = row.edits.split("/")
    asked = (records["source"] == source) & (records["count"].astype(str) == count) & (records["manner"] == manner)
    rows = records[asked].set_index("draw").sort_index()
    return joint.measured(rows)[metric.removeprefix(TOGETHER)]


def _over_draws(rows: Sequence[Row], values: Sequence[pd.Series]) -> tuple[Estimate, str]:
    """The mean over draws of one row, or of its difference from another, with Student's interval; and how it was made.

    :raises InputError: if both rows did not meet the same edits.
    """
    first, *others = values
    for row, other in zip(rows[1:], others, strict=True):
        same = {(one.training, *one.edits.split("/")[:2]) for one in (rows[0], row)}
        random = rows[0].edits.split("/")[:2] == row.edits.split("/")[:2] and row.edits.startswith("random/")
        if not (len(same) == 1 or random) or not first.index.equals(other.index):
            raise InputError(f"{rows[0]} and {row} are not about the same edits")
        first = first - other
    first = first.dropna()  # a draw may have nothing to measure, as where no mistake is alike
    _, count, _ = rows[0].edits.split("/")
    draws = f"{len(first)} draws of {count} images; Student's t"
    return statistics.student(first.to_numpy()), f"paired, the same {draws}" if others else draws


def _cells(condition: Condition, metric: Metric, rows: Sequence[Row], evidence: Evidence) -> Comparison:
    cells = [evidence.cell(row, metric) for row in rows]
    sides = tuple(_side(row, cell, metric, condition.metric) for row, cell in zip(rows, cells, strict=True))
    if missing := tuple(str(row) for row, cell in zip(rows, cells, strict=True) if cell is None):
        return Comparison(condition, metric, sides, missing)
    known = [cell for cell in cells if cell is not None]
    name = "/".join([condition.metric, *map(str, rows)])
    if metric.source == "quality":
        return Comparison(condition, metric, sides, (), *_of_quality(known, name))
    short: tuple[str, ...] = ()
    if metric.source == "edits" and condition.metric == evidence.measures.drawdown:
        curves = tuple(evidence.curves[cell.name] for cell in known if cell.name in evidence.curves)
        if len(curves) == len(known) == 2 and curves[0].edits == curves[1].edits:
            _by_edit(known)  # refuses rows of other edits
            # Both rows just succeed as often as tuning asks, wherever each row's search ended.
            required, edits = known[0].required, curves[0].edits
            estimate = at_success(curves, required, name, np.divide if condition.scale == "ratio" else np.subtract)
            if math.isfinite(estimate.high - estimate.low):
                method = f"at {required:g} % success, read from trade-off curves of the same {edits} edits"
                return Comparison(condition, metric, sides, (), estimate, method, _caveats(known))
            short = (f"{known[0].name}: trade-off curves of so few edits do not tell where {required:g} % succeed",)
    estimate, method, matched = _of_edits(condition, known, name)
    paid = _bought(condition, sides, estimate, matched)
    caveats = (*_caveats(known), *short, *paid)
    return Comparison(condition, metric, sides, (), estimate, method, caveats, bool(paid))


def _side(row: Row, cell: CellResult | None, metric: Metric, name: str) -> Side:
    published = math.nan if metric.source == "mistakes" else definitions.published_value(row, name)
    if cell is None:
        return Side(row, row.layers == BEST, published, math.nan)
    measured = Row(*cell.cell.names.values())
    if metric.source == "quality":
        return Side(measured, row.layers == BEST, published, cell.quality.estimate.value)
    success = 100.0 * float(cell.records["succeeded"].astype(float).mean())
    values = cell.measures.per_edit(name.removeprefix(MISTAKES), cell.records)
    return Side(measured, row.layers == BEST, published, float(values.mean()), success)


def _of_quality(cells: Sequence[CellResult], name: str) -> tuple[Estimate, str]:
    first, *others = [cell.quality for cell in cells]
    if not others:
        return first.estimate, first.measured_on
    try:
        return first.difference(others[0], name)
    except ValueError as error:
        raise InputError(f"{_names(cells)} cannot be compared: {error}") from error


def _of_edits(condition: Condition, cells: Sequence[CellResult], name: str) -> tuple[Estimate, str, Estimate | None]:
    """The estimate, how it was made, and the same at equal failures where the smaller drawdown has more of them.

    Edits of which no row has a value, as where nothing lies near the edited thing, are left out.
    """
    records = _by_edit(cells)
    metric, measures = condition.metric.removeprefix(MISTAKES), cells[0].measures
    values = [measures.per_edit(metric, frame).to_numpy(dtype=float) for frame in records]
    succeeded = [frame["succeeded"].to_numpy(dtype=bool) for frame in records]
    there = ~np.isnan(values).all(axis=0)
    values, succeeded = [one[there] for one in values], [one[there] for one in succeeded]
    models = "one model" if len({cell.cell.training for cell in cells}) == 1 else "each of two models"
    edits = f"{there.sum()} edits of {models}"
    least = values
    if metric == measures.drawdown and any(map(measures.misleads, records)):
        least = [measures.least(frame).to_numpy(dtype=float)[there] for frame in records]
        edits = f"{edits}; as wide as samples of the control set leave small drawdowns open"
    if len(values) == 1:
        found = metrics.mean(values[0], name)
        return replace(found, low=min(found.low, metrics.mean(least[0], name).low)), edits, None
    compute = statistics.paired_ratio if condition.scale == "ratio" else statistics.paired_difference
    found = compute(*values, name)
    if least is not values:
        low, high = compute(least[0], values[1], name).low, compute(values[0], least[1], name).high
        found = replace(found, low=min(low, found.low), high=max(high, found.high))
    equal = statistics.at_equal_failures(values, succeeded) if metric == measures.drawdown else None
    return found, f"paired, the same {edits}", compute(*equal, name) if equal else None


def _by_edit(cells: Sequence[CellResult]) -> list[pd.DataFrame]:
    """The records of each row, in the order of edits.

    :raises InputError: if not all rows met the same edits.
    """
    records = [cell.records.sort_values("edit", kind="stable").reset_index(drop=True) for cell in cells]
    asked = [frame[list(cell.measures.asked)] for frame, cell in zip(records, cells, strict=True)]
    if not all(frame.equals(asked[0]) for frame in asked):
        raise InputError(f"{_names(cells)} were not measured on the same edits: evaluate them again")
    return records


def _caveats(cells: Sequence[CellResult]) -> tuple[str, ...]:
    """The rows that clearly miss the required success: failures leave a model nearly as it was, so they look local."""
    return tuple(f"{cell.name}: {reason}" for cell in cells if (reason := shortfall(cell)))


def _bought(
    condition: Condition, sides: Sequence[Side], estimate: Estimate, matched: Estimate | None
) -> tuple[str, ...]:
    """Why a comparison of drawdowns decides nothing: at equal failures its verdict is another one.

    :param matched: the estimate of ``statistics.at_equal_failures``; None if the row with the smaller
        drawdown failed no more often.
    """
    allowed = condition.allowed
    if matched is None or allowed.decide(matched) is allowed.decide(estimate):
        return ()
    smaller, other = sorted(sides, key=lambda side: side.measured)
    return (
        f"{smaller.row} has the smaller drawdown, and more failures ({smaller.success:.1f} % success, the other has "
        f"{other.success:.1f} %). Had as many of the other's costliest edits failed without harm, it would be "
        f"{matched.value:.2f} [{matched.low:.2f}, {matched.high:.2f}]: undecided",
    )


def _names(cells: Sequence[CellResult]) -> str:
    return " and ".join(cell.name for cell in cells)
