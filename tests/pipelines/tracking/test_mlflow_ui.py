"""What a person sees who opens MLflow's UI: the runs, their numbers and their figures, in a real browser."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("mlflow")

from pipelines.tracking import Rebuilt, RunRecord, rebuild

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SECONDS = 400  # until which a server or a page must have come, on a machine with other work too


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> list[RunRecord]:
    figure = tmp_path_factory.mktemp("figures") / "scatter.png"
    Image.new("RGB", (320, 200), "steelblue").save(figure)
    first = RunRecord(
        key="plain/rmsprop/chain3",
        parameters={"lr": 1e-3, "editor": "rmsprop"},
        metrics={"drawdown": 0.4321, "success_rate": 1.0},
        series={"tuning_error": [(1, 0.5), (2, 0.25)]},
        tags={"git_commit": "abc"},
        artifacts=[figure],
    )
    return [first, replace(first, key="plain/adam/chain3", metrics={"drawdown": 0.8765}, artifacts=[])]


@pytest.fixture(scope="module")
def repository(tmp_path_factory, records) -> Path:
    """A folder to which MLflow's database was moved, from where `rebuild` made it."""
    folder = tmp_path_factory.mktemp("made") / "repository"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        rebuild("digits", records)
    return folder.rename(tmp_path_factory.mktemp("moved") / "repository")


@pytest.fixture(scope="module")
def ui(repository, tmp_path_factory):
    """The address of `mlflow ui`, started in the repository as the Makefile and the README say."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    output = tmp_path_factory.mktemp("log") / "ui.txt"
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", "sqlite:///mlflow/mlflow.db"]
    command += ["--artifacts-destination", "mlflow/artifacts"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with output.open("w") as log:
        server = subprocess.Popen(
            command,
            cwd=repository,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_it_answers(f"{address}/health", server, output)
        yield address
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=120)


def wait_until_it_answers(address: str, server: subprocess.Popen, output: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"MLflow's UI did not start: {output.read_text()[-2000:]}")


def identity(ui: str, key: str) -> tuple[str, str]:
    """The experiment's and the run's id, as the server tells them."""
    from mlflow import MlflowClient

    client = MlflowClient(ui)
    experiment = client.get_experiment_by_name("digits").experiment_id
    (run,) = client.search_runs([experiment], f"tags.`suite.key` = '{key}'")
    return experiment, run.info.run_id


def rendered(address: str, expected: list[str], folder: Path) -> str:
    """The page as headless Chromium renders it, tried again while something `expected` is missing."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += ["--disable-dev-shm-usage", "--window-size=1600,1000", "--virtual-time-budget=6000"]
    deadline = time.monotonic() + SECONDS
    page = ""
    while time.monotonic() < deadline and not all(text in page for text in expected):
        profile = tempfile.mkdtemp(dir=folder)  # a browser that hung may still hold the last one
        with contextlib.suppress(subprocess.TimeoutExpired):
            browser = [*command, f"--user-data-dir={profile}", "--dump-dom", address]
            page = subprocess.run(browser, capture_output=True, text=True, timeout=120, check=False).stdout
    return page


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="neither chromium nor google-chrome is installed")


# MLflow opens an experiment in its GenAI view unless the address asks for the one of model training.
TRAINING = "workflowType=machine_learning"


@pytest.mark.slow
@needs_chromium
def test_a_run_shows_its_parameters_metrics_and_figure(ui, tmp_path):
    experiment, run = identity(ui, "plain/rmsprop/chain3")
    address = f"{ui}/#/experiments/{experiment}/runs/{run}"
    expected = ["plain/rmsprop/chain3", "0.4321", "0.001"]
    page = rendered(f"{address}?{TRAINING}", expected, tmp_path)
    assert [text for text in expected if text not in page] == []
    expected = [f"mlflow/artifacts/{experiment}/{run}/artifacts/figures/scatter.png", "<img"]
    page = rendered(f"{address}/artifacts/figures/scatter.png?{TRAINING}", expected, tmp_path)
    assert [text for text in expected if text not in page] == []


def test_the_ui_serves_the_figure(ui, records):
    _, run = identity(ui, "plain/rmsprop/chain3")
    address = f"{ui}/get-artifact?path=figures/scatter.png&run_uuid={run}"
    with urllib.request.urlopen(address, timeout=30) as answer:
        assert answer.read() == records[0].artifacts[0].read_bytes()


def test_runs_are_rebuilt_on_a_server_as_in_a_file(ui, records, tmp_path, capfd):
    assert rebuild("remote", records, ui) == Rebuilt(created=2, kept=0, removed=0)
    assert rebuild("remote", records, ui) == Rebuilt(created=0, kept=2, removed=0)
    assert rebuild("remote", records[:1], ui) == Rebuilt(created=0, kept=1, removed=1)
    assert capfd.readouterr() == ("", "")
    from mlflow import MlflowClient

    client = MlflowClient(ui)
    (run,) = client.search_runs([client.get_experiment_by_name("remote").experiment_id])
    figure = client.download_artifacts(run.info.run_id, "figures/scatter.png", str(tmp_path))
    assert Path(figure).read_bytes() == records[0].artifacts[0].read_bytes()
