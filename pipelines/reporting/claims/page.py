"""Claims, the paper's and our own, with their verdicts as a page of Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipelines.reporting.claims.comparing import Comparison
from pipelines.reporting.claims.definitions import Condition
from pipelines.reporting.claims.judging import Judged, count
from pipelines.reporting.claims.statistics import Verdict
from pipelines.reporting.tables.sheet import NOTHING, code, escape, markdown_table, printed

_SIGNS = {"smaller": "<", "larger": ">", "not_larger": "≲", "equivalent": "≈"}
_SCOPE = (
    "Each verdict is one on this benchmark, with one trained model per training and the hyperparameters of its rows: "
    "another seed or other hyperparameters may decide otherwise, and the intervals say nothing of that."
)
_HOW = """\
A comparison **holds** if the whole 95 % interval lies where it must, **does not hold** if the whole interval lies
elsewhere, and is **undecided** otherwise: then it takes more edits or test data, or there is nothing to see. A claim
holds if all its comparisons do, and does not hold as soon as one of them does not.

- *Detectable*: the difference from the bound that as many such edits would decide in four of five repetitions. What is
  smaller may be there and not show.
- °: decided alone, but not among so many. Of all verdicts on this page without it, corrected by Holm's method, one is
  wrong with a probability of 5 % at most. Intervals are not corrected.

- *Paired*: both rows met the same edits, and the bootstrap draws edits, each with its value in both rows. How good
  models are before any edit is compared on the same test examples; test errors by those that one model gets wrong and
  the other right (Agresti and Min).
- *Not paired*: made from the interval of each row (Newcombe).
- ≲ and ≈ are decided by a bound that stands below the table with its reason; ratios are those of the two means.
- *Note*: smaller steps break less and fail more, whatever the editor. So where the row with the smaller drawdown failed
  more often, the verdict must be the same had as many of the other's costliest edits failed without harm; else it is
  undecided. A row clearly below the required success is named in any case."""
_EQUAL = """\
- *Read from trade-off curves*: both rows where they just reach that success, whatever tuning chose. Every resample of
  edits finds that place anew, so that the interval also holds where a search may end; the note on failures goes."""
_DRAWS = """\
- *Draws*: many edits of one network are one number for each draw of images; both rows met the same draws, and the
  interval is Student's over them."""
_BEST = "- *Best part*: where tuning, on images of its own, found the smallest drawdown, as in the paper's Table 1."


