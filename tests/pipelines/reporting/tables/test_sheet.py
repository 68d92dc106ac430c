"""Markdown tables, read back by splitting their lines, against the frame they were made from."""

import re

import numpy as np
import pandas as pd
import pytest

from benchmarks.metrics import Column
from pipelines.reporting.tables.sheet import Sheet, code, escape, hyperparameters, to_markdown
from tests.pipelines.reporting.conftest import steps_only_of

COLUMNS = {
    "drawdown": Column("Drawdown", "points", 2),
    "success_rate": Column("Success rate", "%", 1),
    "num_steps": Column("Steps", "mean", 2),
}
WORDS = {"caption": "Six editors.", "notes": ["`digits` is not CIFAR-10."]}


def page(frame, columns=COLUMNS, **options) -> str:
    return to_markdown(Sheet("Table 1", frame, columns, **options), **WORDS)


def cells(markdown: str) -> pd.DataFrame:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert len({len(row) for row in split}) == 1
    return pd.DataFrame(split[2:], columns=split[0])


def numbers(cell: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+\.?\d*", cell)]


def test_every_number_comes_back(table1):
    parsed = cells(page(table1))
    assert list(parsed["Editor"]) == list(table1["editor"])
    for heading, metric in [("Drawdown (points)", "drawdown"), ("Success rate (%)", "success_rate")]:
        expected = table1[[metric, f"{metric}_low", f"{metric}_high"]].to_numpy()
        found = np.array([numbers(cell) for cell in parsed[heading]])
        np.testing.assert_allclose(found, expected, atol=0.051)
    assert parsed["Success rate (%)"][0].startswith("97.8 % [")
    assert parsed["Drawdown, paper"].tolist() == ["3.8", "1.77", "2.42", "–"]


def test_paper_column_only_where_the_paper_has_numbers(table1):
    frame = table1.assign(published_num_steps=np.nan)
    headings = list(cells(page(frame)))
    assert [heading for heading in headings if "paper" in heading] == ["Drawdown, paper"]


def test_bold_is_the_smallest_drawdown_among_rows_with_enough_success_if_nothing_is_known_of_reach(table1):
    parsed = cells(page(table1))
    assert table1["drawdown"].idxmin() == 2  # momentum, which succeeds too rarely
    assert ["**" in cell for cell in parsed["Drawdown (points)"]] == [False, True, False, False]
    assert parsed["Drawdown (points)"][1].startswith("**2.31** [2.06, 2.81]")
    nobody = cells(page(table1.assign(success_rate=94.9, success_rate_high=94.95)))
    assert not any("**" in cell for cell in nobody["Drawdown (points)"])
    edge = cells(page(table1.assign(success_rate=94.9, success_rate_high=96.0)))
    assert ["**" in cell for cell in edge["Drawdown (points)"]] == [False, False, True, False]


def test_bold_rows_are_on_the_front_and_what_reaches_nothing_is_marked_and_never_wins(table1):
    reach = {"generality": [60.0, 30.0, 80.0, 8.0], "generality_low": [50.0, 20.0, 70.0, 5.0], "generality_before": 7.0}
    frame = table1.assign(drawdown=[4.9, 2.31, 2.05, 0.1], **reach)  # "mine" breaks least, and reaches nothing
    markdown = page(frame, COLUMNS | {"generality": Column("Generality", "%", 1)})
    parsed = cells(markdown)
    assert ["**" in cell for cell in parsed["Drawdown (points)"]] == [True, True, False, False]
    assert ["**" in cell for cell in parsed["Generality (%)"]] == [True, True, False, False]
    assert [cell.endswith("†") for cell in parsed["Drawdown (points)"]] == [False, False, False, True]
    assert [cell.endswith("‡") for cell in parsed["Success rate (%)"]] == [False, False, True, False]
    assert "bold are rows on the Pareto front of drawdown and generality" in markdown
    assert "† is not clearly more general than the unedited network, so it never wins" in markdown
    assert "‡ is success below 95 %" in markdown


def test_the_legend_says_that_rows_beyond_the_papers_table_are_not_compared(table1):
    markdown = page(table1)
    assert "bold are rows on the Pareto front of drawdown and generality" in markdown
    appended = table1.assign(appendix=[False, True, False, False])  # rmsprop, the best
    markdown = page(appended)
    assert ["**" in cell for cell in cells(markdown)["Drawdown (points)"]] == [False, False, False, True]
    assert "generality among these that the paper's table has" in markdown
    nobody = page(appended.assign(success_rate=10.0, success_rate_high=11.0))
    assert "without those" not in nobody
    assert "bold" not in nobody


def test_steps_of_editors_without_gradients_are_a_dash(table1):
    frame = steps_only_of(table1, ["rmsprop"])
    markdown = page(frame)
    assert cells(markdown)["Steps (mean)"].tolist() == ["–", "3.10 [2.85, 3.60]", "–", "–"]
    assert "– under steps: the editor takes no gradient steps" in markdown
    assert "under steps" not in page(table1)
    assert "under steps" not in page(frame, {name: COLUMNS[name] for name in ("drawdown", "success_rate")})


def test_zero_has_no_minus_sign(table1):
    frame = table1.assign(drawdown=-0.001, drawdown_low=-0.0049, drawdown_high=-0.02)
    drawdowns = cells(page(frame))["Drawdown (points)"]
    assert drawdowns.iloc[0] == "**0.00** [0.00, -0.02]"


def test_notes_are_numbered_and_shared(table1):
    frame = table1.assign(note=["b", "a", "b", None])
    markdown = page(frame)
    assert re.findall(r"<sup>(\d)</sup>", markdown) == ["1", "2", "1"]
    assert "1. b\n2. a" in markdown


def test_pipes_and_markup_in_names_stay_in_their_cell(table1):
    frame = table1.assign(layers=["a|b", "c*", "<d>", "e"])
    markdown = page(frame)
    parsed = cells(markdown)
    assert parsed["Layers"][0] == r"a\|b"
    assert parsed["Layers"][1] == r"c\*"
    assert "<d>" not in markdown
    assert r"95 % constraint \| least violating" in markdown


def test_missing_values_and_intervals_are_dashes_or_nothing(table1):
    frame = table1.drop(columns=["num_steps_low"]).assign(layers=[np.nan, "", "all", "all"])
    frame.loc[0, ["drawdown", "drawdown_low", "drawdown_high"]] = np.nan
    parsed = cells(page(frame))
    assert parsed["Drawdown (points)"][0] == "–"
    assert parsed["Steps (mean)"][0] == "3.90"
    assert parsed["Layers"][:2].tolist() == ["–", "–"]
    assert "nan" not in page(frame)


def test_title_caption_and_scale_frame_the_table(table1):
    markdown = page(table1)
    assert markdown.startswith("# Table 1\n\nSix editors.\n\n|")
    assert markdown.endswith("`digits` is not CIFAR-10.\n")


def test_another_tasks_drawdown_is_judged_likewise():
    frame = pd.DataFrame({"training": list("ab"), "distance": [0.76, 0.17], "success_rate": [100.0, 100.0]})
    markdown = page(frame, {"distance": Column("Distance", "", 2)}, drawdown="distance", keys=["training"])
    assert cells(markdown)["Distance"].tolist() == ["0.76", "**0.17**"]


def test_chosen_hyperparameters_stand_in_one_column(table1):
    frame = table1.assign(lr=[1.333e-3, 0.012, np.nan, 12345.0], beta=[0.5, np.nan, np.nan, 0.5], eps=1e-6)
    shown = cells(page(frame, chosen=["lr", "beta", "eps"]))
    expected = ["lr 1.3e-3, β 0.5, ε 1e-6", "lr 0.012, ε 1e-6", "ε 1e-6", "lr 1.2e4, β 0.5, ε 1e-6"]
    assert shown["Chosen"].tolist() == expected
    assert hyperparameters({"k": np.nan, "trials": 1.0}, ["k"]) == "–"
    assert hyperparameters({"k": 3.0, "trials": 12.0, "proposed_by": "TPE"}, ["k"]) == "k 3 (12 trials, by TPE)"
    assert hyperparameters({"k": 3.0, "trials": np.float64(1), "proposed_by": np.nan}, ["k"]) == "k 3 (1 trial)"
    assert hyperparameters({"k": 10.0, "weight": 99.9, "damping": 0.0}, ["k", "weight", "damping"]) == (
        "k 10, weight 100, damping 0"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<img src=x onerror=alert(1)> & co", "&lt;img src=x onerror=alert(1)&gt; &amp; co"),
        ("[here](http://evil)", r"[here\](http://evil)"),
        ("![i](u) and [a][b]", r"![i\](u) and [a\][b]"),
        ("[a]: http://evil", r"[a\]: http://evil"),
        ("a | b", r"a \| b"),
        ("*b* ~s~ $m$ _i_ snake_case", r"\*b\* \~s\~ \$m\$ \_i\_ snake_case"),
        ("back\\slash `", "back\\\\slash \\`"),
        ("`code <b> | x` stays", r"`code <b> \| x` stays"),
        ("``<b>", "\\`\\`&lt;b&gt;"),
        ("two\nlines\ttab \x1b[31m\x00 \u202eright", "two lines tab [31m right"),
        ("# no heading", r"\# no heading"),
        ("1. no list", r"1\. no list"),
        ("- no list", r"\- no list"),
        ("0.5 points [0.1, 0.9]", "0.5 points [0.1, 0.9]"),
    ],
)
def test_text_of_anybodys_is_shown_as_it_is(text, shown):
    assert escape(text) == shown


def test_code_of_anybodys_stays_in_its_ticks():
    assert code("plain/`<b>`\nx") == "`plain/<b> x`"
    assert code("") == "–"
