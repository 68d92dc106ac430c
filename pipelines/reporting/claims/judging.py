"""The paper's claims against a benchmark's results: every comparison with its interval, and a verdict on each claim."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from benchmarks import metrics
from benchmarks.errors import InputError
from benchmarks.metrics import Estimate
from pipelines.reporting.claims.definitions import BEST, METRICS, Claim, Condition, Paper, Row
from pipelines.reporting.claims.equal_failures import at_equal_failures
from pipelines.reporting.claims.verdicts import (
    Verdict,
    combine,
    independent_difference,
    paired_difference,
    paired_ratio,
)
from pipelines.reporting.tables.leaderboard import CellResult, best_part, shortfall

_PER_EDIT: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "drawdown": metrics.drawdown,
    "mistakes_drawdown": metrics.drawdown,
    "num_steps": lambda records: records["steps"],
}
_NOTHING = Estimate(math.nan, math.nan, math.nan)


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
    failures explain the smaller drawdown, see :func:`bought`, so that it decides nothing.
    """

    condition: Condition
    sides: tuple[Side, ...]
    missing: tuple[str, ...] = ()
    estimate: Estimate = _NOTHING
    method: str = ""
    caveats: tuple[str, ...] = ()
    bought: bool = False

    @property
    def verdict(self) -> Verdict:
        """Whether the condition holds between these sides."""
        if self.missing:
            return Verdict.NOT_MEASURED
        return Verdict.UNDECIDED if self.bought else self.condition.allowed.decide(self.estimate)


@dataclass(frozen=True)
class Judged:
    """A claim with its comparisons and the verdict that follows from them."""

    name: str
    claim: Claim
    comparisons: tuple[Comparison, ...]

    @cached_property
    def verdict(self) -> Verdict:
        """See :func:`pipelines.reporting.claims.verdicts.combine`."""
        return combine(comparison.verdict for comparison in self.comparisons)


def judge(
    claims: Mapping[str, Claim],
    results: Sequence[CellResult],
    measurements: Mapping[str, Estimate],
    mistakes: Sequence[CellResult] = (),
) -> list[Judged]:
    """Every claim, in the order given.

    :param measurements: estimates by name, see :func:`pipelines.reporting.claims.measurements.read`.
    :param mistakes: results of the same cells on realistic mistakes.
    :raises InputError: for rows that should be compared but were not measured on the same edits or test images.
    """
    evidence = _Evidence(results, measurements, mistakes)
    return [
        Judged(name, claim, tuple(line for condition in claim.conditions for line in _compare(condition, evidence)))
        for name, claim in claims.items()
    ]


def table(judged: Iterable[Judged]) -> pd.DataFrame:
    """One row per comparison, for ``claims.csv``."""
    return pd.DataFrame([_line(claim, comparison) for claim in judged for comparison in claim.comparisons])


def count(verdicts: Iterable[str]) -> str:
    """How many claims have each verdict, such as ``5 hold, 2 do not hold, 1 is undecided, 4 were not measured``."""
    found = Counter(Verdict(verdict) for verdict in verdicts)
    words = {
        Verdict.HOLDS: ("holds", "hold"),
        Verdict.FAILS: ("does not hold", "do not hold"),
        Verdict.UNDECIDED: ("is undecided", "are undecided"),
        Verdict.NOT_MEASURED: ("was not measured", "were not measured"),
    }
    return ", ".join(f"{found[kind]} {one if found[kind] == 1 else many}" for kind, (one, many) in words.items())


class _Evidence:
    """What a run measured, by row, and what the paper printed."""

    def __init__(
        self, results: Sequence[CellResult], measurements: Mapping[str, Estimate], mistakes: Sequence[CellResult]
    ) -> None:
        self._results = results
        self._mistakes = mistakes
        self.measurements = measurements
        self.paper = Paper()

    def cell(self, row: Row, metric: str) -> CellResult | None:
        """The records of a row, of the edits that a metric is about.

        Of all parts that were edited, those of the one that tuning chose, for ``best``.
        """
        results = self._mistakes if METRICS[metric].source == "mistakes" else self._results
        same = [cell for cell in results if (cell.cell.training, cell.cell.editor) == (row.training, row.editor)]
        if row.layers == BEST:
            return best_part(same) if same else None
        return next((cell for cell in same if cell.cell.layers == row.layers), None)


