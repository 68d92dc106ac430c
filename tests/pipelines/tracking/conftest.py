"""A repository with an MLflow database, what a run holds that is filled there, and what is found in it."""

import multiprocessing
import shutil
from pathlib import Path

import pytest

from pipelines.tracking import server
from pipelines.tracking.records import RunRecord

PARAMETERS = {"lr": 1e-3, "max_steps": 10, "editor": "rmsprop"}


@pytest.fixture
def repository(tmp_path, monkeypatch, empty_database) -> Path:
    """An empty repository as the working directory, with a database at the default place."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "repository" / "mlflow").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repository")
    shutil.copy(empty_database, "mlflow/mlflow.db")
    return tmp_path / "repository"


@pytest.fixture
def record(tmp_path) -> RunRecord:
    files = {"scatter.png": b"\x89PNG\r\n\x1a\n", "table1.csv": b"a,b\n1,2\n", "notes.txt": b"hello"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return RunRecord(
        key="plain/rmsprop/chain3",
        parameters=PARAMETERS,
        metrics={"drawdown": 0.25, "success_rate": 1.0},
        series={"tuning_error": [(1, 0.5), (2, 0.25), (3, 0.125)]},
        tags={"git_commit": "abc", "editor": "rmsprop"},
        artifacts=[tmp_path / name for name in files],
    )


def client():
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{Path.cwd()}/mlflow/mlflow.db")


def runs(experiment="digits"):
    return client().search_runs([client().get_experiment_by_name(experiment).experiment_id])


def artifacts(run) -> Path:
    """The folder of a run's files, as ``mlflow ui --artifacts-destination mlflow/artifacts`` finds it."""
    return Path("mlflow/artifacts", run.info.artifact_uri.removeprefix("mlflow-artifacts:/"))


def histories(run) -> dict[str, list[tuple[int, float, int]]]:
    return {
        name: [(m.step, m.value, m.timestamp) for m in client().get_metric_history(run.info.run_id, name)]
        for name in sorted(run.data.metrics)
    }


def curve(run, name: str) -> list[tuple[int, float]]:
    return [(step, value) for step, value, _ in histories(run)[name]]


def forked(target, *arguments) -> multiprocessing.Process:
    """A process of its own that need not import MLflow, which takes seconds."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs fork()")
    server.import_mlflow()
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    return process
