"""MLflow's runs, made equal to what result files say, and a training's epochs while it goes on.

Nothing is kept in MLflow only. Each run of the suite carries the tag ``suite.key``, by which it is found again, and,
once it is complete, ``suite.fingerprint``, a hash of all it shows. Runs without ``suite.key`` are the user's and never
touched. What a rebuild replaces goes to MLflow's trash (``mlflow gc`` empties it).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import posixpath
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from benchmarks.errors import InputError
from benchmarks.files import file_hash
from pipelines.tracking.server import Unreachable, artifact_folder, connect, failing_as_unreachable, locked

DEFAULT_URI = "sqlite:///mlflow/mlflow.db"  # from the working directory; artifacts beside it, in mlflow/artifacts

KEY, FINGERPRINT, LIVE = "suite.key", "suite.fingerprint", "suite.live"
LAYOUT = 1  # raise it when a record is shown in another way, so that old runs are made again
FOLDERS = {".png": "figures", ".svg": "figures", ".md": "tables", ".csv": "tables", ".json": "tables"}
LONGEST_NAME, LONGEST_PARAMETER, LONGEST_TAG = 250, 6000, 8000  # characters, MLflow's limits
PARAMETERS_AT_ONCE, METRICS_AT_ONCE = 100, 1000  # likewise

Parameters = Mapping[str, str | int | float | bool]


@dataclass(frozen=True)
class RunRecord:
    """Everything that one MLflow run shows, made from files.

    :ivar key: unique in the experiment and the run's display name, such as ``plain/rmsprop/chain3``.
    :ivar metrics: single numbers; those that are not finite are left out, here and in ``series``.
    :ivar series: curves of (epoch, value); a name is in ``metrics`` or in ``series``.
    :ivar artifacts: files, shown in "figures" (.png, .svg), "tables" (.md, .csv, .json) or at the top.
    """

    key: str
    parameters: Parameters
    metrics: Mapping[str, float]
    series: Mapping[str, Sequence[tuple[int, float]]]
    tags: Mapping[str, str]
    artifacts: Sequence[Path]


@dataclass(frozen=True)
class Rebuilt:
    """How many runs a rebuild wrote, found unchanged and moved to the trash."""

    created: int
    kept: int
    removed: int


def tracking_uri() -> str:
    """The address where runs are tracked: the environment's MLFLOW_TRACKING_URI, else :data:`DEFAULT_URI`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def rebuild(experiment: str, records: Sequence[RunRecord], uri: str | None = None) -> Rebuilt:
    """Make the suite's runs in ``experiment`` equal to ``records``; doing it twice changes nothing.

    A run with the fingerprint of its record stays as it is (same run id). Other records are written, then the runs they
    replace are deleted, and those of no record too, except a training under way. An interrupted rebuild heals in the
    next one, because a fingerprint is set last.

    :raises InputError: for a name MLflow refuses or a broken database.
    :raises Unreachable: if the server does not answer.
    :raises OSError: for an unreadable artifact.
    :raises ValueError: for contradicting records.
    """
    fingerprints = {record.key: _fingerprint(record) for record in records}
    if len(fingerprints) != len(records):
        raise ValueError("two records have the same key")
    target = uri or tracking_uri()
    with failing_as_unreachable(target), locked(target):
        client, experiment_id = connect(target, experiment)
        existing = _suite_runs(client, experiment_id)
        kept = set()
        for record in records:
            fingerprint = fingerprints[record.key]
            same = next((run for run in existing if _shows(target, run, record, fingerprint)), None)
            if same is None:
                _write(target, client, experiment_id, record, fingerprint)
            else:
                kept.add(same.info.run_id)
        stale = [run for run in existing if run.info.run_id not in kept]
        removed = [run for run in stale if run.data.tags[KEY] in fingerprints or not _is_training(run)]
        for run in removed:
            client.delete_run(run.info.run_id)
    return Rebuilt(created=len(records) - len(kept), kept=len(kept), removed=len(removed))


@contextmanager
def live_training(
    experiment: str, model: str, parameters: Parameters, tags: Mapping[str, str], uri: str | None = None
) -> Iterator[Callable[[Mapping[str, float], int], None]]:
    """Yield ``log(metrics, epoch)``, which shows a training's numbers in MLflow while it goes on.

    :func:`rebuild` later replaces the run by the one made from files. A training that was killed or failed and starts
    again with the same parameters continues its run; what was logged for an epoch stays. The run ends FINISHED, or
    FAILED when the block raises. A server that does not answer, now or later, costs one warning and not the training.

    :raises InputError: on entering, for a name MLflow refuses or a broken database.
    """
    key, target = f"training/{model}", uri or tracking_uri()
    _check_names(key, [*parameters, *tags])
    client, run_id, logged = None, "", set()  # no client: lost

    def unless_lost(act: Callable[[], Any]) -> None:
        nonlocal client
        try:
            with failing_as_unreachable(target):
                act()
        except Unreachable as error:
            client = None
            typer.echo(f"warning: {error} The training goes on without live metrics and is shown later.", err=True)

    def begin() -> None:
        nonlocal client, run_id, logged
        with locked(target):
            reached, experiment_id = connect(target, experiment)
            run_id, logged = _live_run(reached, experiment_id, key, parameters, tags)
        client = reached

    def log(metrics: Mapping[str, float], epoch: int) -> None:
        _check_names(key, metrics)
        new = _finite((name, epoch, value) for name, value in metrics.items() if (name, epoch) not in logged)
        logged.update((name, epoch) for name, epoch, _ in new)
        if client:
            unless_lost(lambda: _log_points(client, run_id, new))

    unless_lost(begin)
    ending = "FAILED"
    try:
        yield log
        ending = "FINISHED"
    finally:
        if client:
            unless_lost(lambda: client.set_terminated(run_id, ending))


