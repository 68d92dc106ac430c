"""The page of claims: what a reader needs to follow a verdict stands there, and the table renders."""

from __future__ import annotations

import math
from dataclasses import replace

from benchmarks.metrics import Estimate
from benchmarks.scoring.measures import IMAGES
from pipelines.reporting.claims import definitions
from pipelines.reporting.claims.comparing import Comparison, Evidence, Side
from pipelines.reporting.claims.definitions import Claim, Condition, Row, metrics_of
from pipelines.reporting.claims.judging import Judged, judge
from pipelines.reporting.claims.page import claims_markdown
from pipelines.reporting.claims.statistics import holm
from pipelines.tasks.images import CLASSIFIERS

CLAIMS = definitions.load(CLASSIFIERS.claims)
SMALLER = Condition(rule="smaller", metric="drawdown", of="plain/rmsprop/best", than=["plain/gd/best"])
RATIO = Condition(
    rule="not_larger",
    metric="drawdown",
    of="plain/rmsprop/chain3",
    than=["plain/gd/all"],
    within_percent=25,
    reason="a quarter | of it",
)
COST = Condition(rule="between", metric="cost_ratio", of="cnp", above=2, below=3, reason="r", published="≈ 2.5")


def judged(condition: Condition, estimate: Estimate | None = None, ours: bool = False, **more) -> Judged:
    sides = [
        Side(row, row.layers == "best", published, measured, success)
        for row, published, measured, success in zip(
            condition.rows, (1.77, 3.8), (2.5, 3.456), (96.0, 94.7), strict=False
        )
    ]
    found = {"estimate": estimate, "method": "paired"} if estimate else {"missing": ("plain/gd/best",)}
    whose = {"benchmarks": ["digits"]} if ours else {"source": "Table 1", "quote": "it does"}
    claim = Claim(says="RMSProp beats GD | always.", **whose, conditions=[condition])
    metric = metrics_of(IMAGES)[condition.metric]
    return Judged("mine", claim, (Comparison(condition, metric, tuple(sides), **found, **more),))


def page(*claims: Judged) -> str:
    return claims_markdown(claims, title="Claims", scale_note="Small.")


def test_a_line_holds_all_that_its_verdict_rests_on():
    text = page(judged(SMALLER, Estimate(-0.956, -1.2, -0.7)))
    assert (
        "| drawdown of `plain/rmsprop/best` (best part) < `plain/gd/best` (best part) | 1.77 vs. 3.8 "
        "| 2.50 vs. 3.46 at 96.0 vs. 94.7 % success | -0.96 [-1.20, -0.70] points | below 0 | 0.36 points | holds |"
    ) in text
    assert "| 0.00 [-0.01, 0.00] points |" in page(judged(SMALLER, Estimate(-0.004, -0.0051, -0.001)))
    assert "Of 1 claim of the paper, 1 holds, 0 do not hold, 0 are undecided, 0 were not measured." in text
    assert "| 1 | RMSProp beats GD \\| always. | drawdown 1.77 < 3.8 | **holds** | drawdown 0.36 points |" in text
    assert "### 1. RMSProp beats GD \\| always: holds\n\nTable 1: “it does”." in text
    assert "- Intervals: paired." in text
    assert "Small." in text


def test_claims_of_our_own_have_a_table_of_theirs():
    text = page(judged(SMALLER, Estimate(-1.0, -1.2, -0.7)), judged(SMALLER, Estimate(-1.0, -1.2, -0.7), ours=True))
    assert "Of 1 claim of the paper, 1 holds," in text
    assert "Of 1 claim of our own, 1 holds," in text
    head = "| | we say | in the paper | verdict here | detectable |\n| ---: | --- | --- | --- | --- |\n"
    assert f"{head}| 2 | RMSProp beats GD" in text
    assert "### 2. RMSProp beats GD \\| always: holds\n\nOur own." in text
    alone = page(judged(SMALLER, Estimate(-1.0, -1.2, -0.7), ours=True))
    assert "the paper says" not in alone


def test_a_caveat_stands_beside_the_verdict_wherever_that_is_given():
    note = "plain/rmsprop/chain4: tuned to 96 % success, clearly below 95 %"
    text = page(judged(SMALLER, Estimate(-0.956, -1.2, -0.7), caveats=(note,)))
    assert "| **holds** (see note) |" in text
    assert "| below 0 | 0.36 points | holds (see note) |" in text
    assert "- **Note:** `plain/rmsprop/chain4` tuned to 96 % success, clearly below 95 %." in text


def test_a_verdict_that_would_not_stand_among_so_many_is_marked():
    alone = judge({"one": judged(SMALLER).claim}, Evidence(IMAGES, []))[0]
    assert math.isnan(alone.corrected)
    sure, edge = judged(SMALLER, Estimate(-1.0, -1.2, -0.8)), judged(SMALLER, Estimate(-1.0, -1.99, -0.01))
    corrected = holm([sure.p_value, edge.p_value])
    claims = [replace(one, corrected=value) for one, value in zip((sure, edge), corrected, strict=True)]
    text = page(*claims, *[replace(edge, corrected=1.0)] * 2)
    assert text.count("| **holds** ° |") == 2
    assert "Corrected for their number (Holm), 2 of these verdicts would be undecided: see °." in text


def test_ratios_and_numbers_say_what_they_are_and_why_the_bound():
    text = page(judged(RATIO, Estimate(0.72, 0.6, 0.8)), judged(COST, Estimate(2.5, 2.4, 2.6)))
    assert "| ratio 0.72 [0.60, 0.80] | below 1.25 | 0.14 | holds |" in text
    assert "- Bound: a quarter \\| of it." in text
    assert (
        "| time of a training step of `cnp` | ≈ 2.5 | 2.50 | 2.50 [2.40, 2.60] plain steps | between 2 and 3 |" in text
    )


def test_an_estimate_without_interval_decides_nothing_and_says_so():
    assert "2.50 without interval plain steps | between 2 and 3 | – | undecided |" in page(
        judged(COST, Estimate(2.5, float("nan"), float("nan")))
    )


def test_what_was_not_measured_is_listed_with_what_is_missing():
    text = page(judged(SMALLER))
    assert "| 1 | RMSProp beats GD \\| always. | drawdown 1.77 < 3.8 | not measured | – |" in text
    assert "### Not measured" in text
    assert "| 1 | RMSProp beats GD \\| always. | `plain/gd/best` |" in text
    assert "what must hold" not in text


def test_half_a_claim_is_shown_with_what_its_other_half_lacks():
    measured, missing = judged(SMALLER, Estimate(1.0, 0.5, 1.5)), judged(SMALLER)
    both = Judged("both", measured.claim, (*measured.comparisons, *missing.comparisons))
    text = page(both)
    assert "this run lacks `plain/gd/best`" in text
    assert "does not hold" in text
    assert "### Not measured" not in text


def test_all_shipped_claims_make_tables_of_equal_width():
    text = page(*judge(CLAIMS, Evidence(IMAGES, [])))
    assert text == page(*judge(CLAIMS, Evidence(IMAGES, [])))
    for block in text.split("\n\n"):
        rows = [line.replace("\\|", "") for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1
    for claim in CLAIMS.values():
        assert claim.says in text
    assert text.endswith("\n")
    assert "nan" not in text


def test_a_page_without_claims_says_so():
    assert page().endswith("\n\nThere are none.\n")


def test_rows_print_as_in_the_leaderboard():
    assert str(Row.parse("plain/rmsprop/chain3")) == "plain/rmsprop/chain3"
    assert str(Row("cnp")) == "cnp"
