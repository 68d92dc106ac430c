"""What a person sees who opens MLflow's UI: runs, data, networks, figures and tables of edits, in a real browser."""

import fcntl
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

pytest.importorskip("mlflow")

from pipelines.tracking import rebuild
from pipelines.tracking.records import DataRecord, NetworkRecord, RunRecord, source_tags

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SECONDS = 400  # until which a server or a page must have come, on a machine with other work too


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> list[RunRecord]:
    figure = tmp_path_factory.mktemp("figures") / "scatter.png"
    Image.new("RGB", (320, 200), "steelblue").save(figure)
    data = {"test": DataRecord("digits test", "5f6215f0635c", "data/digits", "Handwritten digits.", 400)}
    training = RunRecord(
        key="training/plain",
        parameters={"recipe": "plain"},
        metrics={"test/error": 2.625},
        series={"training/loss": [(1, 0.5), (2, 0.25)]},
        tags={"mlflow.source.name": "pipelines/train.py"},
        artifacts=[],
        data=data,
        network=NetworkRecord("plain-0_1", "resnet18", 2, {"recipe": "plain"}, {"weights": "models/digits/plain"}),
    )
    first = RunRecord(
        key="plain/rmsprop/chain3",
        parameters={"lr": 1e-3, "editor": "rmsprop"},
        metrics={"edits/drawdown": 0.4321, "edits/success_rate": 1.0},
        series={"in_a_row/error": [(1, 0.5), (2, 0.25)]},
        tags={"mlflow.note.content": "Edits of **chain 3**.", **source_tags("evaluate", "c0ffee1234567890")},
        artifacts=[figure],
        tables={"edits.json": pd.DataFrame({"edit": [0, 1], "flips": [31, 47], "editor": "rmsprop"})},
        data=data,
        takes=["training/plain"],
    )
    other = {"edits.json": pd.DataFrame({"edit": [0, 1], "flips": [5, 6], "editor": "adam"})}
    adam = replace(first, key="plain/adam/chain3", metrics={"edits/drawdown": 0.8765}, artifacts=[], tables=other)
    return [first, adam, training]


@pytest.fixture(scope="module")
def repository(tmp_path_factory, empty_database, records) -> Path:
    """A folder to which MLflow's database was moved, from where `rebuild` made it."""
    folder = tmp_path_factory.mktemp("made") / "repository"
    (folder / "mlflow").mkdir(parents=True)
    shutil.copy(empty_database, folder / "mlflow/mlflow.db")
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


def network(ui: str) -> str:
    """The id of the only model."""
    from mlflow import MlflowClient

    client = MlflowClient(ui)
    (model,) = client.search_logged_models([client.get_experiment_by_name("digits").experiment_id])
    return model.model_id


class Browser:
    """Headless Chromium, driven through its debugging pipe (descriptors 3 and 4)."""

    def __init__(self, folder: Path) -> None:
        theirs, self.sending = os.pipe()
        self.receiving, back = os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs, back)]  # beyond 3 and 4
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
        options += ["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"]
        options += ["--window-size=1600,1000", "--remote-debugging-pipe", f"--user-data-dir={folder}"]
        command = f"exec {shlex.join([str(CHROMIUM), *options])} 3<&{ends[0]} 4>&{ends[1]}"
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(["bash", "-c", command], pass_fds=ends, start_new_session=True, **silent)
        for end in (theirs, back, *ends):
            os.close(end)
        self.count, self.read = 0, b""

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The result of a method of Chromium's DevTools protocol."""
        self.count += 1
        asked = {"id": self.count, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self.sending, json.dumps(asked).encode() + b"\0")
        while True:
            while b"\0" not in self.read:
                self.read += os.read(self.receiving, 1 << 20) or pytest.fail("Chromium ended")
            message, _, self.read = self.read.partition(b"\0")
            if (answer := json.loads(message)).get("id") == self.count:
                return answer["result"]

    def page(self, address: str, expected: list[str]) -> str:
        """The HTML of a page, waited for while something ``expected`` is missing."""
        target = self.call("Target.createTarget", url=address)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        deadline, page = time.monotonic() + SECONDS, ""
        while time.monotonic() < deadline and not all(text in page for text in expected):
            time.sleep(0.2)
            asked = {"expression": "document.documentElement.outerHTML", "returnByValue": True}
            page = self.call("Runtime.evaluate", session, **asked)["result"].get("value", "")
        self.call("Target.closeTarget", targetId=target)
        return page

    def close(self) -> None:
        os.killpg(self.process.pid, 9)
        self.process.wait(timeout=60)
        os.close(self.sending)
        os.close(self.receiving)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="neither chromium nor google-chrome is installed")