def _live_run(client, experiment_id, key, parameters, tags) -> tuple[str, set[tuple[str, int]]]:
    """The run to log to and the (metric, epoch) it has; unfinished runs of other parameters are deleted."""
    runs = [run for run in _suite_runs(client, experiment_id) if run.data.tags[KEY] == key]
    unfinished = [run for run in runs if LIVE in run.data.tags and run.info.status != "FINISHED"]
    texts = {name: _clipped(value, LONGEST_PARAMETER) for name, value in parameters.items()}
    continued = next((run for run in unfinished if run.data.params == texts), None)
    for run in unfinished:
        if run is not continued:
            client.delete_run(run.info.run_id)
    if continued is None:
        return _create(client, experiment_id, key, {**tags, LIVE: "true"}, parameters), set()
    run_id = continued.info.run_id
    client.update_run(run_id, status="RUNNING")
    for name, value in tags.items():
        client.set_tag(run_id, name, _clipped(value, LONGEST_TAG))
    histories = [client.get_metric_history(run_id, name) for name in continued.data.metrics]
    return run_id, {(metric.key, metric.step) for history in histories for metric in history}


def _is_training(run) -> bool:
    return LIVE in run.data.tags and run.info.status == "RUNNING"


def _shows(target: str, run, record: RunRecord, fingerprint: str) -> bool:
    if run.data.tags[KEY] != record.key or run.data.tags.get(FINGERPRINT) != fingerprint:
        return False
    folder = artifact_folder(target, run)
    return folder is None or all((folder / name).is_file() for name in _artifacts(record))


def _write(target: str, client, experiment_id: str, record: RunRecord, fingerprint: str) -> None:
    run_id = _create(client, experiment_id, record.key, record.tags, record.parameters)
    _log_points(client, run_id, _points(record))
    folder = artifact_folder(target, client.get_run(run_id))
    for name, path in _artifacts(record).items():
        if folder is None:
            client.log_artifact(run_id, str(path), posixpath.dirname(name) or None)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
    client.set_terminated(run_id, "FINISHED")
    client.set_tag(run_id, FINGERPRINT, fingerprint)


def _create(client, experiment_id: str, key: str, tags: Mapping[str, str], parameters: Parameters) -> str:
    from mlflow.entities import Param

    texts = {name: _clipped(value, LONGEST_TAG) for name, value in tags.items()}
    run_id = client.create_run(experiment_id, tags={**texts, KEY: key}, run_name=key).info.run_id
    entries = [Param(name, _clipped(value, LONGEST_PARAMETER)) for name, value in parameters.items()]
    for start in range(0, len(entries), PARAMETERS_AT_ONCE):
        client.log_batch(run_id, params=entries[start : start + PARAMETERS_AT_ONCE])
    return run_id


def _log_points(client, run_id: str, points: Sequence[tuple[str, int, float]]) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    entries = [Metric(name, value, now, step) for name, step, value in points]
    for start in range(0, len(entries), METRICS_AT_ONCE):
        client.log_batch(run_id, metrics=entries[start : start + METRICS_AT_ONCE])


def _finite(points: Iterable[tuple[str, int, float]]) -> list[tuple[str, int, float]]:
    return [(name, int(step), float(value)) for name, step, value in points if math.isfinite(value)]


def _points(record: RunRecord) -> list[tuple[str, int, float]]:
    """Every finite number of a record as (name, step, value)."""
    if both := record.metrics.keys() & record.series.keys():
        raise ValueError(f"run {record.key}: {min(both)} is in both metrics and series")
    curves = [(name, *point) for name, curve in record.series.items() for point in curve]
    return sorted(_finite([*((name, 0, value) for name, value in record.metrics.items()), *curves]))


def _artifacts(record: RunRecord) -> dict[str, Path]:
    """The files of a record by their path inside the run."""
    folders = [FOLDERS.get(path.suffix.lower(), "") for path in record.artifacts]
    files = {posixpath.join(folder, path.name): path for path, folder in zip(record.artifacts, folders, strict=True)}
    if len(files) != len(record.artifacts):
        raise ValueError(f"run {record.key}: two artifacts have the same name")
    return files


def _fingerprint(record: RunRecord) -> str:
    _check_names(record.key, [*record.parameters, *record.metrics, *record.series, *record.tags])
    content = {
        "layout": LAYOUT,
        "key": record.key,
        "parameters": {name: str(value) for name, value in record.parameters.items()},
        "points": _points(record),
        "tags": dict(record.tags),
        "artifacts": {name: file_hash(path) for name, path in _artifacts(record).items()},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _clipped(value: Any, longest: int) -> str:
    text = str(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _check_names(key: str, names: Iterable[str]) -> None:
    for name in names:
        plain = re.fullmatch(r"\w[\w.\- /]*", name) and posixpath.normpath(name) == name  # may become a file
        if not plain or len(name) > LONGEST_NAME or name in (KEY, FINGERPRINT, LIVE):
            raise InputError(
                f"MLflow run {key}: {name!r} cannot name a parameter, metric or tag; allowed are up to "
                f"{LONGEST_NAME} letters, digits, spaces, _ - . and / inside, but not the suite's own tags."
            )


def _suite_runs(client, experiment_id: str) -> list:
    page = client.search_runs([experiment_id], f"tags.`{KEY}` LIKE '%'")
    runs = list(page)
    while page.token:
        page = client.search_runs([experiment_id], f"tags.`{KEY}` LIKE '%'", page_token=page.token)
        runs += page
    return runs
