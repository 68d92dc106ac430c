"""Claims judged on records made by hand, for which the verdict is known."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.errors import InputError
from benchmarks.metrics import Estimate
from benchmarks.scoring.measures import IMAGES
from benchmarks.translation.metrics import TRANSLATIONS
from pipelines.reporting.claims import definitions, judging
from pipelines.reporting.claims.comparing import Evidence
from pipelines.reporting.claims.definitions import Claim, Condition
from pipelines.reporting.claims.statistics import Verdict
from pipelines.store.layout import Layout, write_csv
from pipelines.tasks.images import CLASSIFIERS
from tests.optional import needs
from tests.pipelines.reporting.cells import image_cell as cell
from tests.pipelines.reporting.cells import translator_cell

GD, RMSPROP = "plain/gd/all", "plain/rmsprop/chain3"
HOLDS, FAILS, UNDECIDED, NOT_MEASURED = Verdict


def test_the_table_has_a_line_per_comparison_and_the_same_bytes_every_time(tmp_path):
    claims = definitions.load(CLASSIFIERS.claims)
    results = [cell(GD, failures=12), cell(RMSPROP, -5, failures=12)]
    judged = judging.judge(claims, Evidence(IMAGES, results))
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    write_csv(one, judging.table(judged), digits=6)
    write_csv(two, judging.table(judging.judge(claims, Evidence(IMAGES, results[::-1]))), digits=6)
    assert one.read_bytes() == two.read_bytes()
    read = pd.read_csv(one)
    assert len(read) == sum(len(claim.comparisons) for claim in judged)
    (line,) = read[(read["claim"] == "rmsprop-and-rprop-beat-gd") & (read["of"] == RMSPROP)].to_dict("records")
    assert line["verdict"] == "holds"
    assert line["claim_verdict"] == "not measured"
    assert line["estimate_low"] < line["estimate"] < line["estimate_high"] < line["allowed_below"] == 0
    assert (line["published_of"], line["published_than"]) == (1.77, 3.8)
    assert line["estimate"] == pytest.approx(line["measured_of"] - line["measured_than"], abs=1e-4)
    assert (line["success_of"], line["method"]) == (88, "paired, the same 100 edits of one model")
    assert "plain/rmsprop/chain3: tuned to" in line["caveats"]


HALVES, SMALLER_STEPS, COSTS = (
    "editable-training-halves-bleu-drawdown",
    "smaller-steps-are-more-local",
    "locality-costs-steps",
)
EDITED, EDITABLE = "last_decoder_layer", "editable-100-rmsprop-last_decoder_layer"


def translators(**changes):
    """The rows of Table 6, with a training that has a name of its own."""
    return [
        translator_cell(f"plain/rmsprop_1e-3/{EDITED}", 0.8, 2),
        translator_cell(f"mine/rmsprop_1e-3/{EDITED}", 0.32, 3, published=EDITABLE, **changes),
        translator_cell(f"mine/rmsprop_3e-4/{EDITED}", 0.2, 5, published=EDITABLE),
    ]


def judged_translators(results) -> dict[str, judging.Judged]:
    claims = definitions.load(definitions.OURS.parent / "published/table6_claims.yaml")
    return {one.name: one for one in judging.judge(claims, Evidence(TRANSLATIONS, results))}


@needs("sacrebleu")
def test_table_6_as_in_the_paper_holds():
    judged = judged_translators(translators())
    assert {name: one.verdict for name, one in judged.items()} == dict.fromkeys((HALVES, SMALLER_STEPS, COSTS), HOLDS)
    drawdown, quality = judged[HALVES].comparisons
    assert drawdown.estimate.value == pytest.approx(0.4)
    assert [side.published for side in drawdown.sides] == [0.35, 0.76]
    assert str(drawdown.sides[0].row) == f"mine/rmsprop_1e-3/{EDITED}"
    assert drawdown.method == "paired, the same 40 edits of each of two models"
    assert quality.estimate == Estimate(0.0, 0.0, 0.0)
    assert quality.method == "paired, the same 200 test sentences"


@needs("sacrebleu")
def test_a_worse_translator_does_not_pass_for_an_equal_one():
    worse = np.tile([5, 3, 2, 1, 10, 9, 8, 7, 10, 10], (200, 1))
    judged = judged_translators(translators(counts=worse))[HALVES]
    assert judged.comparisons[0].verdict is HOLDS
    assert judged.verdict is FAILS
    with pytest.raises(InputError, match="cannot be compared: pairs need two translations of one corpus"):
        judged_translators(translators(counts=worse[:100]))


@needs("sacrebleu")
def test_translators_rows_that_failed_lack_or_met_other_edits_are_treated_like_others():
    judged = judged_translators(translators(succeeded=[True, False] * 20))[HALVES]
    assert any("50.0 % success, clearly below 95 %" in note for note in judged.comparisons[0].caveats)
    with pytest.raises(InputError, match="were not measured on the same edits: evaluate them again"):
        judged_translators(translators(sentence=range(1, 41)))
    missing = judged_translators(translators()[:2])[SMALLER_STEPS]
    assert missing.comparisons[0].missing == (f"{EDITABLE}/rmsprop_3e-4/{EDITED}",)


@needs("sacrebleu")
def test_edits_of_which_no_row_has_a_value_are_left_out_and_a_value_that_one_lacks_decides_nothing():
    claim = {"rule": "larger", "metric": "generality", "of": f"mine/rmsprop_1e-3/{EDITED}"}
    claim = {
        "mine": Claim(says="s", source="t", conditions=[Condition(**claim, than=[f"plain/rmsprop_1e-3/{EDITED}"])])
    }
    nothing_near = [0, 5] * 20
    rows = translators(views=nothing_near, views_after=[0, 5] * 20)[:2]
    judged = judging.judge(claim, Evidence(TRANSLATIONS, rows))[0]
    assert judged.verdict is UNDECIDED
    rows[0] = replace(rows[0], records=rows[0].records.assign(views=nothing_near, views_after=[0, 4] * 20))
    judged = judging.judge(claim, Evidence(TRANSLATIONS, rows))[0]
    assert judged.verdict is HOLDS
    assert judged.comparisons[0].method == "paired, the same 20 edits of each of two models"
    assert judged.comparisons[0].estimate.value == pytest.approx(20)


def test_verdicts_are_counted_in_words():
    counted = judging.count(["holds"] * 5 + ["does not hold"] * 2 + ["undecided"] * 3 + ["not measured"])
    assert counted == "5 hold, 2 do not hold, 3 are undecided, 1 was not measured"


HEAD = "training,editor,layers,edits,components_90,components_90_low,components_90_high,own_excess\n"
ROW = "plain,rmsprop,chain3"


@pytest.fixture
def layout(tmp_path):
    return Layout("digits", tmp_path)


def write(path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def measured(layout):
    return judging.measurements(layout, ["plain", "cnp"])


def test_numbers_besides_edits_are_read_by_name_as_far_as_they_are_there(layout):
    assert measured(layout) == {}
    cost = {"cost_ratio": 2.5, "cost_ratio_low": 2.25, "cost_ratio_high": 2.75, "seconds": 12}
    write(layout.described("cnp") / "cost.json", json.dumps(cost))
    write(layout.described("editable-0.1-rmsprop-chain3") / "cost.json", "{")  # of another run
    write(layout.results / "figure2/summary.csv", f"{HEAD}{ROW},400,7,6,9,1.5\nplain,gd,all,400,,,,0.5\n")
    found = measured(layout)
    assert found["cost_ratio/cnp"] == Estimate(2.5, 2.25, 2.75)
    assert found["components_90/plain/rmsprop/chain3"] == Estimate(7, 6, 9)
    assert found["own_excess/plain/gd/all"].value == 0.5
    assert math.isnan(found["own_excess/plain/gd/all"].low)
    assert len(found) == 4


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"cost_ratio": "fast"}', '{"cost_ratio": null}'])
def test_a_damaged_cost_is_refused(layout, content):
    write(layout.described("cnp") / "cost.json", content)
    with pytest.raises(InputError, match=r"cnp.cost.json .*: remove it and run `python -m pipelines.train digits cnp`"):
        measured(layout)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "summary.csv cannot be read .*: remove it and run `python -m pipelines.analyse digits`"),
        ("training,editor,components_90\nplain,gd,3\n", "has no column layers"),
        (f"{HEAD}{ROW},400,many,6,9,1\n", "has many as components_90 in row 1, which is not a finite number"),
        (f"{HEAD}{ROW},400,7,6,9,1\n{ROW},400,7,6,9,1\n", "has two rows of the same training and editor and layers"),
        (f"{HEAD}{ROW},400,7,9,6,1\n", "has 9.* as components_90_low in row 1, which is not at most components_90"),
        (f"{HEAD}{ROW},400,inf,6,9,1\n", "has inf as components_90"),
    ],
)
def test_a_damaged_summary_is_refused(layout, content, sentence):
    write(layout.results / "figure2/summary.csv", content)
    with pytest.raises(InputError, match=sentence) as caught:
        measured(layout)
    assert "\n" not in str(caught.value)


def test_rows_with_trade_off_curves_are_compared_at_equal_success(tmp_path):
    """Tuning left the second row with a smaller drawdown, and it is the one that breaks more at 95 % success."""
    needed, costs = np.linspace(0.5, 4.2, 40), np.linspace(0.9, 1.1, 40)
    rows = []
    for name, cost in ((GD, 1.0), (RMSPROP, 2.0)):
        for strength in (1.0, 2.0, 4.0, 8.0):
            succeeded = " ".join("1" if strength >= one else "0" for one in needed)
            drawdowns = " ".join(f"{cost * strength * one:.5g}" for one in costs)
            named = dict(zip(("training", "editor", "layers"), name.split("/"), strict=True))
            rows.append({**named, "factor": strength, "edits_succeeded": succeeded, "edits_drawdown": drawdowns})
    layout = Layout("digits", tmp_path)
    write_csv(layout.results / "curves.csv", pd.DataFrame(rows), digits=6)
    results = [cell(GD, 40), cell(RMSPROP, -40)]
    condition = Condition(rule="smaller", metric="drawdown", of=RMSPROP, than=[GD])
    claims = {"mine": Claim(says="s", source="t", conditions=[condition])}
    (alone,) = judging.judge(claims, Evidence(IMAGES, results))
    assert alone.verdict is HOLDS
    (judged,) = judging.judge(claims, Evidence(IMAGES, results, curves=judging.trade_offs(layout)))
    (comparison,) = judged.comparisons
    assert judged.verdict is FAILS
    assert comparison.method == "at 95 % success, read from trade-off curves of the same 40 edits"
    assert 2 < comparison.estimate.low < comparison.estimate.value < comparison.estimate.high
    # At the largest strength 38 of 40 succeed, which are 95 % in about half of the resamples.
    write_csv(layout.results / "curves.csv", pd.DataFrame(rows).query("factor < 8"), digits=6)
    (judged,) = judging.judge(claims, Evidence(IMAGES, results, curves=judging.trade_offs(layout)))
    assert judged.verdict is HOLDS
    assert "do not tell where 95 % succeed" in judged.comparisons[0].caveats[0]
    (layout.results / "curves.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="curves.csv has no column training"):
        judging.trade_offs(layout)
