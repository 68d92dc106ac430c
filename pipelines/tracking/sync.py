"""MLflow shows what the result files say; nothing is kept in it only.

Each of our runs carries the tag `suite.key`, by which it is found again, and, once it is complete,
`suite.fingerprint`, a hash of all it shows. Runs without `suite.key` are the user's and never touched. What a
rebuild replaces goes to MLflow's trash (`mlflow gc` empties it).
"""

import hashlib
import json
import math
import os
import posixpath
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.errors import InputError
from benchmarks.files import file_hash
from pipelines.tracking.server import Unreachable, connect, failing_as_unreachable, locked

DEFAULT_URI = "sqlite:///mlflow/mlflow.db"  # from the working directory; artifacts beside it, in mlflow/artifacts

KEY, FINGERPRINT, LIVE = "suite.key", "suite.fingerprint", "suite.live"
LAYOUT = 1  # raise it when a record is shown in another way, so that old runs are made again
FOLDERS = {".png": "figures", ".svg": "figures", ".md": "tables", ".csv": "tables", ".json": "tables"}
LONGEST_NAME, LONGEST_PARAMETER, LONGEST_TAG = 250, 6000, 8000  # characters, MLflow's limits
PARAMETERS_AT_ONCE, METRICS_AT_ONCE = 100, 1000  # likewise

Parameters = Mapping[str, str | int | float | bool]


@dataclass(frozen=True)
class RunRecord:
    """Everything one MLflow run shows, made from files.

    `key` ("plain/rmsprop/chain3") is unique in the experiment and the run's display name. `series` holds
    curves of (epoch, value); a name is in `metrics` or in `series`. Numbers that are not finite are left
    out. Artifacts go to "figures" (.png, .svg), "tables" (.md, .csv, .json) or the top.
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


def uri() -> str:
    """Where runs are tracked: the environment's MLFLOW_TRACKING_URI, else `DEFAULT_URI`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


_configured_uri = uri  # the functions below have a parameter `uri`


def rebuild(experiment: str, records: Sequence[RunRecord], uri: str | None = None) -> Rebuilt:
    """Makes the suite's runs in `experiment` equal to `records`; doing it twice changes nothing.

    A run with the fingerprint of its record stays as it is (same run id). Other records are written, then
    the runs they replace are deleted, and those of no record too, except a training under way. An
    interrupted rebuild heals in the next one, because a fingerprint is set last. Raises InputError for a
    name MLflow refuses or a broken database, Unreachable, OSError for an unreadable artifact, ValueError for
    contradicting records.
    """
    fingerprints = {record.key: _fingerprint(record) for record in records}
    if len(fingerprints) != len(records):
        raise ValueError("two records have the same key")
    target = uri or _configured_uri()
    with failing_as_unreachable(target), locked(target):
        client, experiment_id = connect(target, experiment)
        existing = _suite_runs(client, experiment_id)
        kept = set()
        for record in records:
            fingerprint = fingerprints[record.key]
            same = next((run for run in existing if _shows(run, record, fingerprint)), None)
            if same is None:
                _write(client, experiment_id, record, fingerprint)
            else:
                kept.add(same.info.run_id)
        stale = [run for run in existing if run.info.run_id not in kept]
        removed = [run for run in stale if run.data.tags[KEY] in fingerprints or not _is_training(run)]
        for run in removed:
            client.delete_run(run.info.run_id)
    return Rebuilt(created=len(records) - len(kept), kept=len(kept), removed=len(removed))


@contextmanager
def live_training(
    experiment: str, key: str, parameters: Parameters, tags: Mapping[str, str], uri: str | None = None
) -> Iterator[Callable[[Mapping[str, float], int], None]]:
    """Yields `log(metrics, step)`, which shows a training's numbers in MLflow while it goes on.

    `rebuild` later replaces the run by the one made from files. A training that was killed or failed and
    starts again with the same parameters continues its run; what was logged for a step stays. The run ends
    FINISHED, or FAILED when the block raises. Raises InputError and Unreachable on entering; a server lost
    later costs one warning, not the training.
    """
    _check_names(key, [*parameters, *tags])
    target = uri or _configured_uri()
    with failing_as_unreachable(target), locked(target):
        client, experiment_id = connect(target, experiment)
        run_id, logged = _live_run(client, experiment_id, key, parameters, tags)
    lost = False

    def unless_lost(act: Callable[..., None], *arguments: Any) -> None:
        nonlocal lost
        if lost:
            return
        try:
            with failing_as_unreachable(target):
                act(*arguments)
        except Unreachable as error:
            lost = True
            warnings.warn(f"{error} The training goes on and is shown later.", RuntimeWarning, stacklevel=3)

    def log(metrics: Mapping[str, float], step: int) -> None:
        _check_names(key, metrics)
        new = _finite((name, step, value) for name, value in metrics.items() if (name, step) not in logged)
        logged.update((name, step) for name, step, _ in new)
        unless_lost(_log_points, client, run_id, new)

    try:
        yield log
    except BaseException:
        unless_lost(client.set_terminated, run_id, "FAILED")
        raise
    unless_lost(client.set_terminated, run_id, "FINISHED")


def _live_run(client, experiment_id, key, parameters, tags) -> tuple[str, set[tuple[str, int]]]:
    """The run to log to and the (metric, step) it has; unfinished runs of other parameters are deleted."""
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


def _shows(run, record: RunRecord, fingerprint: str) -> bool:
    if run.data.tags[KEY] != record.key or run.data.tags.get(FINGERPRINT) != fingerprint:
        return False
    folder = run.info.artifact_uri
    return ":" in folder or all(Path(folder, name).is_file() for name in _artifacts(record))


def _write(client, experiment_id: str, record: RunRecord, fingerprint: str) -> None:
    run_id = _create(client, experiment_id, record.key, record.tags, record.parameters)
    _log_points(client, run_id, _points(record))
    for name, path in _artifacts(record).items():
        client.log_artifact(run_id, str(path), posixpath.dirname(name) or None)
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
