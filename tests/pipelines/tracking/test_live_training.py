"""A training is seen in MLflow while it goes on, and what happens to MLflow does not end it."""

import math
import os
import signal
from dataclasses import replace

import pytest

pytest.importorskip("mlflow")

from benchmarks.errors import InputError
from pipelines import tracking
from pipelines.tracking import rebuild
from pipelines.tracking.runs import live_training
from tests.pipelines.tracking.conftest import PARAMETERS, client, curve, forked, runs


def test_a_live_training_is_seen_while_it_runs_and_ends_finished(repository):
    with live_training("digits", "plain", PARAMETERS, {"git_commit": "abc"}) as log:
        log({"loss": 2.0, "tuning_error": math.nan}, 1)
        log({"loss": 1.0}, 2)
        (run,) = runs()
        assert run.info.status == "RUNNING"
        assert curve(run, "loss") == [(1, 2.0), (2, 1.0)]
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "training/plain"
    assert run.data.metrics == {"loss": 1.0}
    assert run.data.params["max_steps"] == "10"


def test_a_failed_training_ends_failed_and_continues_its_run(repository):
    def fail(log):
        log({"loss": 2.0}, 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), live_training("digits", "plain", PARAMETERS, {}) as log:
        fail(log)
    (failed,) = runs()
    assert failed.info.status == "FAILED"
    with live_training("digits", "plain", PARAMETERS, {"git_commit": "new"}) as log:
        assert runs()[0].info.status == "RUNNING"
        log({"loss": 2.0}, 1)
        log({"loss": 1.0}, 2)
    (run,) = runs()
    assert run.info.run_id == failed.info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.tags["git_commit"] == "new"
    assert curve(run, "loss") == [(1, 2.0), (2, 1.0)]


def test_a_killed_training_continues_the_same_run(repository):
    def train():
        with live_training("digits", "plain", PARAMETERS, {}) as log:
            log({"loss": 2.0}, 1)
            os.kill(os.getpid(), signal.SIGKILL)

    process = forked(train)
    process.join(timeout=600)
    assert process.exitcode == -signal.SIGKILL
    (killed,) = runs()
    assert killed.info.status == "RUNNING"
    with live_training("digits", "plain", PARAMETERS, {}) as log:
        log({"loss": 1.0}, 2)
    (run,) = runs()
    assert run.info.run_id == killed.info.run_id
    assert curve(run, "loss") == [(1, 2.0), (2, 1.0)]


def test_a_training_with_other_parameters_replaces_the_unfinished_one(repository):
    with pytest.raises(ZeroDivisionError), live_training("digits", "plain", PARAMETERS, {}):
        1 / 0  # noqa: B018
    with live_training("digits", "plain", PARAMETERS | {"lr": 1.0}, {}):
        pass
    (run,) = runs()
    assert run.data.params["lr"] == "1.0"


@pytest.mark.parametrize("ends", [True, False])
def test_a_rebuild_replaces_a_live_run_by_its_record(repository, record, ends, capsys):
    record = replace(record, key="training/plain")
    training = live_training("digits", "plain", PARAMETERS, {})
    training.__enter__()({"loss": 2.0}, 1)
    if ends:
        training.__exit__(None, None, None)
    assert rebuild("digits", [record]) == {"created": 1, "kept": 0, "removed": 1}
    if not ends:
        training.__exit__(None, None, None)
        assert "The training goes on" in capsys.readouterr().err
    assert rebuild("digits", [record]) == {"created": 0, "kept": 1, "removed": 0}
    assert [tracking.LIVE in run.data.tags for run in runs()] == [False]


def test_a_rebuild_leaves_a_training_under_way_alone(repository, record):
    with live_training("digits", "plain", PARAMETERS, {}) as log:
        assert rebuild("digits", [record])["removed"] == 0
        log({"loss": 1.0}, 1)
    assert len(runs()) == 2
    assert rebuild("digits", [record])["removed"] == 1


def test_a_training_survives_the_loss_of_its_run(repository, capsys):
    with live_training("digits", "plain", PARAMETERS, {}) as log:
        log({"loss": 2.0}, 1)
        client().delete_run(runs()[0].info.run_id)
        log({"loss": 1.0}, 2)
        log({"loss": 0.5}, 3)
    warned = capsys.readouterr().err
    assert warned.startswith("warning: MLflow at sqlite:///mlflow/mlflow.db ")
    assert warned.endswith("The training goes on without live metrics and is shown later.\n")
    assert warned.count("\n") == 1


def test_a_bad_metric_name_of_a_live_training_is_told(repository):
    with (
        pytest.raises(InputError, match="'success %' cannot name"),
        live_training("digits", "plain", PARAMETERS, {}) as log,
    ):
        log({"success %": 1.0}, 1)
