"""Rows of the tables, computed again from the records by another route; what is broken is refused."""

from __future__ import annotations

import csv
import json
import math
import os
from dataclasses import replace

import pytest

import editors.methods.gd
from benchmarks.errors import InputError
from pipelines.config import params
from pipelines.jobs.cells import PROTOCOL
from pipelines.reporting.tables import leaderboard


@pytest.fixture
def project(tuned, monkeypatch):
    monkeypatch.chdir(tuned.folder)
    return tuned


def read():
    return leaderboard.read(params.load(), "digits")


def wilson(hits: int, count: int) -> tuple[float, float]:
    z, share = 1.959963984540054, hits / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    return 100 * (centre - half), 100 * (centre + half)


def test_a_row_is_what_its_records_say(project):
    board = leaderboard.leaderboard(read())
    assert len(board) == 4
    for row in board.to_dict("records"):
        path = f"results/digits/edits/{row['editor']}/{row['training']}-{row['layers']}"
        with open(f"{path}.csv", newline="") as file:
            records = list(csv.DictReader(file))
        assert row["edits"] == len(records) == 12
        signed = [100 * (int(r["wrong_after"]) - int(r["wrong_before"])) / int(r["control_size"]) for r in records]
        succeeded = sum(r["succeeded"] == "True" for r in records)
        assert row["success_rate"] == pytest.approx(100 * succeeded / 12)
        assert (row["success_rate_low"], row["success_rate_high"]) == pytest.approx(wilson(succeeded, 12), abs=1e-6)
        assert row["drawdown"] == pytest.approx(sum(map(abs, signed)) / 12)
        assert row["drawdown_signed"] == pytest.approx(sum(signed) / 12)
        assert row["num_steps"] == pytest.approx(sum(int(r["steps"]) for r in records) / 12)
        assert row["flip_rate"] == pytest.approx(sum(100 * int(r["flips"]) / 60 for r in records) / 12)
        assert row["generality"] == pytest.approx(sum(100 * int(r["views_after"]) / 5 for r in records) / 12)
        wrong = int(records[0]["wrong_before"])  # every edit is looked at on the whole split
        assert row["test_error"] == pytest.approx(100 * wrong / 60)
        assert (row["test_error_low"], row["test_error_high"]) == pytest.approx(wilson(wrong, 60), abs=1e-6)
        asked = [r for r in records if r["trivial"] == "False"]
        assert row["num_steps_nontrivial"] == pytest.approx(sum(int(r["steps"]) for r in asked) / len(asked))
        for metric in ("drawdown", "num_steps", "flip_rate"):
            assert row[f"{metric}_low"] <= row[metric] <= row[f"{metric}_high"]


def test_what_is_no_gradient_step_is_not_shown_as_one(project, monkeypatch):
    monkeypatch.setattr(editors.methods.gd.GradientDescent, "takes_gradient_steps", False)
    board = leaderboard.leaderboard(read()).set_index("editor")
    steps = board.filter(regex="^num_steps")
    assert steps.shape[1] == 6
    assert steps.loc[["gd"]].isna().all(axis=None)
    assert steps.loc[["rmsprop"]].notna().all(axis=None)
    assert board[["drawdown", "success_rate"]].notna().all(axis=None)


def test_the_best_come_first_and_those_below_the_required_success_last(project):
    board = leaderboard.leaderboard(read())
    clearly = board["success_rate_high"] < 95
    assert clearly.tolist() == sorted(clearly)
    for part in (board[~clearly], board[clearly]):
        assert part["drawdown"].is_monotonic_increasing


def tuned_to(result, drawdown: float, feasible: bool = True, success_rate: float = 100.0):
    tuning = {**result.description["tuning"], "drawdown": drawdown, "success_rate": success_rate}
    return replace(result, description={**result.description, "tuning": tuning, "feasible": feasible})


def with_drawdown(result, wrong_after: int):
    return replace(result, records=result.records.assign(wrong_after=wrong_after))


def chosen(results) -> dict[str, str]:
    return dict(leaderboard.table1(results)[["editor", "layers"]].itertuples(index=False))


def test_table_1_chooses_by_the_tuning_split_and_never_by_the_test_split(project):
    everything, part = [result for result in read() if result.cell.editor == "gd"]
    wrong = int(everything.records["wrong_before"].iloc[0])
    good, bad = (lambda result: with_drawdown(result, wrong)), (lambda result: with_drawdown(result, 60))
    assert chosen([bad(tuned_to(everything, 1.0)), good(tuned_to(part, 2.0))]) == {"gd": "all"}
    assert chosen([good(tuned_to(everything, 2.0)), bad(tuned_to(part, 1.0))]) == {"gd": "chain4"}


def test_table_1_prefers_a_feasible_part_and_else_the_one_that_succeeds_most(project):
    everything, part = [result for result in read() if result.cell.editor == "gd"]
    assert chosen([tuned_to(everything, 0.1, feasible=False), tuned_to(part, 9.0)]) == {"gd": "chain4"}
    failed = [tuned_to(everything, 0.1, False, 50.0), tuned_to(part, 9.0, False, 60.0)]
    assert chosen(failed) == {"gd": "chain4"}


def test_tables_hold_the_cells_of_the_paper_with_its_numbers_beside_ours(project):
    results = read()
    assert leaderboard.table1(results)["editor"].tolist() == ["gd", "rmsprop"]
    table2 = leaderboard.table2(results)
    pairs = list(table2[["editor", "layers"]].itertuples(index=False, name=None))
    assert pairs == [(editor, layers) for editor in ("gd", "rmsprop") for layers in ("all", "chain4")]
    with open(os.path.join(os.path.dirname(leaderboard.__file__), "../results/published/table2.csv")) as file:
        paper = {(row["editor"], row["layers"]): row for row in csv.DictReader(file)}
    for row in table2.to_dict("records"):
        assert row["published_drawdown"] == float(paper[row["editor"], row["layers"]]["drawdown"])


def test_times_are_those_of_the_shards(project):
    for row, result in zip(leaderboard.timings(read()).to_dict("records"), read(), strict=True):
        assert row["milliseconds"] == pytest.approx(sum(result.milliseconds) / 12, abs=1e-3)
        assert row["milliseconds_max"] == pytest.approx(max(result.milliseconds), abs=1e-3)


BROKEN = {
    "another protocol": ({"protocol": 99}, f"was made with protocol 99, this is {PROTOCOL}"),
    "another number of edits": ({"edits": 13}, "speaks of 13 edits, its records are 12"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_description_that_does_not_fit_is_refused(project, case):
    change, sentence = BROKEN[case]
    path = project.folder / "results/digits/edits/gd/plain-all.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=sentence):
        read()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("plain-all.json", None, "plain-all.json is missing: run `python -m pipelines.evaluate digits gd` first"),
        ("plain-all.csv", None, "plain-all.csv is missing"),
        ("plain-all.timing.csv", None, "plain-all.timing.csv is missing"),
        ("plain-all.json", "{", "are broken"),
        ("plain-all.csv", "", "are broken"),
        ("plain-all.timing.csv", "edit\n0\n", "are broken"),
        ("plain-all.csv", "edit,steps\n0,1\n", "12 edits, its records are 1"),
    ],
)
def test_a_missing_or_broken_file_is_refused_by_name(project, name, content, sentence):
    path = project.folder / "results/digits/edits/gd" / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InputError, match=sentence):
        read()
    ended = project.run("report", "digits")
    assert ended.code == 2
    assert "Traceback" not in ended.errors
    assert not (project.folder / "results/digits/table1.csv").exists()
