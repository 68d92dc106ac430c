"""Stages as processes of their own, and a small project for them to work in.

Importing torch, optuna and MLflow takes seconds. So one process imports them once, with what they import late, and
forks a child for every stage: a real process with real arguments, exit code and output, in a folder of its own, and it
can be killed.
"""

import copy
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from filelock import FileLock
from safetensors.torch import load_file

from pipelines import tasks
from pipelines.config.params import Settings
from pipelines.tracking.server import connect

ROOT = Path(__file__).parents[2]
DEADLINE = 600.0
"""Those of a run in MLflow."""

_SERVER = """
import importlib, json, os, resource, signal, sys, traceback
for name in ("prepare", "train", "tune", "evaluate", "analyse", "sequences", "joint", "report"):
    importlib.import_module(f"pipelines.{name}")
import editors
from benchmarks import datasets
from pathlib import Path
from pipelines import command, tasks
datasets.available(), editors.available()
tasks.load_settings(Path("params.yaml"))  # imports torchvision
early = {"mlflow", "ray", "fairseq"} & set(sys.modules)
assert not early, f"{early} imported before anything of them is used, which takes seconds"
import matplotlib.backends.backend_svg, mlflow.store.tracking.sqlalchemy_store, optuna._gp.search_space
import scipy.stats, sklearn.datasets, sklearn.manifold, sklearn.model_selection, torch._dynamo
from pipelines.store.fingerprint import code_hash, with_imports
for path in with_imports(Path("pipelines").absolute().rglob("*.py")):
    code_hash(path)
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    exec(asked["first"])
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.chdir(asked["folder"])
        os.environ.update(asked["environment"])
        if limit := os.environ.get("LARGEST_FILE"):
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(asked[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv = [f"pipelines.{asked['stage']}", *asked["arguments"]]
        code = 0
        try:
            stage = importlib.import_module(f"pipelines.{asked['stage']}")
            command.run(getattr(stage, asked["stage"].rpartition(".")[2]))
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """What a stage left: its exit code (negative: the signal that killed it) and what it printed."""

    code: int
    output: str
    errors: str


@dataclass(frozen=True)
class Running:
    """A stage that was started; ``pid`` is also the id of its group, the workers it forks included."""

    pid: int
    server: subprocess.Popen[str]
    logs: Path

    def wait(self) -> Ended:
        code = int(self.server.stdout.readline())
        return Ended(code, *((self.logs / name).read_text() for name in ("stdout", "stderr")))

    def stop(self, when: Callable[[], bool], number: int = signal.SIGKILL, group: bool = False) -> Ended:
        """Send a signal as soon as ``when()`` holds, to this process or to all of its group."""
        until = time.monotonic() + DEADLINE
        while not when():
            assert time.monotonic() < until, "what was waited for did not happen"
            time.sleep(0.002)
        os.kill(-self.pid if group else self.pid, number)
        return self.wait()


@dataclass(frozen=True)
class Project:
    """A folder with a parameter file, in which stages run."""

    folder: Path
    server: subprocess.Popen[str]
    first: str = ""
    """Statements that import what only this project's stages need: once, in the process that forks them."""

    def start(self, stage: str, *arguments: str, **environment: str) -> Running:
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        asked = {"folder": str(self.folder), "stage": stage, "arguments": arguments, "environment": environment}
        asked |= {"first": self.first}
        asked |= {name: str(logs / name) for name in ("stdout", "stderr")}
        self.server.stdin.write(json.dumps(asked) + "\n")
        self.server.stdin.flush()
        return Running(int(self.server.stdout.readline()), self.server, logs)

    def run(self, stage: str, *arguments: str, **environment: str) -> Ended:
        return self.start(stage, *arguments, **environment).wait()

    def succeed(self, stage: str, *arguments: str, **environment: str) -> Ended:
        ended = self.run(stage, *arguments, **environment)
        assert ended.code == 0, ended.errors
        return ended

    def change(self, benchmark: str = "digits", **values: Any) -> None:
        """Change a benchmark's configuration; ``tuning__edits=3`` is ``tuning: {edits: 3}``."""
        self._change(self.folder / "benchmarks" / "configs" / f"{benchmark}.yaml", values)

    def choose(self, **values: Any) -> None:
        """Change params.yaml likewise."""
        self._change(self.folder / "params.yaml", values)

    @staticmethod
    def _change(path: Path, values: dict[str, Any]) -> None:
        content = yaml.safe_load(path.read_text())
        for name, value in values.items():
            *outer, last = name.split("__")
            block = content
            for key in outer:
                block = block[key]
            block[last] = value
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def copy(self, folder: Path) -> "Project":
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("logs"))
        return Project(folder, self.server, self.first)

    def weights(self, training: str) -> dict[str, torch.Tensor]:
        return load_file(self.folder / "models/digits" / training / "model.safetensors")

    def files(self, below: str) -> dict[str, bytes]:
        """Every file below a folder with its content, locks and those that hold wall times left out."""
        paths = [path for path in sorted((self.folder / below).rglob("*")) if path.is_file()]
        timed = [path for path in paths if "timing" in path.name or path.name == "stages.json" or ".lock" in path.name]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths if path not in timed}


PARAMS = {
    "run": ["digits"],
    "seed": 0,
    "training_seeds": [0],
    "edit_seeds": [0],
    "device": "cpu",
    "threads": 1,
    "processes": 1,
    "cache_gib": 1.0,
    "compile": False,
}
"""The smallest params.yaml."""

