"""Markdown tables, read back by splitting their lines, against the frame they were made from."""

import re

import numpy as np
import pandas as pd
import pytest

from pipelines.reporting.tables.markdown import Column, to_markdown
from tests.pipelines.reporting.conftest import steps_only_of

DRAWDOWN = Column("drawdown", "Drawdown", "points", 2)
METRICS = [DRAWDOWN, Column("success_rate", "Success rate", "%", 1), Column("num_steps", "Steps", "mean", 2)]
WORDS = {"title": "Table 1", "caption": "Six editors.", "scale_note": "`digits` is not CIFAR-10."}


def cells(markdown: str) -> pd.DataFrame:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert len({len(row) for row in split}) == 1
    return pd.DataFrame(split[2:], columns=split[0])


def numbers(cell: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+\.?\d*", cell)]


def test_every_number_comes_back(table1):
    parsed = cells(to_markdown(table1, metrics=METRICS, **WORDS))
    assert list(parsed["Editor"]) == list(table1["editor"])
    for heading, metric in [("Drawdown (points)", "drawdown"), ("Success rate (%)", "success_rate")]:
        expected = table1[[metric, f"{metric}_low", f"{metric}_high"]].to_numpy()
        found = np.array([numbers(cell) for cell in parsed[heading]])
        np.testing.assert_allclose(found, expected, atol=0.051)
    assert parsed["Success rate (%)"][0].startswith("97.8 % [")
    assert parsed["Drawdown, paper"].tolist() == ["3.8", "1.77", "2.42", "–"]


def test_paper_column_only_where_the_paper_has_numbers(table1):
    frame = table1.assign(published_num_steps=np.nan)
    headings = list(cells(to_markdown(frame, metrics=METRICS, **WORDS)))
    assert [heading for heading in headings if "paper" in heading] == ["Drawdown, paper"]


def test_bold_is_the_smallest_drawdown_among_rows_with_enough_success(table1):
    parsed = cells(to_markdown(table1, metrics=METRICS, **WORDS))
    assert table1["drawdown"].idxmin() == 2  # momentum, which succeeds too rarely
    assert ["**" in cell for cell in parsed["Drawdown (points)"]] == [False, True, False, False]
    assert parsed["Drawdown (points)"][1].startswith("**2.31** [2.06, 2.81]")
    nobody = cells(to_markdown(table1.assign(success_rate=94.9, success_rate_high=94.95), metrics=METRICS, **WORDS))
    assert not any("**" in cell for cell in nobody["Drawdown (points)"])
    edge = cells(to_markdown(table1.assign(success_rate=94.9, success_rate_high=96.0), metrics=METRICS, **WORDS))
    assert ["**" in cell for cell in edge["Drawdown (points)"]] == [False, False, True, False]


def test_the_legend_says_that_rows_beyond_the_papers_table_are_not_compared(table1):
    markdown = to_markdown(table1, metrics=METRICS, **WORDS)
    assert "bold is the smallest drawdown among rows not clearly below 95 % success" in markdown
    appended = table1.assign(appendix=[False, True, False, False])  # rmsprop, the best
    markdown = to_markdown(appended, metrics=METRICS, **WORDS)
    assert ["**" in cell for cell in cells(markdown)["Drawdown (points)"]] == [False, False, False, True]
    assert "95 % success, without those that the paper's table does not have" in markdown
    nobody = to_markdown(appended.assign(success_rate=10.0, success_rate_high=11.0), metrics=METRICS, **WORDS)
    assert "without those" not in nobody
    assert "bold" not in nobody


def test_steps_of_editors_without_gradients_are_a_dash(table1):
    frame = steps_only_of(table1, ["rmsprop"])
    markdown = to_markdown(frame, metrics=METRICS, **WORDS)
    assert cells(markdown)["Steps (mean)"].tolist() == ["–", "3.10 [2.85, 3.60]", "–", "–"]
    assert "– under steps: the editor takes no gradient steps" in markdown
    assert "under steps" not in to_markdown(table1, metrics=METRICS, **WORDS)
    assert "under steps" not in to_markdown(frame, metrics=METRICS[:2], **WORDS)


def test_zero_has_no_minus_sign(table1):
    frame = table1.assign(drawdown=-0.001, drawdown_low=-0.0049, drawdown_high=-0.02)
    drawdowns = cells(to_markdown(frame, metrics=METRICS, **WORDS))["Drawdown (points)"]
    assert drawdowns.iloc[0] == "**0.00** [0.00, -0.02]"


def test_notes_are_numbered_and_shared(table1):
    frame = table1.assign(note=["b", "a", "b", None])
    markdown = to_markdown(frame, metrics=METRICS, **WORDS)
    assert re.findall(r"<sup>(\d)</sup>", markdown) == ["1", "2", "1"]
    assert "1. b\n2. a" in markdown


def test_pipes_and_markup_in_names_stay_in_their_cell(table1):
    frame = table1.assign(layers=["a|b", "c*", "<d>", "e"])
    markdown = to_markdown(frame, metrics=METRICS, **WORDS)
    parsed = cells(markdown)
    assert parsed["Layers"][0] == r"a\|b"
    assert parsed["Layers"][1] == r"c\*"
    assert "<d>" not in markdown
    assert r"95 % constraint \| least violating" in markdown


def test_missing_values_and_intervals_are_dashes_or_nothing(table1):
    frame = table1.drop(columns=["num_steps_low"]).assign(layers=[np.nan, "", "all", "all"])
    frame.loc[0, ["drawdown", "drawdown_low", "drawdown_high"]] = np.nan
    parsed = cells(to_markdown(frame, metrics=METRICS, **WORDS))
    assert parsed["Drawdown (points)"][0] == "–"
    assert parsed["Steps (mean)"][0] == "3.90"
    assert parsed["Layers"][:2].tolist() == ["–", "–"]
    assert "nan" not in to_markdown(frame, metrics=METRICS, **WORDS)


def test_title_caption_and_scale_frame_the_table(table1):
    markdown = to_markdown(table1, metrics=METRICS, **WORDS)
    assert markdown.startswith("# Table 1\n\nSix editors.\n\n|")
    assert markdown.endswith("`digits` is not CIFAR-10.\n")


def test_bleu_drawdown_is_judged_like_drawdown():
    frame = pd.DataFrame({"training": list("ab"), "bleu_drawdown": [0.76, 0.17], "success_rate": [100.0, 100.0]})
    column = Column("bleu_drawdown", "BLEU drawdown", "", 2)
    parsed = cells(to_markdown(frame, metrics=[column], keys=["training"], **WORDS))
    assert parsed["BLEU drawdown"].tolist() == ["0.76", "**0.17**"]


def test_empty_and_incomplete_frames_are_refused(table1):
    with pytest.raises(ValueError, match=r"table 'Table 1'.*no rows"):
        to_markdown(table1.iloc[:0], metrics=METRICS, **WORDS)
    with pytest.raises(ValueError, match="'flip_rate'"):
        to_markdown(table1, metrics=[Column("flip_rate", "Flips", "%", 1)], **WORDS)
