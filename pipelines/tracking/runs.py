"""Runs and networks of the suite in MLflow: found by their tags, written from records, and shown while they go on."""

from __future__ import annotations

import json
import posixpath
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from pipelines.tracking import records, server
from pipelines.tracking.records import FINGERPRINT, KEY, LIVE, LONGEST_PARAMETER, LONGEST_TAG, TAKES, RunRecord, clipped

PARAMETERS_AT_ONCE, METRICS_AT_ONCE = 100, 1000  # MLflow's limits
_OURS = f"tags.`{KEY}` LIKE '%'"


def suite_runs(client, experiment_id: str) -> list:
    """The active runs that carry the suite's tag, with their inputs."""
    return _all_pages(lambda token: client.search_runs([experiment_id], _OURS, page_token=token))


def suite_networks(client, experiment_id: str) -> list:
    """The active models that carry the suite's tag."""
    return _all_pages(lambda token: client.search_logged_models([experiment_id], _OURS, page_token=token))


def _all_pages(search: Callable[[str | None], Any]) -> list:
    page = search(None)
    found = list(page)
    while page.token:
        page = search(page.token)
        found += page
    return found


def begin_run(client, experiment_id: str, key: str, tags: Mapping[str, str], began: int | None = None) -> str:
    """The id of a new run that is called by its key.

    :param began: in milliseconds; now, if None.
    """
    return client.create_run(experiment_id, began, clipped(tags, LONGEST_TAG) | {KEY: key}, key).info.run_id


def log_batches(
    client,
    run_id: str,
    parameters: records.Parameters | None = None,
    points: Sequence[tuple[str, int, float]] = (),
    at: int | None = None,
    network: tuple[str, int] | None = None,
    data: Mapping[str, records.DataRecord] | None = None,
) -> None:
    """Log parameters and points (name, step, value) in as few requests as MLflow allows.

    :param at: when, in milliseconds; now, if None.
    :param network: the id of the model that the numbers are of, and the epoch of it that was kept.
    :param data: by context, see :class:`RunRecord`.
    """
    from mlflow.entities import Metric, Param

    def metric(name: str, step: int, value: float) -> Metric:
        if network is None or step not in (0, network[1]):
            return Metric(name, value, at, step)
        found = (data or {}).get(name.partition("/")[0])
        of = {"dataset_name": found.name, "dataset_digest": found.digest} if found else {}
        return Metric(name, value, at, step, model_id=network[0], **of)

    at = int(time.time() * 1000) if at is None else at
    entries = [Param(*one) for one in clipped(parameters or {}, LONGEST_PARAMETER).items()]
    metrics = [metric(*point) for point in points]
    while entries or metrics:
        now, entries = entries[:PARAMETERS_AT_ONCE], entries[PARAMETERS_AT_ONCE:]
        room = METRICS_AT_ONCE - len(now)
        client.log_batch(run_id, params=now, metrics=metrics[:room])
        metrics = metrics[room:]


def write_run(
    target: str, client, experiment_id: str, record: RunRecord, fingerprint: str, taken: Sequence[str]
) -> str | None:
    """Write a run, finished, its fingerprint last; returns the id of the model that it made, if it made one.

    :param taken: the ids of the models that it takes.
    """
    from mlflow.entities import LoggedModelInput, LoggedModelOutput

    began, ended = (int(moment.timestamp() * 1000) for moment in record.span) if record.span else (None, None)
    tags = dict(record.tags)
    if taken:
        tags[TAKES] = " ".join(taken)  # a search of runs does not tell which models they take
    if record.tables:
        tags["mlflow.loggedArtifacts"] = json.dumps([{"path": name, "type": "table"} for name in record.tables])
    run_id = begin_run(client, experiment_id, record.key, tags, began)
    network = record.network
    model_id = _write_network(client, experiment_id, run_id, network, record.key) if network else None
    made = (model_id, network.epoch) if network else None
    log_batches(client, run_id, record.parameters, record.points, ended, made, record.data)
    if record.data or taken:
        models = [LoggedModelInput(model_id=one) for one in taken]
        client.log_inputs(run_id, [_dataset(context, one) for context, one in record.data.items()], models)
    if network:
        client.log_outputs(run_id, [LoggedModelOutput(model_id=model_id, step=network.epoch)])
    _write_files(target, client, run_id, record)
    client.set_terminated(run_id, "FINISHED", ended)
    client.set_tag(run_id, FINGERPRINT, fingerprint)
    return model_id


