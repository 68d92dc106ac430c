"""MLflow shows what the records say, whatever happened before; with the real MLflow throughout."""

import http.server
import math
import multiprocessing
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("mlflow")

from benchmarks.errors import InputError
from pipelines import mlflow_store, tracking
from pipelines.tracking import RunRecord, Unreachable, live_training, rebuild

ROOT = Path(__file__).parents[2]
PARAMETERS = {"lr": 1e-3, "max_steps": 10, "editor": "rmsprop"}


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory) -> Path:
    """A database with MLflow's tables, made once because that takes seconds."""
    folder = tmp_path_factory.mktemp("empty")
    rebuild("made", [], f"sqlite:///{folder}/mlflow.db")
    return folder / "mlflow.db"


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


def everything(experiment="digits") -> list[str]:
    """All that MLflow holds of an experiment's active runs, run ids and timestamps included."""
    return sorted(
        f"{run.to_dictionary()} {histories(run)} {sorted(Path(run.info.artifact_uri).rglob('*'))}"
        for run in runs(experiment)
    )


def histories(run) -> dict[str, list[tuple[int, float, int]]]:
    return {
        name: [(m.step, m.value, m.timestamp) for m in client().get_metric_history(run.info.run_id, name)]
        for name in sorted(run.data.metrics)
    }


def curve(run, name: str) -> list[tuple[int, float]]:
    return [(step, value) for step, value, _ in histories(run)[name]]


# What a rebuild writes


def test_a_run_shows_everything_its_record_holds(repository, record, tmp_path):
    assert rebuild("digits", [record]) == tracking.Rebuilt(created=1, kept=0, removed=0)
    (run,) = runs()
    assert run.info.run_name == "plain/rmsprop/chain3"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"lr": "0.001", "max_steps": "10", "editor": "rmsprop"}
    assert run.data.metrics == {"drawdown": 0.25, "success_rate": 1.0, "tuning_error": 0.125}
    assert curve(run, "tuning_error") == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert run.data.tags["git_commit"] == "abc"
    folders = {entry.path for entry in client().list_artifacts(run.info.run_id)}
    assert folders == {"figures", "tables", "notes.txt"}
    table = client().download_artifacts(run.info.run_id, "tables/table1.csv", str(tmp_path / "repository"))
    assert Path(table).read_bytes() == b"a,b\n1,2\n"


def test_numbers_that_are_not_finite_are_left_out(repository, record):
    metrics = {"drawdown": math.nan, "success_rate": 0.5, "efficiency": math.inf}
    series = {"tuning_error": [(1, math.nan), (2, 0.25)], "lost": [(1, math.nan)]}
    rebuild("digits", [replace(record, metrics=metrics, series=series)])
    (run,) = runs()
    assert run.data.metrics == {"success_rate": 0.5, "tuning_error": 0.25}
    assert curve(run, "tuning_error") == [(2, 0.25)]


def test_more_numbers_than_one_request_takes(repository, record):
    long = [(step, step / 7) for step in range(2300)]
    many = {f"p{number}": number for number in range(230)}
    rebuild("digits", [replace(record, series={"loss": long}, parameters=many)])
    (run,) = runs()
    assert curve(run, "loss") == long
    assert run.data.params == {name: str(value) for name, value in many.items()}


def test_long_values_are_cut_where_mlflow_ends(repository, record, capfd):
    rebuild("digits", [replace(record, parameters={"note": "x" * 7000}, tags={"command": "y" * 9000})])
    (run,) = runs()
    assert run.data.params["note"] == "x" * 5999 + "…"
    assert run.data.tags["command"] == "y" * 7999 + "…"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["success %", "", "/top", "a//b", "../up", "a\nb", "x" * 251, "suite.key"])
