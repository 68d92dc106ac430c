"""MLflow's runs, made equal to what result files say, and a training's epochs while it goes on.

Nothing is kept in MLflow only, but for the patched models that a user registers. Each run of the suite carries the tag
``suite.key``, by which it is found again, and, once it is complete, ``suite.fingerprint``, a hash of all it shows; each
trained network is a model of MLflow's with the same key. Runs and models without ``suite.key`` are the user's and never
touched. What a rebuild replaces goes to MLflow's trash (``mlflow gc`` empties it).
"""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import TopologicalSorter

from pipelines.tracking import runs, server
from pipelines.tracking.records import FINGERPRINT, KEY, LIVE, TAKES, RunRecord, fingerprint


def rebuild(experiment: str, records: Sequence[RunRecord]) -> dict[str, int]:
    """Make the suite's runs and models in ``experiment`` equal to ``records``; doing it twice changes nothing.

    A run with the fingerprint of its record stays as it is (same run id). Other records are written, then the runs they
    replace are deleted, and those of no record too, except a training under way; models go with their runs.
    An interrupted rebuild heals in the next one, because a fingerprint is set last.

    :returns: how many runs were ``created``, ``kept`` as they were and ``removed`` to the trash.
    :raises InputError: for a name MLflow refuses or a broken database.
    :raises Unreachable: if the server does not answer.
    :raises OSError: for an unreadable artifact.
    """
    by_key = {record.key: record for record in records}
    order = TopologicalSorter({record.key: record.takes for record in records}).static_order()
    ordered, fingerprints = [by_key[key] for key in order], {}  # a network before what takes it
    for record in ordered:
        fingerprints[record.key] = fingerprint(record, [fingerprints[key] for key in record.takes])
    target = server.tracking_uri()
    with server.failing_as_unreachable(target), server.locked(target):
        client, experiment_id = server.connect(target, experiment)
        existing, models = runs.suite_runs(client, experiment_id), runs.suite_networks(client, experiment_id)
        made_by = {model.source_run_id: model.model_id for model in models}
        networks: dict[str, str | None] = {}
        kept = set()
        for record in ordered:
            expected, taken = fingerprints[record.key], [networks[key] for key in record.takes]
            same = next((run for run in existing if _shows(target, run, record, expected, taken, made_by)), None)
            if same is None:
                networks[record.key] = runs.write_run(target, client, experiment_id, record, expected, taken)
            else:
                kept.add(same.info.run_id)
                networks[record.key] = made_by.get(same.info.run_id)
        stale = [run for run in existing if run.info.run_id not in kept]
        under_way = {run.info.run_id for run in stale if LIVE in run.data.tags and run.info.status == "RUNNING"}
        removed = [run for run in stale if run.data.tags[KEY] in fingerprints or run.info.run_id not in under_way]
        for run in removed:
            client.delete_run(run.info.run_id)
        for model in models:
            if model.source_run_id not in kept:
                client.delete_logged_model(model.model_id)
    return {"created": len(records) - len(kept), "kept": len(kept), "removed": len(removed)}


def _shows(target: str, run, record: RunRecord, expected: str, taken: Sequence[str | None], made_by) -> bool:
    if run.data.tags[KEY] != record.key or run.data.tags.get(FINGERPRINT) != expected:
        return False
    if record.network and run.info.run_id not in made_by:
        return False
    if run.data.tags.get(TAKES, "") != " ".join(taken):
        return False
    folder = server.artifact_folder(target, run)
    return folder is None or all((folder / name).is_file() for name in [*record.files, *record.tables])
