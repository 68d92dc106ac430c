"""What a user does wrong ends in one sentence and exit code 2, and leaves nothing half-written behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.store.fingerprint import MADE_OF, write_made_of

ROOT = Path(__file__).parents[2]


def refused(ended, *words: str) -> None:
    """Exit code 2, one sentence that holds the words, no traceback."""
    lines = ended.errors.strip().splitlines()
    assert ended.code == 2, ended
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:], ended.errors
    assert "Traceback" not in ended.errors
    for word in words:
        assert word in lines[-1]


def outputs(project) -> dict[str, bytes]:
    kept = ("data", "models", "results", "unfinished")
    assert not list(project.folder.rglob(".partial-*"))
    return {name: content for below in kept for name, content in project.files(below).items()}


def without(file: str) -> Callable:
    return lambda p: (p.folder / file).unlink()


def spoilt(file: str) -> Callable:
    return lambda p: (p.folder / file).write_bytes(b"nonsense")


MISTAKES: dict[str, tuple[Callable, list[str], list[str]]] = {
    "unknown benchmark": (lambda p: None, ["prepare", "mnist"], ["benchmark: unknown 'mnist'", "describes: digits"]),
    "path to a benchmark": (lambda p: None, ["tune", "../digits"], ["benchmark: unknown '../digits'"]),
    "unknown editor": (lambda p: None, ["tune", "digits", "adagrad"], ["editor: unknown 'adagrad'", "gd, rmsprop"]),
    "unknown training": (lambda p: None, ["train", "digits", "none"], ["training: unknown 'none'", "plain"]),
    "unknown device": (lambda p: p.choose(device="tpu"), ["tune", "digits", "gd"], ["auto, cpu, cuda", "'tpu'"]),
    "absent GPU": (lambda p: p.choose(device="cuda:99"), ["train", "digits", "plain"], ["'cuda:99'", "use cpu"]),
    "unknown layer": (
        lambda p: p.change(editors__gd__layers={"plain": ["chain9"]}),
        ["tune", "digits", "gd"],
        ["layer 'chain9'", "stem, chain1, chain2, chain3, chain4, head"],
    ),
    "unknown layer in a worker": (
        lambda p: p.change(editors__gd__layers={"plain": ["chain9", "chain4"]}) or p.choose(processes=2),
        ["tune", "digits", "gd"],
        ["layer 'chain9'", "stem, chain1"],
    ),
    "unknown key": (
        lambda p: p.choose(sead=1),
        ["tune", "digits", "gd"],
        ["params.yaml: unknown key 'sead'", "seed, training_seeds"],
    ),
    "value out of range": (
        lambda p: p.change(tuning__min_success=101),
        ["tune", "digits", "gd"],
        ["benchmarks/configs/digits.yaml: tuning.min_success should be less than or equal to 100, not 101"],
    ),
    "empty tuning split": (
        lambda p: p.change(data__options={"tuning_size": 0}),
        ["prepare", "digits"],
        ["tuning_size", "from 10 to", "found 0"],
    ),
    "missing parameter file": (lambda p: None, ["tune", "digits", "gd", "--params", "no.yaml"], ["no.yaml does not"]),
    "missing data": (
        without("data/digits/dataset.json"),
        ["tune", "digits", "gd"],
        ["data/digits/dataset.json is missing"],
    ),
    "corrupt data": (
        spoilt("data/digits/tuning.safetensors"),
        ["tune", "digits", "gd"],
        ["data/digits/tuning.safetensors is truncated or changed"],
    ),
    "missing model": (
        without("models/digits/plain/model.safetensors"),
        ["tune", "digits", "gd"],
        ["models/digits/plain/model.safetensors is missing"],
    ),
    "corrupt model": (
        spoilt("models/digits/plain/model.safetensors"),
        ["tune", "digits", "gd"],
        ["model.safetensors is not a readable safetensors file"],
    ),
    "no tuned values": (lambda p: None, ["evaluate", "digits", "gd"], ["tuned/gd/plain-all.json", "pipelines.tune"]),
    "CIFAR-10 that is not there": (
        lambda p: p.change(data={"dataset": "cifar10", "options": {"folder": "/nowhere"}}),
        ["prepare", "digits"],
        ["folder /nowhere is missing"],
    ),
    "raw files where prepared ones go": (
        lambda p: p.change(data={"dataset": "image_folder", "options": {"folder": "data/digits", "tuning_size": 9}}),
        ["prepare", "digits"],
        ["digits: data.options: data/digits is where prepared data go, not raw files"],
    ),
    "a file where a folder belongs": (
        lambda p: (p.folder / "results/digits/tuned").write_text("in the way"),
        ["tune", "digits", "gd"],
        ["results"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_one_sentence_and_leaves_nothing_half_written(trained, mistake):
    make, (stage, *arguments), words = MISTAKES[mistake]
    make(trained)
    before = outputs(trained)
    refused(trained.run(stage, *arguments), *words)
    after = outputs(trained)
    assert {name for name in after if "unfinished" not in name} == {name for name in before if "unfinished" not in name}
    assert all(after[name] == before[name] for name in before)


def test_weights_of_another_architecture_are_refused(trained):
    other = trained.copy(trained.folder.with_name("other"))
    other.change(model__options={"width": 3})
    other.succeed("train", "digits", "plain")
    weights = "models/digits/plain/model.safetensors"
    (trained.folder / weights).write_bytes((other.folder / weights).read_bytes())
    refused(trained.run("tune", "digits", "gd"), weights, "belongs to another architecture", "(3,", "(2,")
    assert not trained.files("results/digits/tuned")


def test_a_model_of_other_data_is_refused(trained):
    trained.change(data__options={"tuning_size": 61, "test_size": 60})
    trained.succeed("prepare", "digits")
    refused(trained.run("tune", "digits", "gd"), "models/digits/plain was trained on other data", "train it again")
    assert not trained.files("results/digits/tuned")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "does not hold tuned hyperparameters"),
        ("[]", "does not hold tuned hyperparameters"),
        ("{}", "does not hold tuned hyperparameters"),
        ({"hyperparameters": [1]}, "does not hold tuned hyperparameters by name"),
        ({"hyperparameters": {"lr": -1.0}}, "lr must be a number > 0, not -1"),
        ({"hyperparameters": {"lr": "big"}}, "lr must be a number > 0, not 'big'"),
        ({"hyperparameters": {"momentum": 0.9}}, "no hyperparameter 'momentum'"),
        ({"max_steps": "ten"}, "max_steps must be a whole number >= 0, not 'ten'"),
    ],
)
def test_tuned_values_that_were_spoilt_by_hand_are_refused(tuned, content, words):
    path = tuned.folder / "results/digits/tuned/gd/plain-all.json"
    path.write_text(content if isinstance(content, str) else json.dumps(json.loads(path.read_text()) | content))
    refused(tuned.run("evaluate", "digits", "gd"), words)


def test_a_checkpoint_that_cannot_be_read_is_named(trained):
    path = trained.folder / "unfinished/digits/training/plain/checkpoint.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"nonsense")
    fingerprint = json.loads((trained.folder / "models/digits/plain/model.json").read_text())["fingerprint"]
    write_made_of(path.with_name(MADE_OF), fingerprint)  # one of other code or settings would be dropped
    shutil.rmtree(trained.folder / "models")
    refused(trained.run("train", "digits", "plain"), "checkpoint.pt is not a readable checkpoint", "remove it")


def test_a_loss_that_is_no_number_stops_training_with_its_step(trained):
    trained.change(trainings__plain__lr=1.0e30)
    before = trained.files("models")
    ended = trained.run("train", "digits", "plain")
    assert ended.code == 2
    assert "Traceback" not in ended.errors
    last = ended.errors.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "loss became nan" in last
    assert "lower the learning rate (now 1e+30)" in last
    assert trained.files("models") == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(trained):
    (trained.folder / "results/digits").chmod(0o500)
    refused(trained.run("tune", "digits", "gd"), "results/digits", "Permission denied")


@pytest.mark.parametrize(("stage", "argument"), [("prepare", ""), ("tune", "gd"), ("evaluate", "gd")])
def test_a_disk_that_takes_no_more_is_named(tuned, stage, argument):
    """A limit on the size of files, which the system enforces as it would a full disk."""
    tuned.choose(seed=1)
    tuned.change(data__options={"tuning_size": 60, "test_size": 61})
    before = tuned.files("results")
    ended = tuned.run(stage, "digits", *([argument] if argument else []), LARGEST_FILE="100")
    assert ended.code == 2, ended
    assert "Traceback" not in ended.errors
    last = ended.errors.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "File too large" in last
    assert tuned.files("results") == before
    assert not list(tuned.folder.rglob(".partial-*"))


def test_a_study_that_cannot_be_read_is_named(trained):
    trained.succeed("tune", "digits", "gd")
    result = trained.folder / "results/digits/tuned/gd/plain-all.json"
    identity = json.loads(result.read_text())["fingerprint"]
    result.unlink()
    journal = trained.folder / f"unfinished/digits/studies/gd/plain-all-{identity[:12]}.journal"
    journal.parent.mkdir(parents=True)
    journal.write_text("nonsense\nand more\n")
    refused(trained.run("tune", "digits", "gd"), journal.name, "is not a readable study: remove it")


@pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) == signal.SIG_IGN, reason="started in the background: Ctrl-C is ignored here"
)
def test_ctrl_c_ends_a_stage_with_130_and_a_word_on_how_to_go_on(trained):
    trained.change(editors__rmsprop__trials=500)
    journals = trained.folder / "unfinished/digits/studies/rmsprop"
    before = outputs(trained)
    for processes in (1, 2):
        trained.choose(processes=processes)
        shutil.rmtree(trained.folder / "unfinished", ignore_errors=True)
        running = trained.start("tune", "digits", "rmsprop")
        ended = running.stop(lambda: any(journals.glob("*.journal")), signal.SIGINT, group=True)
        assert ended.code == 130
        assert ended.errors.strip() == "interrupted; run the same command again to go on"
        assert outputs(trained).keys() - before.keys() == set(trained.files("unfinished"))


@pytest.mark.parametrize("stage", ["prepare", "train", "tune", "evaluate", "analyse", "sequences", "report"])
def test_help_says_what_the_stage_does_and_takes(trained, stage):
    ended = trained.run(stage, "--help")
    assert ended.code == 0
    assert f"Usage: pipelines.{stage}" in ended.output
    assert "--params" in ended.output
    assert "[default: params.yaml]" in ended.output
    needed = {
        "prepare": ["benchmark"],
        "analyse": ["benchmark"],
        "sequences": ["benchmark"],
        "report": ["benchmark"],
        "train": ["benchmark", "trainings"],
    }
    for argument in needed.get(stage, ["benchmark", "editor"]):
        assert any(form in ended.output for form in (f"{{{argument}}}", f"[{argument}]", argument.upper()))
    assert len(ended.output.split("\n\n")[1].strip()) > 40  # a sentence about it


def test_an_unknown_editor_is_named_before_anything_is_tuned(trained):
    ended = trained.run("tune", "digits", "gd", "more")
    assert ended.code == 2
    assert ended.errors == "error: editor: unknown 'more'; there are: gd, rmsprop\n"
    assert not trained.files("results/digits/tuned")


@pytest.mark.parametrize("arguments", [[], ["digits", "gd", "--parms", "x"]])
def test_arguments_that_do_not_fit_are_explained(trained, arguments):
    ended = trained.run("tune", *arguments)
    assert ended.code == 2
    assert "Usage" in ended.errors
    assert "Error" in ended.errors
    assert "Traceback" not in ended.errors


def test_a_stage_is_a_module_of_its_own(tmp_path):
    """The rest of this file forks one process; here is the command that users type."""
    ended = subprocess.run(
        [sys.executable, "-m", "pipelines.prepare", "digits"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr == "error: params.yaml does not exist; run this in the repository's root, or give --params\n"
    assert not list(tmp_path.iterdir())