def _compare(condition: Condition, evidence: _Evidence) -> list[Comparison]:
    """The row that is spoken of with each of the others, or alone."""
    first, *others = condition.rows
    compare = _numbers if METRICS[condition.metric].source == "measurement" else _cells
    return [compare(condition, rows, evidence) for rows in ([(first, other) for other in others] or [(first,)])]


def _numbers(condition: Condition, rows: Sequence[Row], evidence: _Evidence) -> Comparison:
    asked, rows = rows[0], [_measured_row(condition, rows[0], evidence), *rows[1:]]
    keys = [f"{condition.metric}/{row}" for row in rows]
    found = [evidence.measurements.get(key, _NOTHING) for key in keys]
    sides = tuple(
        Side(row, False, evidence.paper.value(row, condition.metric), estimate.value)
        for row, estimate in zip(rows, found, strict=True)
    )
    if missing := tuple(key for key in keys if key not in evidence.measurements):
        return Comparison(condition, sides, missing)
    cells = [cell for row in rows if (cell := evidence.cell(row, condition.metric))]
    instead = (f"{rows[0]}: stands in for {asked}, which this run lacks",) if rows[0] != asked else ()
    return Comparison(condition, sides, (), *_independent(found), (*instead, *_caveats(cells)))


def _measured_row(condition: Condition, row: Row, evidence: _Evidence) -> Row:
    """The row, or the first of its stand-ins that was measured if it was not itself."""
    measured = (one for one in (row, *condition.stand_ins) if f"{condition.metric}/{one}" in evidence.measurements)
    return next(measured, row)


def _cells(condition: Condition, rows: Sequence[Row], evidence: _Evidence) -> Comparison:
    cells = [evidence.cell(row, condition.metric) for row in rows]
    in_picture = METRICS[condition.metric].source == "mistakes"
    sides = tuple(
        _side(row, math.nan if in_picture else evidence.paper.value(row, condition.metric), cell, condition.metric)
        for row, cell in zip(rows, cells, strict=True)
    )
    if missing := tuple(str(row) for row, cell in zip(rows, cells, strict=True) if cell is None):
        return Comparison(condition, sides, missing)
    known = [cell for cell in cells if cell is not None]
    if METRICS[condition.metric].source == "test images":
        return Comparison(condition, sides, (), *_of_test_images(known))
    estimate, method, matched = _of_edits(condition, known, rows)
    paid = bought(condition, sides, estimate, matched)
    return Comparison(condition, sides, (), estimate, method, (*_caveats(known), *paid), bool(paid))


def _side(row: Row, published: float, cell: CellResult | None, metric: str) -> Side:
    if cell is None:
        return Side(row, row.layers == BEST, published, math.nan)
    measured = Row(cell.cell.training, cell.cell.editor, cell.cell.layers)
    if METRICS[metric].source == "test images":
        return Side(measured, row.layers == BEST, published, cell.test_error.value)
    success = 100.0 * float(cell.records["succeeded"].astype(float).mean())
    return Side(measured, row.layers == BEST, published, float(_PER_EDIT[metric](cell.records).mean()), success)


def _of_test_images(cells: Sequence[CellResult]) -> tuple[Estimate, str]:
    counts = [cell.description["test_images"] for cell in cells]
    if len(set(counts)) > 1:
        raise InputError(f"{_names(cells)} were measured on different test images ({counts[0]} and {counts[1]})")
    if len(cells) == 1:
        return cells[0].test_error, f"{counts[0]} test images"
    first, second = (cell.wrong for cell in cells)
    change = metrics.paired_change(len(first - second), len(second - first), counts[0])
    return change, f"paired, the same {counts[0]} test images"


