"""What the index shows of one benchmark, from its result files alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from pipelines.reporting.pages import overview

ROWS = pd.DataFrame(
    {
        "training": ["plain", "editable", "plain"],
        "editor": ["rmsprop", "rmsprop", "cache"],
        "layers": ["chain3", "chain3", "all"],
        "test_error": [6.0, 6.5, 6.0],
        "drawdown": [2.0, 1.25, 0.1],
        "drawdown_low": [1.5, 1.0, 0.05],
        "drawdown_high": [2.5, 1.5, 0.15],
        "success_rate": [98.0, 97.0, 100.0],
        "generality": [40.0, 50.0, 10.0],
        "note": ["one step short", None, None],
        "published_drawdown": [1.77, None, None],
        "appendix": [False, False, True],
    }
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "digits").mkdir()
    return tmp_path / "digits"


def test_measured_rows_are_shown_with_interval_note_and_published_value(folder: Path) -> None:
    missing = ROWS.iloc[:1].assign(training="cnp", drawdown=None, test_error=None, success_rate=None)
    pd.concat([ROWS, missing]).to_csv(folder / "table3.csv", index=False)
    text = "\n".join(overview.main_table(folder))
    assert "| plain | rmsprop | chain3 <sup>1</sup> | 6.00 % | 2.00 [1.50, 2.50] | 1.77 | 98.0 % |" in text
    assert "| editable | rmsprop | chain3 | 6.50 % | **1.25** [1.00, 1.50] | – | 97.0 % |" in text
    assert "| plain | cache | all | 6.00 % | 0.10 [0.05, 0.15] | – | 100.0 % |" in text
    assert "cnp" not in text
    assert "without those that the paper's table does not have" in text
    assert "Generality" not in text
    assert "1. one step short" in text
    assert "(digits/table3.md)" in text


def test_the_first_table_there_is_counts(folder: Path) -> None:
    assert overview.main_table(folder) == []
    ROWS.assign(architecture="resnet18").to_csv(folder / "table4.csv", index=False)
    assert overview.main_table(folder)[0].startswith("**Table 4")
    ROWS.assign(drawdown=None).to_csv(folder / "table3.csv", index=False)  # nothing measured
    assert overview.main_table(folder)[0].startswith("**Table 4")
    ROWS.to_csv(folder / "table3.csv", index=False)
    assert overview.main_table(folder)[0].startswith("**Table 3")


def test_each_claim_has_one_line(folder: Path) -> None:
    assert overview.verdicts(folder) == []
    judged = {"claim": ["a", "a", "b"], "says": ["x < y.", "x < y.", "z."], "claim_verdict": ["holds", "holds", "open"]}
    pd.DataFrame(judged).to_csv(folder / "claims.csv", index=False)
    lines = [line for line in overview.verdicts(folder) if line.startswith("| ")]
    assert lines[2:] == ["| x &lt; y. | holds |", "| z. | open |"]