def claims_markdown(judged: Sequence[Judged], *, title: str, scale_note: str) -> str:
    """An overview of all claims with the paper's numbers, then for each what was measured and how it was decided."""
    if not judged:
        return f"# {title}\n\nThere are none.\n"
    numbered = list(enumerate(judged, start=1))
    papers = [(number, claim) for number, claim in numbered if claim.claim.source]
    groups = [(papers, "the paper"), ([one for one in numbered if one not in papers], "our own")]
    counts = [(len(some), whose, count(claim.verdict for _, claim in some)) for some, whose in groups if some]
    told = [
        f"Of {number} claim{'s' if number > 1 else ''} of {whose}, {verdicts}." for number, whose, verdicts in counts
    ]
    if doubtful := sum(claim.doubtful for claim in judged):
        told.append(f"Corrected for their number (Holm), {doubtful} of these verdicts would be undecided: see °.")
    parts = [f"# {title}", " ".join([*told, _SCOPE]), escape(scale_note)]
    for some, whose in groups:
        says = "the paper says" if whose == "the paper" else "we say"
        head = f"| | {says} | in the paper | verdict here | detectable |"
        lines = [head, "| ---: | --- | --- | --- | --- |", *(_overview(number, claim) for number, claim in some)]
        parts += ["\n".join(lines)] if some else []
    comparisons = [comparison for claim in judged for comparison in claim.comparisons]
    best = [_BEST] if any(side.best for comparison in comparisons for side in comparison.sides) else []
    equal = [_EQUAL] if any("trade-off" in comparison.method for comparison in comparisons) else []
    draws = [_DRAWS] if any(one.metric.source == "joint" and not one.missing for one in comparisons) else []
    parts += [
        "## How they were decided",
        *(_details(number, claim) for number, claim in numbered if _measured(claim)),
        *_not_measured([(number, claim) for number, claim in numbered if not _measured(claim)]),
        "## How to read the verdicts",
        "\n".join([_HOW, *best, *equal, *draws]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _overview(number: int, judged: Judged) -> str:
    printed = _in_paper(judged)
    verdict = str(judged.verdict) if judged.verdict is Verdict.NOT_MEASURED else f"**{judged.verdict}**"
    note = " (see note)" if any(comparison.caveats for comparison in judged.comparisons) else ""
    mark = " °" if judged.doubtful else ""
    return f"| {number} | {escape(judged.claim.says)} | {printed} | {verdict}{mark}{note} | {_detectable(judged)} |"


def _detectable(judged: Judged) -> str:
    """The largest of its comparisons for each metric, such as ``drawdown 0.45 points; test error 1.2 points``."""
    found: dict[str, list[Comparison]] = {}
    for one in judged.comparisons:
        if math.isfinite(one.detectable):
            label = "" if one.metric.source == "measurement" else one.metric.label
            found.setdefault(f"{'ratio of ' * (one.condition.scale == 'ratio')}{label}", []).append(one)
    largest = {what: max(several, key=lambda one: one.detectable) for what, several in found.items()}
    return "; ".join(f"{what} {_difference(one)}".strip() for what, one in largest.items()) or NOTHING


def _difference(comparison: Comparison) -> str:
    unit = "" if comparison.condition.scale == "ratio" else comparison.metric.unit
    value = _number(comparison.detectable, comparison.metric.digits)
    return value if value == NOTHING else f"{value} {unit}".strip()


def _in_paper(judged: Judged) -> str:
    """The paper's numbers of a claim, such as ``drawdown 0.65 < 0.86; test error 7.19 > 6.31``, or what it shows."""
    if not judged.claim.source:
        return NOTHING
    shown = dict.fromkeys(escape(condition.published or "") for condition in judged.claim.conditions)
    if all(shown):
        return "; ".join(shown)
    by_metric: dict[str, list[str]] = {}
    for condition in judged.claim.conditions:
        sides = [comparison.sides for comparison in judged.comparisons if comparison.condition is condition]
        others = ", ".join(printed(other.published) for _, *rest in sides for other in rest)
        numbers = " ".join(filter(None, [printed(sides[0][0].published), _SIGNS.get(condition.rule), others]))
        label = next(one.metric.label for one in judged.comparisons if one.condition is condition)
        by_metric.setdefault(label, []).append(escape(condition.published or "") or numbers)
    return "; ".join(f"{label} {' and '.join(numbers)}" for label, numbers in by_metric.items())


def _details(number: int, judged: Judged) -> str:
    claim = judged.claim
    said = f"{claim.source}: “{claim.quote}”." if claim.quote else f"{claim.source or 'Our own'}."
    comparisons = judged.comparisons
    headings = ("what must hold", "paper", "measured", "95 % interval", "must be", "detectable", "verdict")
    notes = [f"Intervals: {comparison.method}." for comparison in comparisons if comparison.method]
    notes += [f"Bound: {escape(text)}." for text in (comparison.condition.reason for comparison in comparisons) if text]
    notes += [f"**Note:** {_note(text)}." for comparison in comparisons for text in comparison.caveats]
    return "\n\n".join(
        [
            f"### {number}. {escape(claim.says.rstrip('.'))}: {judged.verdict}",
            escape(f"{said} {claim.remark or ''}"),
            markdown_table(headings, map(_row, comparisons)),
            "\n".join(f"- {note}" for note in dict.fromkeys(notes)),
        ]
    )


def _row(comparison: Comparison) -> list[str]:
    condition, metric = comparison.condition, comparison.metric
    names = [f"{code(str(side.row))}{' (best part)' if side.best else ''}" for side in comparison.sides]
    sign = f" {_SIGNS[condition.rule]} " if len(names) > 1 else ""
    return [
        f"{metric.label} of {sign.join(names)}",
        escape(condition.published or "") or " vs. ".join(printed(side.published) for side in comparison.sides),
        _measured_values(comparison),
        _interval(comparison),
        _bounds(condition),
        _difference(comparison),
        f"{comparison.verdict}{' (see note)' if comparison.caveats else ''}",
    ]


def _measured_values(comparison: Comparison) -> str:
    metric = comparison.metric
    values = " vs. ".join(_number(side.measured, metric.digits) for side in comparison.sides)
    known = any(math.isfinite(side.success) for side in comparison.sides)
    if comparison.missing or not known or metric.source in ("quality", "measurement"):
        return values
    return f"{values} at {' vs. '.join(_number(side.success, 1) for side in comparison.sides)} % success"


def _interval(comparison: Comparison) -> str:
    """The estimate with its interval, or what the run lacks."""
    if comparison.missing:
        return f"this run lacks {', '.join(map(code, comparison.missing))}"
    scale, metric, estimate = comparison.condition.scale, comparison.metric, comparison.estimate
    sign = "+" if scale == "difference" else ""
    value, low, high = (_number(end, metric.digits, sign) for end in (estimate.value, estimate.low, estimate.high))
    interval = "without interval" if NOTHING in (low, high) else f"[{low}, {high}]"
    if scale == "ratio":
        return f"ratio {value} {interval}"
    return f"{value} {interval} {metric.unit}".strip()


def _bounds(condition: Condition) -> str:
    low, high = condition.allowed.low, condition.allowed.high
    if math.isinf(low):
        return f"below {high:g}"
    return f"above {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"


def _not_measured(claims: Sequence[tuple[int, Judged]]) -> list[str]:
    """What a run would need for the claims of which it has nothing."""
    if not claims:
        return []
    rows = ["| | claim | what this run lacks |", "| ---: | --- | --- |"]
    for number, claim in claims:
        missing = dict.fromkeys(name for comparison in claim.comparisons for name in comparison.missing)
        rows.append(f"| {number} | {escape(claim.claim.says)} | {', '.join(map(code, missing))} |")
    return ["### Not measured", "\n".join(rows)]


def _measured(judged: Judged) -> bool:
    """Whether there is something to show."""
    return any(not comparison.missing for comparison in judged.comparisons)


def _note(caveat: str) -> str:
    row, _, text = caveat.partition(": ")
    return f"{code(row)} {escape(text)}"


def _number(value: float, digits: int, sign: str = "") -> str:
    if not math.isfinite(value):
        return NOTHING
    return f"{value:{sign}.{digits}f}" if round(value, digits) else f"{0:.{digits}f}"
