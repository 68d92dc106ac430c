"""results/README.md, from the files that reports left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.errors import InputError
from pipelines.config import params
from pipelines.reporting.pages import index


def test_the_index_has_table_3_of_the_largest_training_set_first_and_says_what_made_it(tuned, monkeypatch):
    tuned.succeed("report", "digits")
    monkeypatch.chdir(tuned.folder)
    run = json.loads(Path("results/digits/run.json").read_text())
    assert run["data"]["sizes"] == {"training": 1677, "tuning": 60, "test": 60}
    assert set(run["parameters"]["editors"]) == {"gd", "rmsprop"}
    assert run["parameters"]["benchmark"]["trainings"]["plain"]["epochs"] == 2
    shutil.copytree("results/digits", "results/larger")
    shutil.copytree("results/digits", "results/largest")
    Path("results/largest/table3.md").unlink()
    run["data"]["sizes"]["training"] = 50000
    run["parameters"]["benchmark"]["note"] = "As it was said when this was run."
    run["git_commit"] = "0123456789abcdef-dirty"
    Path("results/larger/run.json").write_text(json.dumps(run))
    run["data"]["sizes"]["training"] = 100000
    Path("results/largest/run.json").write_text(json.dumps(run))
    shutil.copytree("results/digits", "results/alike-but-shorter")
    board = pd.read_csv("results/digits/leaderboard.csv")
    board.iloc[:-1].to_csv("results/alike-but-shorter/leaderboard.csv", index=False)
    index.write_index(Path("results"), params.load())
    text = Path("results/README.md").read_text()
    assert "## larger\n\nAs it was said when this was run.\n" in text
    order = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert order == ["larger", "digits", "alike-but-shorter", "largest"]  # the last has no Table 3
    assert "at commit `0123456789ab` with local changes to its code; again with" in text
    trials = sum(len(pd.read_csv(path)) for path in Path("results/digits/tuned").glob("*/*.csv"))
    assert f"Tuning tried {trials} configurations" in text
    assert trials >= 12


def test_a_report_that_is_being_written_is_left_out_and_merged_rows_are_named(tuned, monkeypatch):
    tuned.succeed("report", "digits")
    monkeypatch.chdir(tuned.folder)
    Path("results/half").mkdir()
    shutil.copy("results/digits/leaderboard.csv", "results/half/leaderboard.csv")
    run = json.loads(Path("results/digits/run.json").read_text())
    run["made_elsewhere"] = {"NVIDIA H200 at commit 0123456789ab": 3}
    Path("results/digits/run.json").write_text(json.dumps(run))
    index.write_index(Path("results"), params.load())
    text = Path("results/README.md").read_text()
    assert "## half" not in text
    assert "Of these, 3 rows were made on NVIDIA H200 at commit 0123456789ab." in text


def test_broken_results_are_named(tuned, monkeypatch):
    tuned.succeed("report", "digits")
    monkeypatch.chdir(tuned.folder)
    Path("results/digits/leaderboard.csv").write_text("training,editor\nplain\n")
    with pytest.raises(InputError, match=r"the results in results/digits are broken .* pipelines.report digits"):
        index.write_index(Path("results"), params.load())
