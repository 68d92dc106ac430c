"""Patched models in MLflow's model registry: each patch is a new version, with its report.

These are the user's and not the suite's: no report makes them, and none takes them away.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.errors import InputError
from benchmarks.patching.own_models import FLIPS
from pipelines.store.provenance import git_commit
from pipelines.tracking.records import (
    LONGEST_DESCRIPTION,
    LONGEST_DIGEST,
    NetworkRecord,
    RunRecord,
    clipped,
    fingerprint,
    source_tags,
)
from pipelines.tracking.runs import write_run
from pipelines.tracking.server import Unreachable, connect, failing_as_unreachable, locked, tracking_uri

EXPERIMENT = "patches"
_SETTINGS = ("editor", "layers", "views", "one_by_one", "model", "out")
_NUMBERS = ("steps", "seconds", "parameters", "patch_bytes")


def check_name(name: str) -> None:
    """:raises InputError: for what cannot name a registered model."""
    if not name.strip() or set("/:.%\"'") & set(name):
        raise InputError(f"--register: {name!r} cannot name a model in MLflow: use letters, digits, spaces, - and _")


def register(name: str, report: Path) -> str:
    """Make a patch the next version of a registered model; returns a sentence that says where it is.

    The weights stay where the patch was written to.

    :param report: the JSON file beside a patch; what else has its name is attached, but for the weights.
    :raises InputError: if MLflow does not take it.
    """
    check_name(name)
    told = json.loads(report.read_text(encoding="utf-8"))
    target = tracking_uri()
    record = _record(name, told, report)
    try:
        with failing_as_unreachable(target), locked(target):
            from mlflow.exceptions import MlflowException

            client, experiment_id = connect(target, EXPERIMENT)
            model_id = write_run(target, client, experiment_id, record, fingerprint(record, []), [])
            try:
                client.get_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                client.create_registered_model(name)
            model = client.get_logged_model(model_id)
            version = client.create_model_version(
                name,
                model.artifact_location,
                run_id=model.source_run_id,
                **clipped({"description": record.tags["mlflow.note.content"]}, LONGEST_DESCRIPTION),
                tags={key: record.network.tags[key] for key in ("weights", "fingerprint")},
            ).version
    except Unreachable as error:
        raise InputError(f"the patch is written, but not registered: {error}") from error
    return f"registered as version {version} of {name} in MLflow at {target}"


def _record(name: str, told: Mapping[str, Any], report: Path) -> RunRecord:
    numbers = {key: told[key] for key in _NUMBERS} | dict(_control(told["effects"]))
    numbers["not_corrected"] = sum(not one["corrected"] for one in told["edited"])
    chosen = {
        key: " ".join(dict.fromkeys(f"{one[key]:g}" for one in told["hyperparameters"]))
        for key in told["hyperparameters"][0]
    }
    page = report.with_suffix(".md")
    tags = source_tags("patch", git_commit()) | {"mlflow.note.content": page.read_text(encoding="utf-8")}
    beside = [report, page, report.with_suffix(".patch.safetensors"), report.with_suffix(FLIPS)]
    return RunRecord(
        key=f"{name} {told['patched'][:LONGEST_DIGEST]}",
        parameters={**chosen, **{key: told[key] for key in _SETTINGS}},
        metrics={key: float(value) for key, value in numbers.items()},
        series={},
        tags=tags,
        artifacts=[path for path in beside if path.exists()],
        network=NetworkRecord(
            name=name,
            kind="patched",
            epoch=0,
            parameters={},
            tags={"mlflow.model.isExternal": "true", "weights": str(told["out"]), "fingerprint": str(told["patched"])},
        ),
    )


def _control(effects: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """What the report says of control images, by the names of metrics; see
    :class:`benchmarks.patching.side_effects.SideEffects`.
    """
    yield "control/flip_rate", effects["flip_rate"]["value"]
    for group, found in (effects["known"] or {}).items():
        if isinstance(found, dict):
            yield from ((f"control/{group}/{what}", found[what]["value"]) for what in ("before", "after", "drawdown"))
        elif isinstance(found, float):
            yield f"control/{group}", found