# MLflow opens an experiment in its GenAI view unless the address asks for the one of model training.
TRAINING = "workflowType=machine_learning"


PAGES = {
    "runs": ("runs", ["plain/rmsprop/chain3", "plain/adam/chain3", "digits test", "5f6215f0635c"]),
    "a run": (
        "runs/{run}",
        ["plain/rmsprop/chain3", "0.4321", "0.001", "digits test", "<strong>chain 3</strong>", "c0ffee1", "plain-0_1"],
    ),
    "a figure": (
        "runs/{run}/artifacts/figures/scatter.png",
        ["mlflow-artifacts:/digits/{run}/artifacts/figures/scatter.png"],
    ),
    "a table": ("runs/{run}/artifacts/edits.json", ["View as table", ">flips<", ">31<", ">47<"]),
    "networks": ("models", ["plain-0_1", "Ready", "training/plain"]),
    "a network": ("models/{model}", ["plain-0_1", "test/error", "2.625", "digits test", "recipe"]),
    "two runs": (
        "compare-runs?runs=%5B%22{run}%22,%22{other}%22%5D&experiments=%5B%22{experiment}%22%5D",
        ["plain/rmsprop/chain3", "plain/adam/chain3", "edits/drawdown", "0.8765"],
    ),
}
"""By name: its address, and what it shows."""


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_what_was_recorded(ui, browser, name):
    experiment, run = identity(ui, "plain/rmsprop/chain3")
    ids = {"experiment": experiment, "run": run, "other": identity(ui, "plain/adam/chain3")[1], "model": network(ui)}
    place, texts = PAGES[name]
    expected = [text.format(**ids) for text in texts]
    below = place.format(**ids) if name == "two runs" else f"experiments/{experiment}/{place.format(**ids)}?{TRAINING}"
    page = browser.page(f"{ui}/#/{below}", expected)
    assert [text for text in expected if text not in page] == []


def test_edits_of_several_runs_join_by_edit(ui, monkeypatch):
    import mlflow

    names = ("plain/rmsprop/chain3", "plain/adam/chain3")
    experiment, _ = identity(ui, names[0])
    client = mlflow.MlflowClient(ui)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ui)  # where tables are looked for, whatever the client says
    edits = client.load_table(experiment, "edits.json", [identity(ui, name)[1] for name in names])
    joined = edits.pivot(index="edit", columns="editor", values="flips")
    assert joined.to_dict() == {"rmsprop": {0: 31, 1: 47}, "adam": {0: 5, 1: 6}}


def test_the_ui_serves_the_figure(ui, records):
    _, run = identity(ui, "plain/rmsprop/chain3")
    address = f"{ui}/get-artifact?path=figures/scatter.png&run_uuid={run}"
    with urllib.request.urlopen(address, timeout=30) as answer:
        assert answer.read() == records[0].artifacts[0].read_bytes()


def test_runs_are_rebuilt_on_a_server_as_in_a_file(ui, records, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ui)
    assert rebuild("remote", records) == {"created": 3, "kept": 0, "removed": 0}
    assert rebuild("remote", records) == {"created": 0, "kept": 3, "removed": 0}
    assert rebuild("remote", [records[0], records[2]]) == {"created": 0, "kept": 2, "removed": 1}
    assert capfd.readouterr() == ("", "")
    from mlflow import MlflowClient

    client = MlflowClient(ui)
    remote = client.get_experiment_by_name("remote").experiment_id
    (run,) = client.search_runs([remote], "tags.`suite.key` = 'plain/rmsprop/chain3'")
    assert len(client.load_table(remote, "edits.json", [run.info.run_id])) == 2
    figure = client.download_artifacts(run.info.run_id, "figures/scatter.png", str(tmp_path))
    assert Path(figure).read_bytes() == records[0].artifacts[0].read_bytes()
