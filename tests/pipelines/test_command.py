"""What a user does wrong ends in one sentence and exit code 2, and leaves nothing half-written behind."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.errors import InputError
from pipelines import command

ROOT = Path(__file__).parents[2]
WEIGHTS = "models/digits/plain/model.safetensors"


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


def with_layers(*layers: str) -> Callable:
    return lambda p: p.change(editors__gd__layers={"plain": list(layers)})


# What is done to a project, the command then given in it, and what it says.
MISTAKES: dict[str, tuple[Callable, str, str]] = {
    "unknown benchmark": (
        lambda p: None,
        "prepare mnist",
        "benchmark: unknown 'mnist'; benchmarks/configs describes",
    ),
    "unknown editor": (lambda p: None, "tune digits gd more", "editor: unknown 'more'; there are: gd, rmsprop"),
    "unknown layer": (
        with_layers("chain9"),
        "tune digits gd",
        "layer 'chain9'; the model has: stem, chain1",
    ),
    "unknown layer in a worker": (
        lambda p: with_layers("chain9", "chain4")(p) or p.choose(processes=2),
        "tune digits gd",
        "layer 'chain9'; the model has: stem, chain1",
    ),
    "missing data": (without("data/digits/dataset.json"), "tune digits gd", "data/digits/dataset.json is missing"),
    "missing model": (without(WEIGHTS), "tune digits gd", f"{WEIGHTS} is missing"),
    "no tuned values": (
        lambda p: None,
        "evaluate digits gd",
        "tuned/gd/plain-all.json is missing: run `python -m pipelines.tune",
    ),
    "raw files where prepared ones go": (
        lambda p: p.change(data={"dataset": "image_folder", "options": {"folder": "data/digits", "tuning_size": 9}}),
        "prepare digits",
        "digits: data.options: data/digits is where prepared data go, not raw files",
    ),
    "a file where a folder belongs": (
        lambda p: (p.folder / "results/digits/tuned").write_text("in the way"),
        "tune digits gd",
        "results",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_one_sentence_and_leaves_nothing_half_written(trained, mistake):
    make, command, words = MISTAKES[mistake]
    make(trained)
    before = outputs(trained)
    refused(trained.run(*command.split()), words)
    after = outputs(trained)
    assert {name for name in after if "unfinished" not in name} == {name for name in before if "unfinished" not in name}
    assert all(after[name] == before[name] for name in before)


def test_a_model_of_other_data_is_refused(trained):
    trained.change(data__options={"tuning_size": 61, "test_size": 60})
    trained.succeed("prepare", "digits")
    refused(trained.run("tune", "digits", "gd"), "models/digits/plain was trained on other data", "train it again")
    assert not trained.files("results/digits/tuned")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "plain-all.json says of hyperparameters: field required: remove it and run `python -m pipelines.tune"),
        ({"hyperparameters": {"lr": -1.0}}, "lr must be a number > 0, not -1"),
        ({"hyperparameters": {"momentum": 0.9}}, "no hyperparameter 'momentum'"),
    ],
)
def test_tuned_values_that_were_spoilt_by_hand_are_refused(tuned, content, words):
    path = tuned.folder / "results/digits/tuned/gd/plain-all.json"
    path.write_text(content if isinstance(content, str) else json.dumps(json.loads(path.read_text()) | content))
    refused(tuned.run("evaluate", "digits", "gd"), words)


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
    trained.change(editors__rmsprop={"trials": 500, "max_steps": 5, "layers": {"plain": ["all"]}})
    studies = trained.folder / "unfinished/digits/studies/rmsprop"
    trained.start("tune", "digits", "rmsprop").stop(lambda: any(studies.glob("*.journal")))
    (journal,) = studies.glob("*.journal")
    journal.write_text("nonsense\nand more\n")
    refused(trained.run("tune", "digits", "rmsprop"), journal.name, "is not a readable study: remove it")


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


@pytest.mark.parametrize("stage", ["prepare", "train", "tune", "evaluate", "analyse", "sequences", "joint", "report"])
def test_help_says_what_the_stage_does_and_takes(trained, stage):
    ended = trained.run(stage, "--help")
    assert ended.code == 0
    assert f"Usage: pipelines.{stage}" in ended.output
    assert "--params" in ended.output
    assert "[default: params.yaml]" in ended.output
    assert len(ended.output.split("\n\n")[1].strip()) > 40  # a sentence about it


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


# What a stage says, and where


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs a function as a stage, in this process: exit code, output, errors, as a terminal of an encoding has them."""

    def run(work: Callable[[], object], encoding: str = "utf-8") -> tuple[int, str, str]:
        terminal = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]

        def stage() -> None:
            work()

        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["stage"])
            patch.setattr(sys, "stdout", terminal[0])
            patch.setattr(sys, "stderr", terminal[1])
            with pytest.raises(SystemExit) as end:
                command.run(stage)
        for stream in terminal:
            stream.flush()
        return int(end.value.code or 0), *(stream.buffer.getvalue().decode(encoding) for stream in terminal)

    yield run
    if torch.are_deterministic_algorithms_enabled():  # by a stage, where there is a GPU
        torch.use_deterministic_algorithms(False)


def failing(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_a_terminal_cannot_show_is_written_another_way(stage, encoding):
    code, said, errors = stage(lambda: print("caf\u00e9 \u2192 \udcff"), encoding)
    assert code == 0, errors
    assert said.startswith("caf")
    assert "\\udcff" in said
    assert ("\\u2192" in said) == (encoding != "utf-8")


def test_an_error_is_one_line_whatever_it_names(stage):
    code, _, errors = stage(lambda: failing(InputError("a\x1b[31m\nb\u202e is wrong")))
    assert code == 2
    assert errors.strip() == "error: a [31m b is wrong"


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda: torch.empty(2**46), "when 281474976710656 bytes more were asked for"),
        (lambda: np.zeros(2**50), "when 8.00 PiB more were asked for"),
        (lambda: failing(MemoryError()), "the memory is full: take smaller images"),
    ],
    ids=["torch", "numpy", "Python"],
)
def test_memory_that_runs_out_is_one_sentence(stage, work, said):
    code, _, errors = stage(work)
    assert code == 2
    assert said in errors
    assert "Traceback" not in errors


def test_mistakes_of_the_suites_own_are_not_caught_and_so_keep_their_traceback(stage):
    with pytest.raises(RuntimeError, match="shapes differ"):
        stage(lambda: failing(RuntimeError("shapes differ")))


PRINTS = """
from pipelines import command
def stage():
    print('line\\n' * 100_000)
command.run(stage)
"""


def test_output_that_nobody_reads_any_more_is_no_error():
    with subprocess.Popen(
        [sys.executable, "-c", PRINTS], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 141
    assert said == b""