def _write_network(client, experiment_id: str, run_id: str, network: records.NetworkRecord, key: str) -> str:
    model = client.create_logged_model(
        experiment_id,
        name=network.name,
        source_run_id=run_id,
        tags=clipped(network.tags, LONGEST_TAG) | {KEY: key},
        params=clipped(network.parameters, LONGEST_PARAMETER),
        model_type=network.kind,
    )
    client.finalize_logged_model(model.model_id, "READY")
    return model.model_id


def _dataset(context: str, data: records.DataRecord):
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"uri": data.source, "description": data.told})
    profile = json.dumps({"num_rows": data.rows})
    entity = Dataset(data.name, data.digest, "local", source, profile=profile)
    return DatasetInput(entity, [InputTag("mlflow.data.context", context)])


def _write_files(target: str, client, run_id: str, record: RunRecord) -> None:
    folder = server.artifact_folder(target, client.get_run(run_id))
    for name, path in record.files.items():
        if folder is None:
            client.log_artifact(run_id, str(path), posixpath.dirname(name) or None)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
    for name, text in record.texts.items():
        if folder is None:
            client.log_text(run_id, text, name)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")


@contextmanager
def live_training(
    experiment: str, model: str, parameters: records.Parameters, tags: Mapping[str, str]
) -> Iterator[Callable[[Mapping[str, float], int], None]]:
    """Yield ``log(metrics, epoch)``, which shows a training's numbers in MLflow while it goes on.

    :func:`pipelines.tracking.rebuild` later replaces the run by the one made from files. A training that was killed
    or failed and starts again with the same parameters continues its run; what was logged for an epoch stays. The run
    ends FINISHED, or FAILED when the block raises. A server that does not answer, now or later, costs one warning and
    not the training.

    :raises InputError: on entering, for a name MLflow refuses or a broken database.
    """
    key, target = f"training/{model}", server.tracking_uri()
    records.check_names(key, [*parameters, *tags])
    client, run_id, logged = None, "", set()  # no client: lost

    def unless_lost(act: Callable[[], Any]) -> None:
        nonlocal client
        try:
            with server.failing_as_unreachable(target):
                act()
        except server.Unreachable as error:
            client = None
            typer.echo(f"warning: {error} The training goes on without live metrics and is shown later.", err=True)

    def begin() -> None:
        nonlocal client, run_id, logged
        with server.locked(target):
            reached, experiment_id = server.connect(target, experiment)
            run_id, logged = _live_run(reached, experiment_id, key, parameters, tags)
        client = reached

    def log(metrics: Mapping[str, float], epoch: int) -> None:
        records.check_names(key, metrics)
        new = records.finite((name, epoch, value) for name, value in metrics.items() if (name, epoch) not in logged)
        logged.update((name, epoch) for name, epoch, _ in new)
        if client:
            unless_lost(lambda: log_batches(client, run_id, points=new))

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
    runs = [run for run in suite_runs(client, experiment_id) if run.data.tags[KEY] == key]
    unfinished = [run for run in runs if LIVE in run.data.tags and run.info.status != "FINISHED"]
    texts = clipped(parameters, LONGEST_PARAMETER)
    continued = next((run for run in unfinished if run.data.params == texts), None)
    for run in unfinished:
        if run is not continued:
            client.delete_run(run.info.run_id)
    if continued is None:
        run_id = begin_run(client, experiment_id, key, {**tags, LIVE: "true"})
        log_batches(client, run_id, parameters)
        return run_id, set()
    run_id = continued.info.run_id
    client.update_run(run_id, status="RUNNING")
    for tag in clipped(tags, LONGEST_TAG).items():
        client.set_tag(run_id, *tag)
    histories = [client.get_metric_history(run_id, name) for name in continued.data.metrics]
    return run_id, {(metric.key, metric.step) for history in histories for metric in history}
