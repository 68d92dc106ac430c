"""A training whose batches two processes share out, started by torchrun, ends like the stage's, to rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

from benchmarks.errors import InputError
from pipelines import train as stage
from pipelines.jobs.cells import ModelKey
from pipelines.store.fingerprint import MADE_OF
from pipelines.tasks import load_settings
from pipelines.train import train, train_across_ranks
from tests.pipelines.conftest import ROOT, TABLE_3_TRAINING

EDITABLE = {"recipe": "editable", "editor": "rmsprop", "layers": "chain4", "c_edit": 0.1, "c_loc": 0.1, "ranks": 2}


@pytest.fixture
def project(trained):
    trained.change(trainings__editable=EDITABLE | TABLE_3_TRAINING)
    return trained


@pytest.mark.slow  # three processes import torch
def test_two_processes_make_the_model_that_one_makes(project, tmp_path):
    alone = project.copy(tmp_path / "alone")
    alone.succeed("train", "digits", "editable")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "pipelines.train", "digits", "editable"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    ended = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("kept epoch 1 of 1") == 1
    start, found, expected = project.weights("plain"), project.weights("editable"), alone.weights("editable")
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5)
    assert not all(value.equal(expected[key]) for key, value in start.items())
    described = [json.loads((one.folder / "models/digits/editable/model.json").read_text()) for one in (project, alone)]
    assert described[0] == described[1]
    assert "unchanged" in project.succeed("train", "digits", "editable").output


def test_what_other_code_began_is_gone_before_another_process_looks_for_it(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    settings = load_settings()
    key = ModelKey("digits", "editable", 0)
    key.checkpoints.mkdir(parents=True)
    (key.checkpoints / "epoch").write_text("of other code")
    seen = []
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "broadcast_object_list", lambda made: seen.append((made, [*key.checkpoints.iterdir()])))
    monkeypatch.setattr(stage, "make", lambda settings, key: seen.append(key))
    stage._make_share(settings, key)
    assert seen == [([False], [key.checkpoints / MADE_OF]), key]


def test_a_number_of_processes_that_does_not_fit_is_refused_with_the_command(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(InputError, match=r"ranks is 2, but torchrun started no processes: torchrun --nproc-per-node 2"):
        train_across_ranks("digits", "editable")
    project.change(trainings__editable__ranks=200)
    with pytest.raises(InputError, match="batch_size must be at least 2 for each of 200 ranks, not 256"):
        train("digits", ["editable"])
