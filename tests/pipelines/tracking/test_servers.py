"""Where MLflow keeps its runs: databases that are moved, shared or broken, and servers that are not there."""

import http.server
import os
import shutil
import socket
import sqlite3
import threading
from pathlib import Path

import pytest

pytest.importorskip("mlflow")

from benchmarks.errors import InputError
from pipelines.tracking import rebuild
from pipelines.tracking.runs import live_training
from pipelines.tracking.server import DEFAULT_URI, Unreachable, _url, tracking_uri
from tests.pipelines.tracking.conftest import PARAMETERS, artifacts, client, forked, runs


def test_nothing_is_written_anew_after_the_repository_moved(repository, record, tmp_path, monkeypatch):
    rebuild("digits", [record])
    monkeypatch.chdir(tmp_path)
    repository.rename(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "elsewhere")
    (run,) = runs()
    assert str(repository) not in run.info.artifact_uri
    assert (artifacts(run) / "figures/scatter.png").read_bytes() == b"\x89PNG\r\n\x1a\n"
    assert rebuild("digits", [record]) == {"created": 0, "kept": 1, "removed": 0}


@pytest.mark.parametrize("location", ["mlflow/artifacts/1", None])
def test_an_experiment_with_a_folder_of_its_own_keeps_it(repository, record, location):
    client().create_experiment("digits", location)  # as MLflow makes one by itself, or an earlier version did
    rebuild("digits", [record])
    (run,) = runs()
    assert Path(run.info.artifact_uri, "figures/scatter.png").is_file()
    assert rebuild("digits", [record]) == {"created": 0, "kept": 1, "removed": 0}


def test_nothing_is_written_outside_the_folder_of_the_database(repository, record):
    rebuild("digits", [record])
    assert [path.name for path in repository.iterdir()] == ["mlflow"]
    assert not [path for path in Path("mlflow").iterdir() if path.name.startswith(".partial")]


def test_the_environment_names_another_database(repository, record, tmp_path, monkeypatch):
    assert tracking_uri() == DEFAULT_URI == "sqlite:///mlflow/mlflow.db"
    shutil.move("mlflow/mlflow.db", tmp_path / "a b.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/a b.db")
    rebuild("digits", [record])
    assert len(list((tmp_path / "artifacts").rglob("scatter.png"))) == 1
    assert not Path("mlflow/mlflow.db").exists()


@pytest.mark.parametrize("damage", ["not a database", "cut", "another schema"])
def test_a_broken_database_is_named_with_what_to_do(repository, record, damage, capfd):
    database = Path("mlflow/mlflow.db")
    if damage == "not a database":
        database.write_bytes(b"hello" * 1000)
    elif damage == "cut":
        os.truncate(database, 50_000)
    else:
        with sqlite3.connect(database) as connection:
            connection.execute("UPDATE alembic_version SET version_num = 'cafe'")
    before = database.read_bytes()
    with pytest.raises(InputError, match=r"mlflow/mlflow\.db .* move it away") as raised:
        rebuild("digits", [record])
    assert "\n" not in str(raised.value)
    assert database.read_bytes() == before
    assert capfd.readouterr() == ("", "")


def test_four_processes_may_be_the_first_to_touch_a_database_and_say_nothing(tmp_path, monkeypatch, record, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def touch(number):
        with live_training("live", str(number), PARAMETERS, {}) as log:
            log({"loss": 1.0}, 1)
        rebuild("digits", [record])

    processes = [forked(touch, number) for number in range(4)]
    for process in processes:
        process.join(timeout=600)
    assert capfd.readouterr() == ("", "")
    assert [process.exitcode for process in processes] == [0] * 4
    assert [run.info.run_name for run in runs("digits")] == [record.key]
    assert {run.info.run_name for run in runs("live")} == {f"training/{number}" for number in range(4)}


def test_an_unreachable_server_is_named(record, capfd, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="http://127.0.0.1:9 ") as raised:
        rebuild("digits", [record])
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_a_training_goes_on_without_a_server_and_says_so_once(capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with live_training("digits", "plain", PARAMETERS, {}) as log:
        log({"loss": 1.0}, 1)
    warned = capsys.readouterr().err
    assert warned.startswith("warning: MLflow at http://127.0.0.1:9 does not answer")
    assert warned.count("\n") == 1


def test_a_password_in_the_address_is_not_shown(record, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    with pytest.raises(Unreachable) as raised:
        rebuild("digits", [record])
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("answer", ["404", "<html>hello</html>", "{}"])
def test_a_server_that_is_not_mlflow_is_told(record, answer, monkeypatch):
    class NotMlflow(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(404 if answer == "404" else 200)
            self.end_headers()
            self.wfile.write(answer.encode())

        do_POST = do_GET

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), NotMlflow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(Unreachable, match=f"{address} "):
            rebuild("digits", [record])
        server.shutdown()


def test_a_server_that_never_answers_is_given_up(record, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(Unreachable, match=f"{address} "):
            rebuild("digits", [record])


@pytest.mark.parametrize("address", ["./mlruns", "sqlite:mlflow.db", "nonsense://x"])
def test_an_address_that_mlflow_cannot_use_is_named(repository, record, address, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(Unreachable, match=f"{address} "):
        rebuild("digits", [record])


@pytest.mark.parametrize("sign", "?#%")
def test_a_path_that_means_something_else_in_an_address_is_given_from_here_or_refused(tmp_path, monkeypatch, sign):
    folder = tmp_path / f"a{sign}20b"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert _url(Path("mlflow/mlflow.db")) == "sqlite:///mlflow/mlflow.db"
    monkeypatch.chdir(tmp_path)
    assert _url(Path("mlflow/mlflow.db")) == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    with pytest.raises(InputError, match=r"its path holds .*; MLFLOW_TRACKING_URI may name another"):
        _url(folder / "mlflow.db")
