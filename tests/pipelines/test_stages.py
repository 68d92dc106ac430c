"""A stage that is killed and run again ends with the bytes of an unbroken one; nothing else is reused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from pipelines.store.layout import Layout
from pipelines.store.provenance import one_at_a_time
from tests.pipelines.conftest import DEADLINE, Project

ROOT = Path(__file__).parents[2]
TUNED, EDITS = "results/digits/tuned", "results/digits/edits"


def finished_trials(project: Project) -> int:
    journals = list((project.folder / "unfinished/digits/studies").rglob("*.journal"))
    return sum(path.read_text().count('"outcome"') for path in journals)


def shards(project: Project, editor: str) -> list[Path]:
    return list((project.folder / "unfinished/digits/shards" / editor).glob("plain-all-*/[0-9]*.csv"))


def test_a_study_killed_in_the_middle_ends_with_the_same_bytes(trained, tmp_path):
    trained.change(editors__rmsprop__trials=6, editors__rmsprop__layers={"plain": ["chain4"]})
    unbroken = trained.copy(tmp_path / "unbroken")
    unbroken.succeed("tune", "digits", "rmsprop")
    for trials in (2, 4):  # the sampler fits a model to the fourth trial and those after it
        ended = trained.start("tune", "digits", "rmsprop").stop(lambda at=trials: finished_trials(trained) >= at)
        assert ended.code == -signal.SIGKILL
        assert trials <= finished_trials(trained) < 6
        assert not trained.files(TUNED)
    trained.succeed("tune", "digits", "rmsprop")
    files = trained.files(TUNED)
    assert len(files) == 2
    assert files == unbroken.files(TUNED)
    assert not trained.files("unfinished")


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(trained, tmp_path):
    """Only the parent is killed: workers that lived on would write into the journals that the next run resumes."""
    trained.choose(processes=2)
    trained.change(editors__rmsprop__trials=12)
    unbroken = trained.copy(tmp_path / "unbroken")
    unbroken.succeed("tune", "digits", "rmsprop")
    ended = trained.start("tune", "digits", "rmsprop").stop(lambda: finished_trials(trained) >= 3)
    assert ended.code == -signal.SIGKILL
    trained.succeed("tune", "digits", "rmsprop")
    assert trained.files(TUNED) == unbroken.files(TUNED)


def test_an_evaluation_killed_between_shards_ends_with_the_same_bytes(tuned):
    tuned.change(evaluation={"edits": 40, "shard": 4}, editors__rmsprop__layers={"plain": ["all"]})
    unbroken = tuned.copy(tuned.folder.with_name("unbroken"))
    unbroken.succeed("evaluate", "digits", "rmsprop")
    before = tuned.files(f"{EDITS}/rmsprop")
    ended = tuned.start("evaluate", "digits", "rmsprop").stop(lambda: len(shards(tuned, "rmsprop")) >= 3)
    assert ended.code == -signal.SIGKILL
    assert 3 <= len(shards(tuned, "rmsprop")) < 10
    assert tuned.files(f"{EDITS}/rmsprop") == before
    tuned.succeed("evaluate", "digits", "rmsprop")
    assert tuned.files(EDITS) == unbroken.files(EDITS)
    assert tuned.files(f"{EDITS}/rmsprop") != before
    assert not tuned.files("unfinished")


def test_a_shard_is_used_again_with_the_same_settings_only(tuned):
    tuned.change(evaluation={"edits": 40, "shard": 4}, editors__gd__layers={"plain": ["all"]})
    tuned.start("evaluate", "digits", "gd").stop(lambda: len(shards(tuned, "gd")) >= 2)
    first = min(shards(tuned, "gd"))
    pd.read_csv(first).assign(steps=77).to_csv(first, index=False)
    other = tuned.copy(tuned.folder.with_name("other"))
    other.choose(seed=1)
    for project, expected in ((tuned, True), (other, False)):
        project.succeed("evaluate", "digits", "gd")
        records = pd.read_csv(project.folder / EDITS / "gd/plain-all.csv")
        assert (records["steps"].head(4) == 77).all() == expected
        assert (records["steps"].tail(36) <= 5).all()


def test_a_training_killed_between_epochs_ends_with_the_same_bytes(trained):
    described = "results/digits/models/plain"
    for folder in ("models", described):
        shutil.rmtree(trained.folder / folder)
    trained.change(trainings__plain__epochs=6)
    unbroken = trained.copy(trained.folder.with_name("unbroken"))
    unbroken.succeed("train", "digits", "plain")
    checkpoint = trained.folder / "unfinished/digits/training/plain/checkpoint.pt"
    ended = trained.start("train", "digits", "plain").stop(checkpoint.exists)
    assert ended.code == -signal.SIGKILL
    assert not trained.files("models")
    trained.succeed("train", "digits", "plain")
    names = {"models": {"model.safetensors", "model.json"}, described: {"model.json", "history.csv", "made.json"}}
    for below, expected in names.items():
        files = trained.files(below)
        assert {name.rsplit("/")[-1] for name in files} == expected
        assert files == unbroken.files(below)
    assert not trained.files("unfinished")


def test_weights_that_came_with_the_results_are_taken_where_one_asks_for_them(trained):
    weights = trained.folder / "models/digits/plain/model.safetensors"
    content, described = weights.read_bytes(), trained.folder / "results/digits/models/plain"
    history = (described / "history.csv").read_bytes()
    shutil.copy(weights, described)
    shutil.rmtree(trained.folder / "models")
    model = described / "model.json"
    model.write_text(json.dumps(json.loads(model.read_text()) | {"fingerprint": "of another version of the code"}))
    other = {"recipe": "plain", "epochs": 1, "batch_size": 64, "lr": 1e-3, "schedule": "cosine"}
    trained.change(trainings__other=other)
    said = trained.succeed("train", "digits", "--published").output
    assert "took results/digits/models/plain/model.safetensors, made on" in said
    assert "no weights came of other; name those that are to be made" in said
    assert not (trained.folder / "models/digits/other").exists()
    trained.change(trainings__other=None)
    assert weights.read_bytes() == content
    assert (described / "history.csv").read_bytes() == history
    assert "unchanged" in trained.succeed("train", "digits").output
    trained.change(trainings__plain__epochs=1)
    ended = trained.run("train", "digits", "--published")
    assert ended.code == 2
    assert "model.safetensors was trained with epochs: 2, but digits plain asks for 1" in ended.errors
    trained.change(trainings__plain__epochs=2)
    assert "unchanged" in trained.succeed("train", "digits", "--published").output
    trained.change(data__options__tuning_size=50)
    trained.succeed("prepare", "digits")
    ended = trained.run("train", "digits", "--published")
    assert ended.code == 2
    assert "model.safetensors was trained on other data than data/digits holds" in ended.errors
    assert weights.read_bytes() == content
    (described / "made.json").unlink()
    assert "made.json is missing: run `python -m" in trained.run("train", "digits", "--published").errors
    (described / weights.name).unlink()
    assert "no weights came with results/digits/models" in trained.run("train", "digits", "--published").errors


def test_one_process_and_two_give_the_same_bytes(tuned_once, tuned):
    shutil.rmtree(tuned.folder / "results")
    tuned.choose(processes=2)
    for stage in ("tune", "evaluate"):
        tuned.succeed(stage, "digits", "rmsprop")
    for below in (f"{TUNED}/rmsprop", f"{EDITS}/rmsprop"):
        assert len(tuned.files(below)) == 4
        assert tuned.files(below) == tuned_once.files(below)


def test_what_is_done_already_is_left_alone_and_keeps_its_time(tuned):
    times = {path: path.stat().st_mtime_ns for path in (tuned.folder / "results").rglob("plain-*")}
    timing = tuned.folder / TUNED / "gd/timing.json"
    spent = {"plain-all": 12.5, "plain-chain4": 3.0}
    timing.write_text(json.dumps(spent))
    for stage in ("tune", "evaluate"):
        assert f"{stage} digits gd: 2 of 2 unchanged" in tuned.succeed(stage, "digits", "gd").output
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert json.loads(timing.read_text()) == spent


def test_another_interpreter_finds_the_same_things_done(tuned):
    """All stages of this file are forks of one process, so that even addresses in memory agree; here they do not."""
    ended = subprocess.run(
        [sys.executable, "-m", "pipelines.evaluate", "digits", "gd"],
        cwd=tuned.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "evaluate digits gd: 2 of 2 unchanged" in ended.stdout


def test_a_part_or_an_editor_that_is_no_longer_edited_leaves_no_files(tuned):
    tuned.change(editors__gd__layers={"plain": ["all"]}, editors__rmsprop__layers={})
    for stage, folder in (("tune", TUNED), ("evaluate", EDITS)):
        before = tuned.files(f"{folder}/rmsprop")
        said = tuned.succeed(stage, "digits", "rmsprop").output
        assert said == "digits rmsprop: nothing to do, its block names no `layers`\n"
        assert tuned.files(f"{folder}/rmsprop") == before != {}  # asked for by name, it may only be set aside
        tuned.succeed(stage, "digits")
        assert {path.name for path in (tuned.folder / folder).iterdir()} == {"gd"}
    left = {path.name.split(".")[0] for path in (tuned.folder / "results").rglob("gd/*")}
    assert left == {"plain-all", "timing"}


def test_values_that_are_given_are_evaluated_without_a_search(tuned):
    row = {"method": "rmsprop", "trials": 0, "fixed": {"lr": 2e-3}, "max_steps": 7, "layers": {"plain": ["chain4"]}}
    tuned.change(editors__rmsprop_2e_3=row)
    said = tuned.succeed("tune", "digits", "rmsprop_2e_3").output
    assert "tune digits plain/rmsprop_2e_3/chain4: given: lr=0.002, beta=0.5, eps=1e-06" in said
    assert set(tuned.files(f"{TUNED}/rmsprop_2e_3")) == {f"{TUNED}/rmsprop_2e_3/plain-chain4.json"}
    tuned.succeed("evaluate", "digits", "rmsprop_2e_3")
    described = json.loads((tuned.folder / EDITS / "rmsprop_2e_3/plain-chain4.json").read_text())
    assert described["hyperparameters"] == {"lr": 2e-3, "beta": 0.5, "eps": 1e-6}
    assert (described["max_steps"], described["feasible"], described["tuning"]) == (7, True, None)
    tuned.change(tuning__edits=5)  # concerns searches only
    assert "1 of 1 unchanged" in tuned.succeed("tune", "digits", "rmsprop_2e_3").output
    tuned.change(tuning__min_success=50.0)  # which the row is held against
    tuned.succeed("tune", "digits", "rmsprop_2e_3")
    tuned.succeed("evaluate", "digits", "rmsprop_2e_3")
    for folder in (TUNED, EDITS):
        assert json.loads((tuned.folder / folder / "rmsprop_2e_3/plain-chain4.json").read_text())["min_success"] == 50.0


def test_small_drawdowns_are_counted_on_the_whole_control_set(tuned):
    """Where edits break answers and mend others; a cache changes the edited image alone, so that samples are right."""
    tuned.change(evaluation__control_size=20, editors__lookup_cache={"trials": 0, "layers": {"plain": ["all"]}})
    tuned.change(editors__rank_one={"trials": 0, "layers": {"plain": ["head"]}})
    for stage in ("tune", "evaluate"):
        tuned.succeed(stage, "digits", "lookup_cache", "rank_one")
    names = ("rank_one/plain-head.csv", "lookup_cache/plain-all.csv")
    both, one = (pd.read_csv(tuned.folder / EDITS / name) for name in names)
    mended = both["broken"] + both["wrong_before"] - both["wrong_after"]
    assert both["broken"].sum() > 0 < mended.sum()
    assert (both["control_size"] == 60).all()
    assert (one["control_size"] == 20).all()
    assert (one["flips"] <= 1).all()


def test_another_edit_seed_draws_other_edits_beside_the_first(tuned):
    before = tuned.files(f"{EDITS}/gd")
    tuned.choose(edit_seeds=[0, 1])
    assert "evaluate digits gd: 2 of 4 unchanged" in tuned.succeed("evaluate", "digits", "gd").output
    after = tuned.files(f"{EDITS}/gd")
    assert {name: after[name] for name in before} == before
    assert {Path(name).name for name in after.keys() - before.keys()} == {
        f"plain-{layers}@1.{kind}" for layers in ("all", "chain4") for kind in ("json", "csv")
    }
    first, second = (pd.read_csv(tuned.folder / EDITS / f"gd/plain-all{seed}.csv") for seed in ("", "@1"))
    assert not first["image"].equals(second["image"])


def test_a_later_tuning_with_the_same_outcome_is_noted_and_nothing_edited_again(tuned):
    records = tuned.files(f"{EDITS}/gd")
    path = tuned.folder / TUNED / "gd/plain-all.json"
    chosen = json.loads(path.read_text())
    path.write_text(json.dumps(chosen | {"feasible": not chosen["feasible"], "min_success": 12.5}))
    assert "evaluate digits gd: 2 of 2 unchanged" in tuned.succeed("evaluate", "digits", "gd").output
    after = tuned.files(f"{EDITS}/gd")
    name = f"{EDITS}/gd/plain-all.json"
    before, described = json.loads(records.pop(name)), json.loads(after.pop(name))
    assert after == records
    assert described == before | {"feasible": not chosen["feasible"], "min_success": 12.5}


def test_tuning_with_fewer_digits_is_another_tuning_and_leaves_the_edits_alone(tuned):
    """On a CPU, which has no TF32, it chooses the same."""
    before = json.loads((tuned.folder / TUNED / "gd/plain-all.json").read_text())
    tuned.change(tuning__tf32=False)
    assert "tune digits gd: 2 of 2 unchanged" in tuned.succeed("tune", "digits", "gd").output
    tuned.change(tuning__tf32=True)
    assert "unchanged" not in tuned.succeed("tune", "digits", "gd").output
    after = json.loads((tuned.folder / TUNED / "gd/plain-all.json").read_text())
    assert before.pop("fingerprint") != after.pop("fingerprint")
    assert after == before
    assert "evaluate digits gd: 2 of 2 unchanged" in tuned.succeed("evaluate", "digits", "gd").output


def test_a_second_run_of_a_stage_waits_for_the_first_and_says_for_whom(tuned):
    with one_at_a_time(Layout("digits", tuned.folder), "evaluate"):
        running = tuned.start("evaluate", "digits", "gd")
        said = tuned.folder / "logs" / "stdout"
        waits = f"evaluate digits: waits for process {os.getpid()} on "
        until = time.monotonic() + DEADLINE
        while waits not in (said.read_text() if said.exists() else ""):
            assert time.monotonic() < until
            time.sleep(0.01)
    ended = running.wait()
    assert ended.code == 0
    assert ended.output.endswith("evaluate digits gd: 2 of 2 unchanged\n")


def test_a_stage_that_is_terminated_leaves_no_worker_and_no_half_file(trained):
    trained.choose(processes=2)
    trained.change(editors__rmsprop__trials=40)
    running = trained.start("tune", "digits", "rmsprop")
    ended = running.stop(lambda: finished_trials(trained) >= 2, signal.SIGTERM)
    assert ended.code == 143
    assert "Traceback" not in ended.errors
    until = time.monotonic() + DEADLINE
    while group_lives(running.pid):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert not list(trained.folder.rglob(".partial-*"))
    assert trained.files("unfinished")


def group_lives(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_interruption_while_a_command_imports_shows_no_traceback():
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines.evaluate", "--help"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        until = time.monotonic() + DEADLINE
        while "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text():
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait() == -signal.SIGINT
        assert process.stderr.read() == ""
