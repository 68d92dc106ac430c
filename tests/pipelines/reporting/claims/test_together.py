"""Claims about many edits of one network: on records made by hand, and on those that come with the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks.errors import InputError
from benchmarks.scoring.measures import IMAGES
from pipelines.reporting.claims import comparing, judging
from pipelines.reporting.claims.comparing import Evidence
from pipelines.reporting.claims.definitions import Claim, Condition, Row
from pipelines.reporting.claims.page import claims_markdown
from pipelines.reporting.claims.statistics import Verdict
from pipelines.store.layout import Layout

HERE = Path(__file__).parents[4]
RANDOM, MISTAKES = "plain/gd/all/random/10/jointly", "plain/gd/all/mistakes/10/jointly"
OTHER = "plain/rmsprop/all"


def records(wrong_after: list[int], fixed: list[int], source: str = "random", manner: str = "jointly") -> pd.DataFrame:
    same = {"source": source, "count": 10, "manner": manner, "steps": 1, "control_size": 200, "wrong_before": 20}
    same |= {"alike": 4, "views": 50, "views_before": 5, "views_after": 20}
    rows = [{"wrong_after": wrong, "fixed": held} for wrong, held in zip(wrong_after, fixed, strict=True)]
    return pd.DataFrame([{"draw": draw, **same, **row, "alike_after": 1} for draw, row in enumerate(rows)])


FIRST, SECOND = records([30, 34, 28], [10, 9, 10]), records([44, 47, 43], [6, 5, 8])


def judge(found: dict[str, pd.DataFrame], **condition) -> judging.Judged:
    claim = Claim(says="s", benchmarks=["digits"], conditions=[Condition(**condition)])
    (judged,) = judging.judge({"mine": claim}, Evidence(IMAGES, [], together=found))
    return judged


def test_rows_are_compared_draw_by_draw_with_students_interval():
    shuffled = SECOND.sample(frac=1, random_state=1)
    condition = {
        "rule": "smaller",
        "metric": "joint_drawdown_signed",
        "of": RANDOM,
        "than": [f"{OTHER}/random/10/jointly"],
    }
    judged = judge({"plain/gd/all": FIRST, OTHER: shuffled}, **condition)
    (comparison,) = judged.comparisons
    points = [(frame["wrong_after"] - 20).to_numpy() / 2 for frame in (FIRST, SECOND)]
    wanted = stats.ttest_rel(*points).confidence_interval()
    found = comparison.estimate
    assert (found.value, found.low, found.high) == pytest.approx((points[0].mean() - points[1].mean(), *wanted))
    assert judged.verdict is Verdict.HOLDS
    assert [side.success for side in comparison.sides] == pytest.approx([290 / 3, 190 / 3])
    text = claims_markdown([judged], title="t", scale_note="n")
    assert "5.33 vs. 12.33 at 96.7 vs. 63.3 % success" in text
    assert "- Intervals: paired, the same 3 draws of 10 images; Student's t." in text
    assert "*Draws*" in text


@pytest.mark.parametrize(
    ("metric", "values"),
    [("joint_fixed", [100, 90, 100]), ("joint_generality", [40] * 3), ("joint_alike", [25] * 3)],
)
def test_a_number_of_a_row_alone_is_its_mean_over_draws(metric, values):
    of_draws = comparing.by_draw(FIRST, Row.parse(RANDOM), metric)
    assert of_draws.tolist() == pytest.approx(values)
    judged = judge({"plain/gd/all": FIRST}, rule="between", metric=metric, of=RANDOM, above=1.0, reason="r")
    assert judged.comparisons[0].estimate.value == pytest.approx(np.mean(values))
    assert judged.comparisons[0].method == "3 draws of 10 images; Student's t"


def test_a_draw_in_which_a_row_has_nothing_to_measure_is_left_out():
    condition = {"rule": "larger", "metric": "joint_alike", "of": RANDOM, "than": [f"{OTHER}/random/10/jointly"]}
    first, second = FIRST.assign(alike_after=[1, 2, 4]), SECOND.assign(alike=[4, 0, 4], alike_after=[0, 0, 1])
    (comparison,) = judge({"plain/gd/all": first, OTHER: second}, **condition).comparisons
    assert comparison.method == "paired, the same 2 draws of 10 images; Student's t"
    assert comparison.estimate.value == pytest.approx((25.0 + 75.0) / 2)
    nothing = {"plain/gd/all": first, OTHER: SECOND.assign(alike=0, alike_after=0)}
    assert judge(nothing, **condition).comparisons[0].missing == (f"{OTHER}/random/10/jointly",)


def test_what_was_not_made_is_not_measured_and_one_draw_decides_nothing():
    condition = {"rule": "larger", "metric": "joint_fixed", "of": RANDOM, "than": [f"{OTHER}/random/10/jointly"]}
    judged = judge({"plain/gd/all": FIRST}, **condition)
    assert judged.comparisons[0].missing == (f"{OTHER}/random/10/jointly",)
    assert judged.verdict is Verdict.NOT_MEASURED
    in_a_row = {"plain/gd/all": FIRST, OTHER: records([1, 2, 3], [1, 2, 3], manner="in_a_row")}
    assert judge(in_a_row, **condition).verdict is Verdict.NOT_MEASURED
    alone = {name: frame[frame["draw"] == 0] for name, frame in {"plain/gd/all": FIRST, OTHER: SECOND}.items()}
    assert judge(alone, **condition).verdict is Verdict.UNDECIDED


def test_other_edits_are_not_compared():
    of_two = {"plain/gd/all": records([1], [1], "mistakes"), "mine/gd/all": records([1], [1], "mistakes")}
    condition = {"rule": "larger", "metric": "joint_fixed", "of": MISTAKES}
    with pytest.raises(InputError, match="are not about the same edits"):
        judge(of_two, **condition, than=["mine/gd/all/mistakes/10/jointly"])
    fewer = {"plain/gd/all": FIRST, OTHER: SECOND[SECOND["draw"] > 0]}
    with pytest.raises(InputError, match="are not about the same edits"):
        judge(fewer, **{**condition, "of": RANDOM}, than=[f"{OTHER}/random/10/jointly"])


def test_the_tables_of_the_repository_are_means_of_these_numbers():
    layout = Layout("digits", HERE)
    found, table = judging.many_edits(layout), pd.read_csv(layout.results / "joint.csv")
    assert len(found) == len(table[["training", "editor", "layers"]].drop_duplicates())
    for row in table.to_dict("records"):
        name = "/".join(str(row[key]) for key in ("training", "editor", "layers", "source", "count", "manner"))
        for column in ("fixed", "drawdown_signed"):
            of_draws = comparing.by_draw(found[Row.parse(name).cell], Row.parse(name), f"joint_{column}")
            assert of_draws.mean() == pytest.approx(row[column], rel=1e-5)


@pytest.mark.parametrize(("old", "new"), [("\n0,", "\n-1,"), ("draw", "drawn"), ("jointly", "\x00")])
def test_broken_records_are_refused_by_name(tmp_path, old, new):
    layout = Layout("digits", tmp_path)
    layout.joint.mkdir(parents=True)
    (layout.joint / "a.json").write_text('{"training": "plain", "editor": "gd", "layers": "all"}')
    columns = ["draw", *(name for name in FIRST if name != "draw")]
    text = FIRST[columns].to_csv(index=False)
    (layout.joint / "a.csv").write_text(text)
    assert list(judging.many_edits(layout)) == ["plain/gd/all"]
    (layout.joint / "a.csv").write_text(text.replace(old, new, 1) if new != "\x00" else text[:40])
    with pytest.raises(InputError, match=r"a\.csv .*: remove it and run `python -m pipelines\.joint digits`"):
        judging.many_edits(layout)
