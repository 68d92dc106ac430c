"""The stages on a GPU, in processes of their own: every recipe is trained, and edits are tuned, scored and reported."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import pandas as pd
import pytest
import torch

from baselines.model_files import load_model
from benchmarks.data import dataset
from pipelines import command
from tests.pipelines.conftest import DIGITS, PARAMS, Project, write_project

SHORT = {"epochs": 1, "batch_size": 256, "lr": 2e-3, "schedule": "cosine"}
GO_ON = {**SHORT, "start": "plain"}
EDITS = {"c_edit": 0.1, "c_loc": 0.1, "clip_norm": 10.0}
WIDER = {"architecture": "resnet18_extra", "options": {"extra_width": 16}}
BENCHMARK = DIGITS | {
    "trainings": {
        "plain": {"recipe": "plain", **SHORT, "epochs": 2},
        "extended": {"recipe": "extended", "start": "plain", **WIDER},
        "distilled": {"recipe": "distilled", "teacher": "plain", "optimizer": "sgd", **GO_ON},
        "editable": {"recipe": "editable", "editor": "rmsprop", "layers": "chain4", **EDITS, **GO_ON},
        "cnp": {"recipe": "cnp", "architecture": "cnp_resnet18", **EDITS, **GO_ON},
        "dknn": {"recipe": "dknn", "network": "plain", "k": 5},
    },
    "editors": {
        "rmsprop": {"trials": 1, "layers": {"plain": ["chain4"]}},
        "covariance": {"trials": 1, "fixed": {"overshoot": 1.1}, "layers": {"plain": ["chain4"]}},
        "rmsprop_ewc": {"trials": 1, "fixed": {"beta": 0.5, "eps": 1e-6}, "layers": {"plain": ["chain4"]}},
        "rank_one": {"trials": 1, "layers": {"plain": ["head"]}},
        "lookup_cache": {"trials": 1, "max_steps": 1, "layers": {"plain": ["all"]}},
        "condition_vector": {"trials": 1, "max_steps": 1},
        "flip_labels": {"trials": 1, "max_steps": 100},
    },
    "evaluation": DIGITS["evaluation"] | {"edits": 6},
    "analysis": DIGITS["analysis"] | {"edits": 6},
    "sequences": {"edits": 3, "orders": 2, "cells": [["plain", "rmsprop", "chain4"]]},
}


@pytest.fixture(scope="module")
def project(stage_server: subprocess.Popen[str], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """All stages on the GPU; the tests of this file follow one another in it."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    made = Project(tmp_path_factory.mktemp("stages"), stage_server)
    write_project(made.folder, PARAMS | {"device": "cuda", "processes": 2}, digits=BENCHMARK)
    for stage in ("prepare", "train", "tune", "evaluate", "analyse", "sequences", "report"):
        made.succeed(stage, "digits")
    return made


def test_what_a_gpu_cannot_do_reproducibly_is_refused_in_one_sentence(device, monkeypatch, capsys):
    def stage() -> None:
        torch.rand(8, device=device).cumsum(0)

    monkeypatch.setattr(sys, "argv", ["stage"])
    with pytest.raises(SystemExit) as end:
        command.run(stage)
    torch.use_deterministic_algorithms(False)
    assert end.value.code == 2
    assert re.fullmatch(
        r"error: \S*cumsum\S* does not have a deterministic implementation on a GPU; use device: cpu\n",
        capsys.readouterr().err,
    )


def test_everything_is_made_and_says_where(project, device):
    results = project.folder / "results/digits"
    board = pd.read_csv(results / "leaderboard.csv")
    assert set(board["editor"]) == set(BENCHMARK["editors"])
    assert board["drawdown"].notna().all()
    assert {path.name for path in (results / "models").iterdir()} == set(BENCHMARK["trainings"])
    expected = {"machine": torch.cuda.get_device_name(device), "device": "cuda", "cuda": torch.version.cuda}
    cells = [json.loads(path.read_text())["made"] for path in results.glob("edits/*/*.json")]
    models = [json.loads(path.read_text()) for path in results.glob("models/*/made.json")]
    assert len(cells) == len(board)
    for made in (*cells, *models):
        assert {name: made[name] for name in expected} == expected


def test_a_second_run_makes_nothing_again(project):
    for stage in ("train", "tune", "evaluate"):
        assert "unchanged" in project.succeed(stage, "digits").output


def test_an_evaluation_that_is_killed_ends_with_the_same_bytes(project, tmp_path):
    broken = project.copy(tmp_path / "broken")
    broken.change(evaluation={"edits": 24, "shard": 4})
    unbroken = broken.copy(tmp_path / "unbroken")
    unbroken.succeed("evaluate", "digits", "rmsprop")
    shards = broken.folder / "unfinished/digits/shards/rmsprop"
    ended = broken.start("evaluate", "digits", "rmsprop").stop(lambda: len(list(shards.rglob("*.csv"))) >= 2)
    assert ended.code == -signal.SIGKILL
    broken.succeed("evaluate", "digits", "rmsprop")
    records = "results/digits/edits/rmsprop"
    assert broken.files(records) == unbroken.files(records) != project.files(records)


def test_a_model_is_patched_as_on_the_cpu(project, tmp_path):
    images, model, found = tmp_path / "images", project.folder / "models/digits/plain", []
    project.succeed("prepare", "digits", "--export", str(images))
    image, data = min(images.rglob("*.png")), dataset.load(project.folder / "data/digits")
    number = int(image.stem)
    label = load_model(model)[0](data.inputs(data.test.images[number : number + 1])).argmin().item()
    for device in ("cpu", "cuda"):
        arguments = {"--model": "models/digits/plain", "--input": image, "--label": label, "--control": images}
        arguments |= {"--layers": "chain4", "--device": device, "--out": tmp_path / device / "plain"}
        project.succeed("patch", *(str(part) for pair in arguments.items() for part in pair))
        found.append(load_model(tmp_path / device / "plain")[0])
    answers = [patched(data.inputs(data.test.images)) for patched in found]
    assert answers[0][number].argmax() == label
    torch.testing.assert_close(answers[1], answers[0], rtol=1e-3, atol=1e-3)
