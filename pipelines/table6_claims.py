"""The paper's claims about translation against the rows of Table 6, judged as those about classifiers are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from benchmarks.errors import InputError
from benchmarks.metrics import Estimate, share
from benchmarks.translation import bleu
from benchmarks.translation.metrics import bleu_drawdown
from pipelines.reporting.claims.definitions import Claim, Condition, Paper, Row
from pipelines.reporting.claims.equal_failures import at_equal_failures
from pipelines.reporting.claims.judging import Comparison, Judged, Side, bought
from pipelines.reporting.claims.verdicts import paired_difference
from pipelines.reporting.tables import published
from pipelines.reporting.tables.markdown import REQUIRED_SUCCESS
from pipelines.table6 import RowResult, published_name
from pipelines.translation_settings import TranslationSettings

FILE = published.DIRECTORY / "table6_claims.yaml"
SCOPE = (
    "Each verdict is one on this benchmark, with one trained model per training and the learning rates of the paper: "
    "another seed may decide otherwise, and the intervals say nothing of that."
)
_PER_EDIT = {"bleu_drawdown": bleu_drawdown, "num_steps": lambda records: records["steps"]}


def judge(claims: Mapping[str, Claim], chosen: TranslationSettings, results: Sequence[RowResult]) -> list[Judged]:
    """Every claim, in the order given.

    :raises InputError: for rows that should be compared but were not measured on the same edits, or a metric that
        Table 6 does not have.
    """
    paper = Paper()
    return [
        Judged(name, claim, tuple(_compare(condition, chosen, results, paper) for condition in claim.conditions))
        for name, claim in claims.items()
    ]


def _compare(
    condition: Condition, chosen: TranslationSettings, results: Sequence[RowResult], paper: Paper
) -> Comparison:
    if condition.metric not in (*_PER_EDIT, "bleu") or len(condition.rows) != 2 or condition.scale != "difference":
        raise InputError(f"Table 6 compares two rows by {', '.join(_PER_EDIT)} or bleu, not {condition.metric}")
    found = [_find(row, chosen, results) for row in condition.rows]
    sides = tuple(
        _side(row, paper.value(row, condition.metric), result, condition.metric)
        for row, result in zip(condition.rows, found, strict=True)
    )
    if missing := tuple(str(row) for row, result in zip(condition.rows, found, strict=True) if result is None):
        return Comparison(condition, sides, missing)
    one, other = (result for result in found if result is not None)
    estimate, method, matched = _difference(condition.metric, one, other)
    paid = bought(condition, sides, estimate, matched)
    caveats = (*_caveats(condition.rows, chosen, (one, other)), *paid)
    return Comparison(condition, sides, (), estimate, method, caveats, bool(paid))


def _find(row: Row, chosen: TranslationSettings, results: Sequence[RowResult]) -> RowResult | None:
    """The row of that name; for an editable one that this benchmark trains with another c_loc only, that one.

    Of several, the one that was trained with the learning rate that it is edited with.
    """
    measured = [
        result
        for result in results
        if (result.row.editor, result.row.layers, f"{result.lr:g}") == (row.editor, row.layers, row.lr)
        and not result.row.search
        and result.row.views is None
        and _weightless(published_name(chosen, result.row.training)) == _weightless(row.training)
    ]

    def rank(result: RowResult) -> tuple[bool, bool]:
        editing = chosen.trainings[result.row.training].editing
        trained = editing.hyperparameters.get("lr") if editing else result.lr
        return published_name(chosen, result.row.training) != row.training, trained != result.lr

    return min(measured, key=rank, default=None)


def _weightless(name: str) -> str:
    """The name of an editable training in the paper's table without its c_loc; other names as they are."""
    kind, _, rest = name.partition("-")
    return f"{kind}-{rest.partition('-')[2]}" if kind == "editable" else name


def _side(row: Row, printed: float, result: RowResult | None, metric: str) -> Side:
    if result is None:
        return Side(row, False, printed, math.nan)
    measured = Row(result.row.training, result.row.editor, result.row.layers, f"{result.lr:g}")
    if metric == "bleu":
        return Side(measured, False, printed, float(result.description["bleu"]))
    success = 100.0 * float(result.records["succeeded"].astype(float).mean())
    return Side(measured, False, printed, float(_PER_EDIT[metric](result.records).mean()), success)


def _difference(metric: str, one: RowResult, other: RowResult) -> tuple[Estimate, str, Estimate | None]:
    """The difference, how it was made, and the same at equal failures where the smaller drawdown has more of them."""
    names = f"{metric}/{one.name}/{other.name}"
    if metric == "bleu":
        sentences = f"{len(one.counts)} test sentences"
        return bleu.difference(one.counts, other.counts, names), f"paired, the same {sentences}", None
    asked = [result.records.sort_values("edit", kind="stable").reset_index(drop=True) for result in (one, other)]
    if not asked[0][["edit", "sentence", "target"]].equals(asked[1][["edit", "sentence", "target"]]):
        raise InputError(f"{one.name} and {other.name} were not measured on the same edits: evaluate them again")
    values: list[pd.Series] = [_PER_EDIT[metric](records).to_numpy(dtype=float) for records in asked]
    models = "one model" if one.row.training == other.row.training else "each of two models"
    succeeded = [records["succeeded"].to_numpy(dtype=bool) for records in asked]
    equal = at_equal_failures(values, succeeded) if metric.endswith("drawdown") else None
    matched = paired_difference(*equal, names) if equal else None
    return paired_difference(*values, names), f"paired, the same {len(asked[0])} edits of {models}", matched


def _caveats(rows: Sequence[Row], chosen: TranslationSettings, found: Sequence[RowResult]) -> tuple[str, ...]:
    """What makes a comparison another one than the paper's, or an unequal one."""
    told = []
    for row, result in zip(rows, found, strict=True):
        editing = chosen.trainings[result.row.training].editing
        if editing and published_name(chosen, result.row.training) != row.training:
            told.append(f"{result.name}: was trained with c_loc = {editing.c_loc:g}, another one than the paper's")
        success = share(int(result.records["succeeded"].sum()), len(result.records))
        if success.high < REQUIRED_SUCCESS:
            told.append(f"{result.name}: only {success.value:.1f} % of its edits succeeded, and failures look local")
    return tuple(dict.fromkeys(told))
