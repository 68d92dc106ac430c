"""Reaching MLflow: a database that is made once and moves with the repository, or a server that is tried briefly.

Artifacts of a database's runs lie in ``artifacts`` beside it. MLflow would note that folder as an absolute path, which
is lost when the repository moves, so experiments note ``mlflow-artifacts:/<experiment>`` instead: ``mlflow ui`` and
``mlflow gc`` look for it below their ``--artifacts-destination``.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from benchmarks.errors import InputError
from benchmarks.files import atomic_path
from pipelines.jobs.progress import one_line

DEFAULT_URI = "sqlite:///mlflow/mlflow.db"  # from the working directory; artifacts beside it, in mlflow/artifacts
LOCK_SECONDS = 300
_PROXIED = "mlflow-artifacts:/"


class Unreachable(Exception):
    """The tracking server does not answer, or fails on the way; one sentence that names its URI."""


def tracking_uri() -> str:
    """The address where runs are tracked: the environment's MLFLOW_TRACKING_URI, else :data:`DEFAULT_URI`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def import_mlflow():
    """MLflow, imported when needed (it takes seconds), without usage reports and printed links."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    import mlflow

    return mlflow


@contextmanager
def failing_as_unreachable(target: str) -> Iterator[None]:
    """Turn what MLflow and its database raise into :class:`Unreachable`, without passwords."""
    mlflow = import_mlflow()
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except InputError:
        raise
    # ImportError: the driver of a database; ValueError: an answer that is not JSON
    except (mlflow.exceptions.MlflowException, SQLAlchemyError, ImportError, OSError, ValueError) as error:
        message = f"MLflow at {target} does not answer as it should ({_reason(error)})."
        raise Unreachable(re.sub(r"//[^/@\s]*@", "//***@", message)) from error  # without a password


def _reason(error: Exception) -> str:
    return one_line((str(error).strip() or type(error).__name__).splitlines()[0][:200]).rstrip(".")


def _database(target: str) -> Path | None:
    return Path(target.removeprefix("sqlite:///")) if target.startswith("sqlite:///") else None


@contextmanager
def locked(target: str) -> Iterator[None]:
    """Let one process at a time make or rebuild a database file; a server sees to that itself."""
    if (database := _database(target)) is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(database.with_name(f".{database.name}.lock"), timeout=LOCK_SECONDS):
        yield


EXPERIMENT = {"mlflow.experimentKind": "custom_model_development"}
"""Tags of an experiment; without this one, MLflow's pages open it as one of agents and prompts."""


def connect(target: str, experiment: str) -> tuple[Any, str]:
    """A client that has been tried, and the id of the experiment, made or taken from the trash if need be."""
    mlflow, database = import_mlflow(), _database(target)
    client = _reach(target) if database is None else _open(database)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        try:
            client.create_experiment(experiment, None if database is None else f"{_PROXIED}{experiment}")
        except mlflow.exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # then another machine made it meanwhile
                raise
        found = client.get_experiment_by_name(experiment)
    elif found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    for name in EXPERIMENT.keys() - found.tags.keys():
        client.set_experiment_tag(found.experiment_id, name, EXPERIMENT[name])
    return client, found.experiment_id


def artifact_folder(target: str, run: Any) -> Path | None:
    """Where the files of a run lie on this machine; None for those that only a server can reach."""
    database, location = _database(target), run.info.artifact_uri
    if database is not None and location.startswith(_PROXIED):
        return database.parent / "artifacts" / location.removeprefix(_PROXIED)
    return None if ":" in location else Path(location)


def _reach(server: str):
    """A client of a server that answers now; MLflow itself would try for minutes."""
    impatient = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    with _environment({**impatient, **os.environ}), _silence():
        client = import_mlflow().MlflowClient(server)
        client.search_experiments(max_results=1)
    return client


def _url(database: Path) -> str:
    """The address of a database file: absolute, because MLflow keeps what it opened by it, where its path allows that.

    :raises InputError: for a path that means something else in an address even relative to the working directory.
    """
    for path in map(str, (database.absolute(), os.path.relpath(database))):
        if not set("?#%") & set(path):
            return f"sqlite:///{path}"
    raise InputError(f"MLflow cannot open {database}: its path holds ?, # or %; MLFLOW_TRACKING_URI may name another")


def _open(database: Path):
    """A client of an SQLite file, which is made whole under another name if it does not exist."""
    mlflow = import_mlflow()

    def opened(path: Path):
        client = mlflow.MlflowClient(_url(path))
        client.search_experiments(max_results=1)
        return client

    try:
        with _silence():
            if not database.exists():
                with atomic_path(database) as temporary:
                    opened(temporary)
            with closing(sqlite3.connect(database, timeout=20)) as connection:
                (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            return opened(database)
    except (sqlite3.Error, mlflow.exceptions.MlflowException) as error:
        raise InputError(
            f"MLflow cannot use the database {database} ({_reason(error)}); run 'mlflow db upgrade "
            f"sqlite:///{database}' if another MLflow made it, or move it away: runs are remade from files."
        ) from error


@contextmanager
def _silence() -> Iterator[None]:
    """Leave out the log lines of creating tables and of retries: what matters comes as an exception."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a moment; MLflow takes its patience from there only."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