def _of_edits(
    condition: Condition, cells: Sequence[CellResult], rows: Sequence[Row]
) -> tuple[Estimate, str, Estimate | None]:
    """The estimate, how it was made, and the same at equal failures where the smaller drawdown has more of them."""
    records = [cell.records.sort_values("edit", kind="stable").reset_index(drop=True) for cell in cells]
    asked = [frame[["edit", "image", "target"]] for frame in records]
    if not all(frame.equals(asked[0]) for frame in asked):
        raise InputError(f"{_names(cells)} were not measured on the same edits: evaluate them again")
    name = "/".join([condition.metric, *map(str, rows)])
    values = [_PER_EDIT[condition.metric](frame).to_numpy(dtype=float) for frame in records]
    edits = f"{len(records[0])} edits of {'one model' if _one_training(cells) else 'each of two models'}"
    if len(values) == 1:
        return metrics.mean(values[0], name), edits, None
    compute = paired_ratio if condition.scale == "ratio" else paired_difference
    estimate, method = compute(*values, name), f"paired, the same {edits}"
    succeeded = [frame["succeeded"].to_numpy(dtype=bool) for frame in records]
    equal = at_equal_failures(values, succeeded) if condition.metric.endswith("drawdown") else None
    return estimate, method, compute(*equal, name) if equal else None


def _caveats(cells: Sequence[CellResult]) -> tuple[str, ...]:
    """The rows that clearly miss the required success: failures leave a model nearly as it was, so they look local."""
    return tuple(f"{_name(cell)}: {reason}" for cell in cells if (reason := shortfall(cell)))


def bought(
    condition: Condition, sides: Sequence[Side], estimate: Estimate, matched: Estimate | None
) -> tuple[str, ...]:
    """Why a comparison of drawdowns decides nothing: at equal failures its verdict is another one.

    :param matched: the estimate at equal failures, see :mod:`pipelines.reporting.claims.equal_failures`; None if the
        row with the smaller drawdown failed no more often.
    """
    allowed = condition.allowed
    if matched is None or allowed.decide(matched) is allowed.decide(estimate):
        return ()
    smaller, other = sorted(sides, key=lambda side: side.measured)
    return (
        f"{smaller.row}: its smaller drawdown comes with more failures ({smaller.success:.1f} % success, the other has "
        f"{other.success:.1f} %). Had as many of the other's costliest edits failed without harm, it would be "
        f"{matched.value:.2f} [{matched.low:.2f}, {matched.high:.2f}]: undecided",
    )


def _independent(estimates: Sequence[Estimate]) -> tuple[Estimate, str]:
    if len(estimates) == 1:
        return estimates[0], "as measured"
    return independent_difference(*estimates), "not paired"


def _one_training(cells: Sequence[CellResult]) -> bool:
    return len({cell.cell.training for cell in cells}) == 1


def _name(cell: CellResult) -> str:
    return f"{cell.cell.training}/{cell.cell.editor}/{cell.cell.layers}"


def _names(cells: Sequence[CellResult]) -> str:
    return " and ".join(_name(cell) for cell in cells)


def _line(judged: Judged, comparison: Comparison) -> dict[str, object]:
    condition, estimate, allowed = comparison.condition, comparison.estimate, comparison.condition.allowed
    sides = {"of": comparison.sides[0], "than": comparison.sides[1] if len(comparison.sides) > 1 else None}
    line: dict[str, object] = {
        "claim": judged.name,
        "claim_verdict": str(judged.verdict),
        "says": judged.claim.says,
        "source": judged.claim.source,
        "verdict": str(comparison.verdict),
        "metric": condition.metric,
        "rule": condition.rule,
    }
    for which, side in sides.items():
        line[which] = str(side.row) if side else ""
    line["published"] = condition.published or ""
    for value in ("published", "measured", "success"):
        for which, side in sides.items():
            line[f"{value}_{which}"] = getattr(side, value) if side else math.nan
    return line | {
        "scale": condition.scale,
        "estimate": estimate.value,
        "estimate_low": estimate.low,
        "estimate_high": estimate.high,
        "allowed_above": allowed.low if math.isfinite(allowed.low) else math.nan,
        "allowed_below": allowed.high if math.isfinite(allowed.high) else math.nan,
        "method": comparison.method,
        "missing": "; ".join(comparison.missing),
        "caveats": "; ".join(comparison.caveats),
    }
