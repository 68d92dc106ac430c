"""run.json: what made a benchmark's results - code, packages, hardware, parameters, data, seeds, time."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from benchmarks.data import dataset
from benchmarks.errors import InputError
from pipelines.config.params import Settings
from pipelines.jobs.cells import PROTOCOL
from pipelines.store import origins, stage_times
from pipelines.store.layout import MISTAKES, TIMING, Layout
from pipelines.store.machine import cpu, git_commit
from pipelines.store.origins import Merged

_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "optuna",
    "mlflow",
    "dvc",
    "matplotlib",
)


def describe(settings: Settings, benchmark: str, report_seconds: float | None = None) -> dict[str, Any]:
    """Everything needed to say where the numbers come from, and the command that makes them again.

    :param report_seconds: the wall time of the report that asks.
    """
    layout = Layout(benchmark)
    merged = origins.read(layout)
    return {
        "benchmark": benchmark,
        "command": f"dvc repro report@{benchmark}",
        "protocol": PROTOCOL,
        "seed": settings.seed,
        "training_seeds": settings.training_seeds,
        "data": _data(layout, merged),
        "made_elsewhere": _counted(layout, merged),
        **surroundings(settings),
        "seconds": _seconds(settings, layout, report_seconds),
        "parameters": _parameters(settings, benchmark),
    }


def _parameters(settings: Settings, benchmark: str) -> dict[str, Any]:
    """What params.yaml said of this benchmark and of the editors that were run on it."""
    run = settings.run_of(benchmark)
    return {
        "compile": settings.compile,
        "benchmark": settings.benchmark(benchmark).model_dump(mode="json") | {"run": run.model_dump(mode="json")},
        "editors": {name: settings.editor(name).model_dump(mode="json") for name in run.leaderboard},
    }


def _data(layout: Layout, merged: Merged) -> dict[str, Any]:
    """The data here; if there are none, those that merged results were measured on."""
    if merged.data and not layout.data.exists():
        return dict(merged.data)
    data = dataset.load(layout.data)
    sizes = {"training": len(data.train), "tuning": len(data.tuning), "test": len(data.test)}
    return {"source": data.source, "fingerprint": data.fingerprint(), "sizes": sizes}


def _counted(layout: Layout, merged: Merged) -> dict[str, int]:
    """Numbers of cells that were merged and not made anew here since, by machine and commit."""
    found = Counter()
    for name in [name for name in merged.cells if not name.endswith(MISTAKES)]:
        path = layout.results / "edits" / f"{name}.json"
        origin = merged.origin(*name.split("/"), json.loads(path.read_text())) if path.exists() else None
        found.update([str(origin)] if origin else [])
    return dict(sorted(found.items()))


def surroundings(settings: Settings, *more: str) -> dict[str, Any]:
    """Code, hardware and packages, ``more`` of them besides those that every stage needs."""
    return {
        "git_commit": git_commit(),
        "hardware": _hardware(settings),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in (*_PACKAGES, *more)},
    }


def _hardware(settings: Settings) -> dict[str, Any]:
    device = settings.torch_device()
    found = {"device": str(device), "cpu": cpu(), "cores": os.cpu_count(), "machine": platform.machine()}
    found |= {"threads": settings.threads, "processes": settings.processes}
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _seconds(settings: Settings, layout: Layout, report_seconds: float | None) -> dict[str, Any]:
    """Wall time of stages, trainings and studies, as they wrote it down."""
    stages: dict[str, dict[str, float]] = stage_times.read(layout)
    if report_seconds is not None:
        stages["report"] = {"seconds": round(report_seconds, 1)}
    run = settings.run_of(layout.benchmark)
    models = [layout.model(name, seed) for seed in settings.training_seeds for name in run.trainings]
    files = {f"train/{folder.name}": folder / TIMING for folder in models}
    files |= {f"tune/{name}": layout.tuned(name) / TIMING for name in run.leaderboard}
    pieces = {name: _read_seconds(path) for name, path in files.items() if path.exists()}
    return {"stages": stages, "tables_and_figure_2": stage_times.of_tables(stages), **pieces}


def _read_seconds(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}): remove it, it holds wall times only") from error