def test_a_name_that_mlflow_refuses_is_told_before_anything_is_written(record, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = {"parameters": 1, "metrics": 1.0, "series": [(1, 1.0)], "tags": "1"}
    for field, value in values.items():
        with pytest.raises(InputError, match="plain/rmsprop/chain3: .* cannot name a parameter, metric or tag"):
            rebuild("digits", [record, replace(record, **{field: {name: value}})])
    assert not Path("mlflow").exists()


def test_a_name_that_we_allow_is_one_that_mlflow_allows(repository, record):
    values = dict.fromkeys(["drawdown_95-low", "a/b", "test error", "top.1", "größe"], 1)
    texts = dict.fromkeys(values, "1")
    rebuild("digits", [replace(record, parameters=values, metrics=values, tags=texts, series={})])
    (run,) = runs()
    assert run.data.metrics == values
    assert run.data.params == texts
    assert run.data.tags.items() >= texts.items()


def test_records_that_contradict_each_other_are_refused(repository, record):
    with pytest.raises(ValueError, match="same key"):
        rebuild("digits", [record, record])
    with pytest.raises(ValueError, match="drawdown is in both metrics and series"):
        rebuild("digits", [replace(record, series={"drawdown": [(1, 1.0)]})])
    with pytest.raises(ValueError, match="two artifacts have the same name"):
        rebuild("digits", [replace(record, artifacts=[record.artifacts[0]] * 2)])


# Doing it again


def test_a_second_rebuild_changes_nothing(repository, record):
    records = [record, replace(record, key="plain/adam/chain3")]
    rebuild("digits", records)
    before = everything()
    assert rebuild("digits", records) == tracking.Rebuilt(created=0, kept=2, removed=0)
    assert everything() == before


def test_only_the_changed_run_is_written_anew(repository, record):
    other = replace(record, key="plain/adam/chain3")
    rebuild("digits", [record, other])
    before = {run.info.run_name: run.info.run_id for run in runs()}
    changed = replace(record, metrics={"drawdown": 0.5})
    assert rebuild("digits", [changed, other]) == tracking.Rebuilt(created=1, kept=1, removed=1)
    after = {run.info.run_name: run.info.run_id for run in runs()}
    assert after.keys() == before.keys()
    assert after[other.key] == before[other.key]
    assert after[record.key] != before[record.key]


@pytest.mark.parametrize("field", ["parameters", "metrics", "series", "tags", "artifacts", "artifact bytes"])
def test_a_change_of_any_part_of_a_record_is_noticed(repository, record, field):
    rebuild("digits", [record])
    if field == "artifact bytes":
        record.artifacts[0].write_bytes(b"another picture")
    else:
        part = getattr(record, field)
        smaller = part[:-1] if field == "artifacts" else dict(list(part.items())[:-1])
        record = replace(record, **{field: smaller})
    assert rebuild("digits", [record]) == tracking.Rebuilt(created=1, kept=0, removed=1)


def test_runs_of_no_record_go_and_runs_of_the_user_stay(repository, record):
    rebuild("digits", [record, replace(record, key="old")])
    own = client().create_run(runs()[0].info.experiment_id, run_name="by hand").info.run_id
    assert rebuild("digits", [record]) == tracking.Rebuilt(created=0, kept=1, removed=1)
    assert {run.info.run_name for run in runs()} == {record.key, "by hand"}
    assert client().get_run(own).info.lifecycle_stage == "active"


def test_an_interrupted_rebuild_heals_in_the_next_one(repository, record):
    rebuild("digits", [])
    experiment_id = client().get_experiment_by_name("digits").experiment_id
    half = client().create_run(experiment_id, tags={tracking.KEY: record.key}, run_name=record.key)
    assert rebuild("digits", [record]) == tracking.Rebuilt(created=1, kept=0, removed=1)
    (run,) = runs()
    assert run.info.run_id != half.info.run_id
    assert run.info.status == "FINISHED"


def test_a_run_whose_artifacts_were_lost_is_written_anew(repository, record):
    rebuild("digits", [record])
    shutil.rmtree("mlflow/artifacts")
    assert rebuild("digits", [record]).created == 1
    assert len(list(Path("mlflow/artifacts").rglob("scatter.png"))) == 1


def test_a_run_or_experiment_deleted_by_the_user_comes_back(repository, record):
    rebuild("digits", [record])
    client().delete_run(runs()[0].info.run_id)
    assert rebuild("digits", [record]).created == 1
    client().delete_experiment(runs()[0].info.experiment_id)
    rebuild("digits", [record])
    assert [run.info.run_name for run in runs()] == [record.key]


def test_more_runs_than_one_page_of_a_search_are_all_seen(repository, record):
    rebuild("digits", [])
    experiment_id = client().get_experiment_by_name("digits").experiment_id
    for number in range(3):
        client().create_run(experiment_id, tags={tracking.KEY: str(number)})
    paged = client()
    whole = paged.search_runs
    paged.search_runs = lambda *arguments, **options: whole(*arguments, **options, max_results=2)
    assert len(tracking._suite_runs(paged, experiment_id)) == 3


# Where it lies


def test_artifacts_are_found_after_the_repository_moved(repository, record, tmp_path, monkeypatch):
    rebuild("digits", [record])
    monkeypatch.chdir(tmp_path)
    repository.rename(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "elsewhere")
    (run,) = runs()
    figure = client().download_artifacts(run.info.run_id, "figures/scatter.png", str(tmp_path / "elsewhere"))
    assert Path(figure).read_bytes() == b"\x89PNG\r\n\x1a\n"
    assert rebuild("digits", [record]) == tracking.Rebuilt(created=0, kept=1, removed=0)


def test_nothing_is_written_outside_the_folder_of_the_database(repository, record):
    rebuild("digits", [record])
    assert [path.name for path in repository.iterdir()] == ["mlflow"]
    assert not [path for path in Path("mlflow").iterdir() if path.name.startswith(".partial")]


def test_the_environment_names_another_database(repository, record, tmp_path, monkeypatch):
    assert tracking.uri() == tracking.DEFAULT_URI == "sqlite:///mlflow/mlflow.db"
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


def forked(target, *arguments) -> multiprocessing.Process:
    """A process of its own that need not import MLflow, which takes seconds."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("needs fork()")
    mlflow_store.import_mlflow()
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    return process


def test_four_processes_may_be_the_first_to_touch_a_database_and_say_nothing(tmp_path, monkeypatch, record, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def touch(number):
        with live_training("live", f"training/{number}", PARAMETERS, {}) as log:
            log({"loss": 1.0}, 1)
        rebuild("digits", [record])

    processes = [forked(touch, number) for number in range(4)]
    for process in processes:
        process.join(timeout=120)
    assert capfd.readouterr() == ("", "")
    assert [process.exitcode for process in processes] == [0] * 4
    assert [run.info.run_name for run in runs("digits")] == [record.key]
    assert {run.info.run_name for run in runs("live")} == {f"training/{number}" for number in range(4)}


def test_mlflow_is_imported_only_when_it_is_used():
    program = "import sys, pipelines.tracking; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


# A training that goes on


def test_a_live_training_is_seen_while_it_runs_and_ends_finished(repository):
    with live_training("digits", "training/plain", PARAMETERS, {"git_commit": "abc"}) as log:
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

    with pytest.raises(KeyboardInterrupt), live_training("digits", "training/plain", PARAMETERS, {}) as log:
        fail(log)
    (failed,) = runs()
    assert failed.info.status == "FAILED"
    with live_training("digits", "training/plain", PARAMETERS, {"git_commit": "new"}) as log:
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
        with live_training("digits", "training/plain", PARAMETERS, {}) as log:
            log({"loss": 2.0}, 1)
            os.kill(os.getpid(), signal.SIGKILL)

    process = forked(train)
    process.join(timeout=120)
    assert process.exitcode == -signal.SIGKILL
    (killed,) = runs()
    assert killed.info.status == "RUNNING"
    with live_training("digits", "training/plain", PARAMETERS, {}) as log:
        log({"loss": 1.0}, 2)
    (run,) = runs()
    assert run.info.run_id == killed.info.run_id
    assert curve(run, "loss") == [(1, 2.0), (2, 1.0)]


def test_a_training_with_other_parameters_replaces_the_unfinished_one(repository):
    with (
        pytest.raises(ZeroDivisionError),
        live_training("digits", "training/plain", PARAMETERS, {}),
    ):
        1 / 0  # noqa: B018
    with live_training("digits", "training/plain", PARAMETERS | {"lr": 1.0}, {}):
        pass
    (run,) = runs()
    assert run.data.params["lr"] == "1.0"


@pytest.mark.parametrize("ends", [True, False])
def test_a_rebuild_replaces_a_live_run_by_its_record(repository, record, ends):
    record = replace(record, key="training/plain")
    training = live_training("digits", record.key, PARAMETERS, {})
    training.__enter__()({"loss": 2.0}, 1)
    if ends:
        training.__exit__(None, None, None)
    assert rebuild("digits", [record]) == tracking.Rebuilt(created=1, kept=0, removed=1)
    if not ends:
        with pytest.warns(RuntimeWarning, match="The training goes on"):
            training.__exit__(None, None, None)
    assert rebuild("digits", [record]) == tracking.Rebuilt(created=0, kept=1, removed=0)
    assert [tracking.LIVE in run.data.tags for run in runs()] == [False]


def test_a_rebuild_leaves_a_training_under_way_alone(repository, record):
    with live_training("digits", "training/plain", PARAMETERS, {}) as log:
        assert rebuild("digits", [record]).removed == 0
        log({"loss": 1.0}, 1)
    assert len(runs()) == 2
    assert rebuild("digits", [record]).removed == 1


def test_a_training_survives_the_loss_of_its_run(repository):
    with live_training("digits", "training/plain", PARAMETERS, {}) as log:
        log({"loss": 2.0}, 1)
        client().delete_run(runs()[0].info.run_id)
        with pytest.warns(RuntimeWarning, match=r"mlflow\.db .* The training goes on"):
            log({"loss": 1.0}, 2)
        log({"loss": 0.5}, 3)


def test_a_bad_metric_name_of_a_live_training_is_told(repository):
    with (
        pytest.raises(InputError, match="'success %' cannot name"),
        live_training("digits", "training/plain", PARAMETERS, {}) as log,
    ):
        log({"success %": 1.0}, 1)


# Servers that are not there


def test_an_unreachable_server_is_named(record, capfd):
    with pytest.raises(Unreachable, match="http://127.0.0.1:9 ") as raised:
        rebuild("digits", [record], "http://127.0.0.1:9")
    assert "\n" not in str(raised.value)
    with (
        pytest.raises(Unreachable, match="http://127.0.0.1:9 "),
        live_training("digits", "training/plain", PARAMETERS, {}, "http://127.0.0.1:9"),
    ):
        pytest.fail("the training must not begin")
    assert capfd.readouterr() == ("", "")


def test_a_password_in_the_address_is_not_shown(record):
    with pytest.raises(Unreachable) as raised:
        rebuild("digits", [record], "http://me:secret@127.0.0.1:9")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("answer", ["404", "<html>hello</html>", "{}"])
def test_a_server_that_is_not_mlflow_is_told(record, answer):
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
        with pytest.raises(Unreachable, match=f"{address} "):
            rebuild("digits", [record], address)
        server.shutdown()


def test_a_server_that_never_answers_is_given_up(record, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unreachable, match=f"{address} "):
            rebuild("digits", [record], address)


@pytest.mark.parametrize("address", ["./mlruns", "sqlite:mlflow.db", "nonsense://x"])
def test_an_address_that_mlflow_cannot_use_is_named(repository, record, address):
    with pytest.raises(Unreachable, match=f"{address} "):
        rebuild("digits", [record], address)
