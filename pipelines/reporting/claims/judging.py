"""Claims against a benchmark's results: every comparison with its interval, and a verdict on each claim."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest

import pandas as pd

from benchmarks.errors import InputError
from benchmarks.metrics import Estimate
from benchmarks.trade_off import TradeOff
from pipelines.reporting.claims.comparing import Comparison, Evidence, compare
from pipelines.reporting.claims.definitions import MEASURED, Claim, metrics_of
from pipelines.reporting.claims.statistics import HOLM, Verdict, combine, holm
from pipelines.store.layout import COST, KEYS, Layout
from pipelines.store.schemas import CURVES, JOINT, MODELS, Cost, Description, reason

_NAMES = dict.fromkeys(KEYS, str)


@dataclass(frozen=True)
class Judged:
    """A claim with its comparisons and the verdict that follows from them.

    :ivar corrected: the verdict's p-value, corrected for the number of claims on a page, see ``statistics.holm``.
    """

    name: str
    claim: Claim
    comparisons: tuple[Comparison, ...]
    corrected: float = math.nan

    @cached_property
    def verdict(self) -> Verdict:
        """See :func:`pipelines.reporting.claims.statistics.combine`."""
        return combine(comparison.verdict for comparison in self.comparisons)

    @property
    def p_value(self) -> float:
        """That of the comparison that is least sure, of a claim that holds; of one that does not, that of the surest,
        corrected for their number (Bonferroni); 1 for one that is undecided.
        """
        values = [comparison.p_value for comparison in self.comparisons]
        if self.verdict is Verdict.HOLDS:
            return max(values)
        failing = [one.p_value for one in self.comparisons if one.verdict is Verdict.FAILS]
        return min(1.0, len(values) * min(failing)) if failing else 1.0

    @property
    def doubtful(self) -> bool:
        """Whether it is decided, but would not be if the page's verdicts together should err in one of twenty pages."""
        return self.verdict.decided and self.corrected > HOLM


def judge(claims: Mapping[str, Claim], evidence: Evidence) -> list[Judged]:
    """Every claim, in the order given.

    :raises InputError: for rows that should be compared but were not measured on the same edits or test examples.
    """
    known, judged = metrics_of(evidence.measures), []
    for name, claim in claims.items():
        lines = (line for one in claim.conditions for line in compare(one, known[one.metric], evidence))
        judged.append(Judged(name, claim, tuple(lines)))
    measured = [one for one in judged if one.verdict is not Verdict.NOT_MEASURED]
    corrected = dict(zip((one.name for one in measured), holm([one.p_value for one in measured]), strict=True))
    return [replace(one, corrected=corrected.get(one.name, math.nan)) for one in judged]


def table(judged: Iterable[Judged]) -> pd.DataFrame:
    """One row per comparison, for ``claims.csv``; ``source`` is empty for our own."""
    lines = [_line(claim, comparison) for claim in judged for comparison in claim.comparisons]
    return pd.DataFrame(lines, columns=None if lines else ["claim", "claim_verdict", "says", "source"])


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


def measurements(layout: Layout, trainings: Iterable[str], seed: int = 0) -> dict[str, Estimate]:
    """What was measured besides edits, as ``cost_ratio/<training>`` and ``<number>/<training>/<editor>/<layers>``.

    A file that is missing was not measured; an interval that is missing is ``nan``.

    :raises InputError: for a file that is there and cannot be read.
    """
    found = {}
    for training in trainings:
        if (path := layout.described(training, seed) / COST).exists():
            cost = Cost.read(path, layout.again("train", training))
            ends = (cost.get(f"cost_ratio{end}", math.nan) for end in ("", "_low", "_high"))
            found[f"cost_ratio/{training}"] = Estimate(*ends)
    path = layout.results / "figure2" / "summary.csv"
    if path.exists():
        for row in MODELS.read(path, layout.again("analyse"), dtype=_NAMES).to_dict("records"):
            for name in MEASURED:
                value, low, high = (float(row.get(f"{name}{end}", math.nan)) for end in ("", "_low", "_high"))
                if not math.isnan(value):
                    found["/".join((name, *(row[key] for key in KEYS)))] = Estimate(value, low, high)
    return found


def many_edits(layout: Layout) -> dict[str, pd.DataFrame]:
    """The records of requests of many edits by ``training/editor/layers``; none where the stage was not run.

    :raises InputError: naming the file that is broken.
    """
    again, found = layout.again("joint"), {}
    for path in sorted(layout.joint.glob("*.json")):
        described = Description.read(path, again)
        found["/".join(str(described.get(key)) for key in KEYS)] = JOINT.read(path.with_suffix(".csv"), again)
    return found


def trade_offs(layout: Layout) -> dict[str, TradeOff]:
    """The trade-off curves of a benchmark by ``training/editor/layers``, those with values of single edits.

    :raises InputError: for a file that is there and cannot be read.
    """
    path = layout.results / "curves.csv"
    frame = CURVES.read(path, layout.again("analyse"), dtype=_NAMES) if path.exists() else pd.DataFrame(columns=KEYS)
    try:
        groups = {"/".join(names): TradeOff.read(rows) for names, rows in frame.groupby(KEYS, sort=False)}
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path} {reason(error)}: remove it and {layout.again('analyse')}") from error
    return {name: curve for name, curve in groups.items() if curve is not None}


def _line(judged: Judged, comparison: Comparison) -> dict[str, object]:
    condition, estimate, allowed = comparison.condition, comparison.estimate, comparison.condition.allowed
    sides = dict(zip_longest(("of", "than"), comparison.sides))
    return {
        "claim": judged.name,
        "claim_verdict": str(judged.verdict),
        "claim_p": judged.p_value,
        "claim_p_holm": judged.corrected,
        "says": judged.claim.says,
        "source": judged.claim.source or "",
        "verdict": str(comparison.verdict),
        "metric": condition.metric,
        "rule": condition.rule,
        **{which: str(side.row) if side else "" for which, side in sides.items()},
        "published": condition.published or "",
        **{
            f"{value}_{which}": getattr(side, value, math.nan)
            for value in ("published", "measured", "success")
            for which, side in sides.items()
        },
        "scale": condition.scale,
        "estimate": estimate.value,
        "estimate_low": estimate.low,
        "estimate_high": estimate.high,
        "detectable": comparison.detectable,
        "allowed_above": allowed.low if math.isfinite(allowed.low) else math.nan,
        "allowed_below": allowed.high if math.isfinite(allowed.high) else math.nan,
        "method": comparison.method,
        "missing": "; ".join(comparison.missing),
        "caveats": "; ".join(comparison.caveats),
    }
