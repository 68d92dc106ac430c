"""A stage that is killed and run again ends with the bytes of an unbroken one; nothing else is reused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]


def finished_trials(project) -> int:
    journals = list((project.folder / "unfinished/digits/studies").rglob("*.journal"))
    return sum(path.read_text().count('"judgement"') for path in journals)


def test_a_study_killed_in_the_middle_ends_with_the_same_bytes(trained, tmp_path):
    trained.change(editors__rmsprop__trials=12, editors__rmsprop__subsets={"plain": ["chain4"]})
    unbroken = trained.copy(tmp_path / "unbroken")
    unbroken.succeed("tune", "digits", "rmsprop")
    for trials in (2, 7):
        ended = trained.start("tune", "digits", "rmsprop").stop(lambda at=trials: finished_trials(trained) >= at)
        assert ended.code == -signal.SIGKILL
        assert trials <= finished_trials(trained) < 12
        assert not trained.files("results")
    trained.succeed("tune", "digits", "rmsprop")
    files = trained.files("results")
    assert len(files) == 2
    assert files == unbroken.files("results")
    assert not trained.files("unfinished")


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(trained, tmp_path):
    """Only the parent is killed: workers that lived on would write into the journals that the next run resumes."""
    trained.change(processes=2, editors__rmsprop__trials=12)
    unbroken = trained.copy(tmp_path / "unbroken")
    unbroken.succeed("tune", "digits", "rmsprop")
    ended = trained.start("tune", "digits", "rmsprop").stop(lambda: finished_trials(trained) >= 3)
    assert ended.code == -signal.SIGKILL
    trained.succeed("tune", "digits", "rmsprop")
    assert trained.files("results") == unbroken.files("results")


def test_an_evaluation_killed_between_shards_ends_with_the_same_bytes(tuned):
    tuned.change(benchmarks__digits__evaluation={"edits": 60, "control_size": None, "shard": 4})
    unbroken = tuned.copy(tuned.folder.with_name("unbroken"))
    unbroken.succeed("evaluate", "digits", "rmsprop")
    before = tuned.files("results/digits/edits/rmsprop")
    shards = tuned.folder / "unfinished/digits/shards/rmsprop"
    ended = tuned.start("evaluate", "digits", "rmsprop").stop(
        lambda: len(list(shards.glob("plain-all-*/[0-9]*.csv"))) >= 3
    )
    assert ended.code == -signal.SIGKILL
    assert 3 <= len(list(shards.glob("plain-all-*/[0-9]*.csv"))) < 15
    assert tuned.files("results/digits/edits/rmsprop") == before
    tuned.succeed("evaluate", "digits", "rmsprop")
    assert tuned.files("results/digits/edits") == unbroken.files("results/digits/edits")
    assert tuned.files("results/digits/edits/rmsprop") != before
    assert not tuned.files("unfinished")


def test_a_shard_is_used_again_with_the_same_settings_only(tuned):
    tuned.change(benchmarks__digits__evaluation={"edits": 60, "control_size": None, "shard": 4})
    shards = tuned.folder / "unfinished/digits/shards/gd"
    tuned.start("evaluate", "digits", "gd").stop(lambda: bool(list(shards.glob("plain-all-*/00001.csv"))))
    (first,) = shards.glob("plain-all-*/00000.csv")
    marked = pd.read_csv(first).assign(steps=77)
    marked.to_csv(first, index=False)
    other = tuned.copy(tuned.folder.with_name("other"))
    other.change(seed=1)
    for project, expected in ((tuned, True), (other, False)):
        project.succeed("evaluate", "digits", "gd")
        records = pd.read_csv(project.folder / "results/digits/edits/gd/plain-all.csv")
        assert (records["steps"].head(4) == 77).all() == expected
        assert (records["steps"].tail(56) <= 10).all()


def test_a_training_killed_between_epochs_ends_with_the_same_bytes(trained):
    shutil.rmtree(trained.folder / "models")
    trained.change(benchmarks__digits__trainings__plain__epochs=6)
    unbroken = trained.copy(trained.folder.with_name("unbroken"))
    unbroken.succeed("train", "digits", "plain")
    checkpoint = trained.folder / "unfinished/digits/training/plain/checkpoint.pt"
    ended = trained.start("train", "digits", "plain").stop(checkpoint.exists)
    assert ended.code == -signal.SIGKILL
    assert not trained.files("models")
    trained.succeed("train", "digits", "plain")
    files = trained.files("models")
    assert {name.rsplit("/")[-1] for name in files} == {"model.safetensors", "model.json", "history.csv"}
    assert files == unbroken.files("models")
    assert not trained.files("unfinished")


@pytest.mark.slow
def test_an_unfinished_training_of_other_settings_is_not_used(trained):
    trained.change(benchmarks__digits__trainings__plain__epochs=6)
    checkpoint = trained.folder / "unfinished/digits/training/plain/checkpoint.pt"
    fresh = trained.copy(trained.folder.with_name("fresh"))
    trained.start("train", "digits", "plain").stop(checkpoint.exists)
    for project in (trained, fresh):
        project.change(seed=1)
        project.succeed("train", "digits", "plain")
    assert trained.files("models") == fresh.files("models")


@pytest.mark.slow
def test_an_unfinished_study_of_other_settings_is_not_used(trained):
    trained.change(editors__gd__trials=12, editors__gd__subsets={"plain": ["all"]})
    fresh = trained.copy(trained.folder.with_name("fresh"))
    trained.start("tune", "digits", "gd").stop(lambda: finished_trials(trained) >= 2)
    for project in (trained, fresh):
        project.change(seed=1)
        project.succeed("tune", "digits", "gd")
    assert trained.files("results") == fresh.files("results")


def test_one_process_and_two_give_the_same_bytes(tuned_once, tuned):
    shutil.rmtree(tuned.folder / "results")
    tuned.change(processes=2)
    for stage in ("tune", "evaluate"):
        tuned.succeed(stage, "digits", "rmsprop")
    for below in ("results/digits/tuned/rmsprop", "results/digits/edits/rmsprop"):
        assert len(tuned.files(below)) == 4
        assert tuned.files(below) == tuned_once.files(below)


def test_what_is_done_already_is_left_alone_and_keeps_its_time(tuned):
    times = {path: path.stat().st_mtime_ns for path in (tuned.folder / "results").rglob("plain-*")}
    timing = tuned.folder / "results/digits/tuned/gd/timing.json"
    spent = {"plain-all": 12.5, "plain-chain4": 3.0}
    timing.write_text(json.dumps(spent))
    for stage in ("tune", "evaluate"):
        assert f"{stage} digits gd: 2 of 2 unchanged" in tuned.succeed(stage, "digits", "gd").output
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert json.loads(timing.read_text()) == spent


@pytest.mark.parametrize("stage", ["tune", "evaluate"])
def test_another_interpreter_finds_the_same_things_done(tuned, stage):
    """All stages of this file are forks of one process, so that even addresses in memory agree; here they do not."""
    ended = subprocess.run(
        [sys.executable, "-m", f"pipelines.{stage}", "digits", "gd"],
        cwd=tuned.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert f"{stage} digits gd: 2 of 2 unchanged" in ended.stdout


def test_a_part_that_is_no_longer_edited_leaves_no_files(tuned):
    tuned.change(editors__gd__subsets={"plain": ["all"]})
    for stage in ("tune", "evaluate"):
        tuned.succeed(stage, "digits", "gd")
    left = {path.name.split(".")[0] for path in (tuned.folder / "results").rglob("gd/*")}
    assert left == {"plain-all", "timing"}


def test_without_a_feasible_trial_the_least_violating_is_chosen_and_said_so(tuned):
    tuned.change(
        editors__gd__ranges={"lr": [1.0e-9, 1.0e-8]},
        editors__gd__subsets={"plain": ["all"]},
        leaderboard=["gd"],
    )
    ended = tuned.succeed("tune", "digits", "gd")
    assert "no trial reached 97.5 % success" in ended.output
    chosen = json.loads((tuned.folder / "results/digits/tuned/gd/plain-all.json").read_text())
    trials = pd.read_csv(tuned.folder / "results/digits/tuned/gd/plain-all.csv")
    assert chosen["feasible"] is False
    assert not trials["feasible"].any()
    assert chosen["tuning"]["success_rate"] == trials["success_rate"].max() < 95
    tuned.succeed("evaluate", "digits", "gd")
    ended = tuned.succeed("report", "digits")
    note = pd.read_csv(tuned.folder / "results/digits/leaderboard.csv")["note"][0]
    assert "no trial of the tuning reached 97.5 % success" in note
    assert note in (tuned.folder / "results/digits/leaderboard.md").read_text()
    assert "> **Warning:** MLflow was not filled" in (tuned.folder / "results/README.md").read_text()


def test_an_editor_that_has_nothing_to_edit_at_present_keeps_its_results(tuned):
    before = {**tuned.files("results/digits/tuned/gd"), **tuned.files("results/digits/edits/gd")}
    assert before
    tuned.change(editors__gd__subsets={"study-4-edits": ["all"]})  # described, and not trained
    for stage in ("tune", "evaluate"):
        assert "digits gd: nothing to do, `trainings` lists none" in tuned.succeed(stage, "digits", "gd").output
    assert {**tuned.files("results/digits/tuned/gd"), **tuned.files("results/digits/edits/gd")} == before


def test_a_later_tuning_with_the_same_outcome_is_noted_and_nothing_edited_again(tuned):
    records = tuned.files("results/digits/edits/gd")
    path = tuned.folder / "results/digits/tuned/gd/plain-all.json"
    chosen = json.loads(path.read_text())
    path.write_text(json.dumps(chosen | {"feasible": not chosen["feasible"], "min_success": 12.5}))
    assert "evaluate digits gd: 2 of 2 unchanged" in tuned.succeed("evaluate", "digits", "gd").output
    after = tuned.files("results/digits/edits/gd")
    name = "results/digits/edits/gd/plain-all.json"
    before, described = json.loads(records.pop(name)), json.loads(after.pop(name))
    assert after == records
    assert described == before | {"feasible": not chosen["feasible"], "min_success": 12.5}
