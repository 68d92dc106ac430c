"""run.json: what made a benchmark's results - code, packages, hardware, data, seeds, time."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

from benchmarks import dataset
from benchmarks.errors import InputError
from pipelines.cells import PROTOCOL
from pipelines.layout import TIMING, Layout
from pipelines.machine import cpu, git_commit
from pipelines.settings import Settings

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


def describe(settings: Settings, benchmark: str) -> dict[str, Any]:
    """Everything needed to say where the numbers come from, and the command that makes them again."""
    layout = Layout(benchmark)
    data = dataset.load(layout.data)
    return {
        "benchmark": benchmark,
        "command": f"dvc repro report@{benchmark}",
        "protocol": PROTOCOL,
        "seed": settings.seed,
        "training_seeds": settings.training_seeds,
        "data": {"source": data.source, "fingerprint": data.fingerprint()},
        **surroundings(settings),
        "seconds": _seconds(settings, layout),
    }


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


def _seconds(settings: Settings, layout: Layout) -> dict[str, Any]:
    """Wall time of trainings and studies, as their stages wrote it down."""
    run = settings.run_of(layout.benchmark)
    models = [layout.model(name, seed) for seed in settings.training_seeds for name in run.trainings]
    files = {f"train/{folder.name}": folder / TIMING for folder in models}
    files |= {f"tune/{name}": layout.tuned(name) / TIMING for name in run.leaderboard}
    return {name: _read_seconds(path) for name, path in files.items() if path.exists()}


def _read_seconds(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}): remove it, it holds wall times only") from error
