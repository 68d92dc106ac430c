"""A training's epochs, shown in MLflow while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

from pipelines.tracking.records import (
    KEY,
    LIVE,
    LONGEST_PARAMETER,
    LONGEST_TAG,
    Parameters,
    check_names,
    clipped,
    finite,
)
from pipelines.tracking.runs import begin_run, log_batches, suite_runs
from pipelines.tracking.server import Unreachable, connect, failing_as_unreachable, locked, tracking_uri


@contextmanager
def live_training(
    experiment: str, model: str, parameters: Parameters, tags: Mapping[str, str], uri: str | None = None
) -> Iterator[Callable[[Mapping[str, float], int], None]]:
    """Yield ``log(metrics, epoch)``, which shows a training's numbers in MLflow while it goes on.

    :func:`pipelines.tracking.rebuild` later replaces the run by the one made from files. A training that was killed
    or failed and starts again with the same parameters continues its run; what was logged for an epoch stays. The run
    ends FINISHED, or FAILED when the block raises. A server that does not answer, now or later, costs one warning and
    not the training.

    :raises InputError: on entering, for a name MLflow refuses or a broken database.
    """
    key, target = f"training/{model}", uri or tracking_uri()
    check_names(key, [*parameters, *tags])
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
        check_names(key, metrics)
        new = finite((name, epoch, value) for name, value in metrics.items() if (name, epoch) not in logged)
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
    texts = {name: clipped(value, LONGEST_PARAMETER) for name, value in parameters.items()}
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
    for name, value in tags.items():
        client.set_tag(run_id, name, clipped(value, LONGEST_TAG))
    histories = [client.get_metric_history(run_id, name) for name in continued.data.metrics]
    return run_id, {(metric.key, metric.step) for history in histories for metric in history}