DIGITS = {
    "task": "images",
    "note": "Handwritten digits, made small enough for tests.",
    "data": {"dataset": "digits", "options": {"tuning_size": 60, "test_size": 60}},
    "model": {"architecture": "resnet18", "options": {"width": 2}},
    "trainings": {"plain": {"recipe": "plain", "epochs": 2, "batch_size": 256, "lr": 2e-3, "schedule": "cosine"}},
    "editors": {
        "gd": {"trials": 3, "max_steps": 5, "layers": {"plain": ["all", "chain4"]}},
        "rmsprop": {"trials": 3, "max_steps": 5, "layers": {"plain": ["all", "chain4"]}},
    },
    "tuning": {"edits": 12, "control_size": 20, "min_success": 60.0},
    "evaluation": {"edits": 12, "control_size": None, "shard": 4},
    "analysis": {"edits": 12, "shard": 4, "cells": [["plain", "rmsprop", "chain4"]]},
    "sequences": {"edits": 6, "orders": 3, "cells": [["plain", "rmsprop", "chain4"], ["plain", "gd", "all"]]},
}
"""A benchmark that takes seconds."""

TABLE_3_TRAINING = {"start": "plain", "epochs": 1, "batch_size": 256, "lr": 5e-4, "schedule": "cosine"}
"""What a training has in common that goes on from the plain model."""


def write_project(folder: Path, params: dict[str, Any] = PARAMS, **benchmarks: dict[str, Any]) -> Path:
    """A parameter file and the configurations of ``benchmarks``, by default of :data:`DIGITS`, in ``folder``."""
    configs = folder / "benchmarks" / "configs"
    configs.mkdir(parents=True, exist_ok=True)
    for name, content in (benchmarks or {"digits": DIGITS}).items():
        (configs / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return folder


@functools.cache
def committed() -> Settings:
    """The repository's own settings, which take long to read; not to be changed."""
    return tasks.load_settings(ROOT / "params.yaml")


MISSING = object()


def changed(content: dict[str, Any], where: str, value: object) -> dict[str, Any]:
    """``content`` with the value at a dotted path replaced, added or, for MISSING, left out."""
    content = block = copy.deepcopy(content)
    *outer, last = where.split(".")
    for key in outer:
        block = block[key]
    if value is MISSING:
        del block[last]
    else:
        block[last] = value
    return content


@pytest.fixture(scope="session")
def stage_server() -> Iterator[subprocess.Popen[str]]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment |= {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}  # nobody answers there: no test fills a database
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        cwd=ROOT,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdout.readline() == "ready\n"
        yield server
        server.stdin.close()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A folder of a name, filled by a function, or by another worker of pytest-xdist that needed it before."""

    def made(name: str, make: Callable[[Path], object]) -> Path:
        begun = tmp_path_factory.mktemp(name)
        if "PYTEST_XDIST_WORKER" not in os.environ:
            make(begun)
            return begun
        shared = tmp_path_factory.getbasetemp().parent / name  # a worker's own temporary folder lies in that of the run
        with FileLock(f"{shared}.lock"):
            if not shared.exists():
                make(begun)
                begun.rename(shared)
        return shared

    return made


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def project_once(stage_server: subprocess.Popen[str], made_once: Once) -> Callable[..., Project]:
    """A project that was made once, from ``before`` by further stages."""

    def made(name: str, before: Project | None, *stages: tuple[str, ...]) -> Project:
        def make(folder: Path) -> None:
            project = before.copy(folder / "project") if before else Project(folder / "project", stage_server)
            if before is None:
                write_project(project.folder)
            for stage in stages:
                project.succeed(*stage)

        return Project(made_once(name, make) / "project", stage_server)

    return made


@pytest.fixture(scope="session")
def trained_once(project_once: Callable[..., Project]) -> Project:
    """A project after ``prepare`` and ``train``; not to be written to."""
    return project_once("trained", None, ("prepare", "digits"), ("train", "digits", "plain"))


@pytest.fixture(scope="session")
def tuned_once(project_once: Callable[..., Project], trained_once: Project) -> Project:
    """The same after ``tune`` and ``evaluate`` of both editors; not to be written to."""
    stages = [(stage, "digits", editor) for stage in ("tune", "evaluate") for editor in ("gd", "rmsprop")]
    return project_once("tuned", trained_once, *stages)


@pytest.fixture(scope="session")
def analysed_once(project_once: Callable[..., Project], tuned_once: Project) -> Project:
    """The same after ``analyse``; not to be written to."""
    return project_once("analysed", tuned_once, ("analyse", "digits"))


@pytest.fixture(scope="session")
def sequenced_once(project_once: Callable[..., Project], analysed_once: Project) -> Project:
    """The same after ``sequences``; not to be written to."""
    return project_once("sequenced", analysed_once, ("sequences", "digits"))


@pytest.fixture
def trained(trained_once: Project, tmp_path: Path) -> Project:
    """A project of the test's own after ``prepare`` and ``train``."""
    return trained_once.copy(tmp_path / "project")


@pytest.fixture
def tuned(tuned_once: Project, tmp_path: Path) -> Project:
    """A project of the test's own after ``tune`` and ``evaluate``."""
    return tuned_once.copy(tmp_path / "project")


@pytest.fixture(scope="session")
def empty_database(made_once: Once) -> Path:
    """A database with MLflow's tables, made once because that takes seconds."""
    return made_once("empty", lambda folder: connect(f"sqlite:///{folder}/mlflow.db", "made")) / "mlflow.db"
