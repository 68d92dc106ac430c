"""Which code, machine and packages made a number, how long it took, and that one process at a time makes it."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import torch
from filelock import FileLock, Timeout

from benchmarks.errors import InputError
from pipelines.store.layout import Layout, write_json

_Stage = TypeVar("_Stage", bound=Callable[..., None])

OF_TABLES = ("prepare", "train", "tune", "evaluate", "analyse")
"""The stages that the paper's tables and Figure 2 need, before their report; ``sequences`` makes what goes beyond."""
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pandas", "scikit-learn", "optuna", "mlflow", "dvc", "matplotlib")
PACKAGES += ("fairseq-fixed", "sacrebleu", "sacremoses", "subword-nmt")


def made_here(device: torch.device) -> dict[str, Any]:
    """The commit, the machine and what computes on it, for the description of what this process makes."""
    made = {"commit": git_commit(), "machine": machine(device), "device": device.type}
    if device.type == "cuda":
        made |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return made


@functools.cache
def git_commit() -> str:
    """The commit that is checked out, with ``-dirty`` if code differs from it; ``unknown`` without git."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return "unknown"
    code = ("editors", "benchmarks", "baselines", "pipelines", "dvc.yaml")
    return commit + ("-dirty" if _git("status", "--porcelain", "--", *code) else "")


def machine(device: torch.device) -> str:
    """What computes, in words: the GPU, or the processor with its number of cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu()}, {os.cpu_count()} cores"


def kind_of(machine: str) -> str:
    """The kind of processor or GPU of a :func:`machine`, which decides last digits: however many cores it has."""
    return re.sub(r", \d+ cores$", "", machine)


@functools.cache
def cpu() -> str:
    """The processor's name, or where it has none, its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def slug(name: str) -> str:
    """``name`` as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def surroundings() -> dict[str, Any]:
    """Code, hardware and the versions of packages that are installed."""
    hardware = {"cpu": cpu(), "cores": os.cpu_count(), "machine": platform.machine()}
    if torch.cuda.is_available():
        hardware["gpu"] = torch.cuda.get_device_name()
    return {
        "git_commit": git_commit(),
        "hardware": hardware,
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def now() -> str:
    """The time in UTC, to the second, as ISO 8601 writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def timed(results: Callable[[Layout], Iterable[Path]]) -> Callable[[_Stage], _Stage]:
    """A decorator for a stage: it is run once at a time for each benchmark, and its wall time and surroundings are
    written down if it made at least one of its results.

    A stage that finds everything unchanged leaves those of the run that made it; so does one that fails.

    :param results: the files by which it is told what the stage made, one for each piece of work.
    """

    def decorate(stage: _Stage) -> _Stage:
        @functools.wraps(stage)
        def measured(benchmark: str, *arguments: Any, **options: Any) -> None:
            layout = Layout(benchmark)
            with one_at_a_time(layout, stage.__name__):
                before, began = _stamps(results(layout)), time.perf_counter()
                stage(benchmark, *arguments, **options)
                after = _stamps(results(layout))
                made = sum(before.get(path) != stamp for path, stamp in after.items())
                if made:
                    spent = {"seconds": round(time.perf_counter() - began, 1), "ended": now()}
                    spent |= {"made": made, "of": len(after)}
                    known: dict[str, Any] = {}
                    with suppress(InputError):  # a broken file counts as none
                        known = read_stages(layout)
                    write_json(layout.stages, known | {stage.__name__: spent | surroundings()})

        return measured

    return decorate


@contextmanager
def one_at_a_time(layout: Layout, stage: str) -> Iterator[None]:
    """Wait until nobody else is at the stage, and say who is: two would write into what each of them resumes from.

    A lock ends with its process, however that ends.
    """
    path = layout.unfinished(f"{stage}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    note = path.with_suffix(".lock.txt")  # the lock's own file is emptied by whoever waits for it
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = note.read_text() if note.exists() else "another process"
        print(f"{stage} {layout.benchmark}: waits for {who}, which is at it already", flush=True)
        lock.acquire()
    try:
        note.write_text(f"process {os.getpid()} on {os.uname().nodename}, begun {time.strftime('%Y-%m-%d %H:%M')}")
        yield
    except InputError:
        _leave_nothing(path, note)
        raise
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _leave_nothing(*files: Path) -> None:
    """Remove the lock of a stage that was refused before it did anything, as in a folder that is no repository."""
    if {*files[0].parent.iterdir()} <= {*files}:
        for path in files:
            path.unlink(missing_ok=True)
        for folder in (files[0].parent, files[0].parent.parent):
            with suppress(OSError):  # something else lies there
                folder.rmdir()


def read_stages(layout: Layout) -> dict[str, dict[str, Any]]:
    """By stage: wall ``seconds`` of its last run that made something, when that ``ended`` (not in older files), how
    many results that run ``made``, ``of`` how many that were there then (fewer: an earlier run made the others), and
    the :func:`surroundings` of that run.

    :raises InputError: for a file that is broken.
    """
    again = "report again, it holds times and machines only"
    from pipelines.store.schemas import Stages  # needs pydantic, which `speed` does without

    return Stages.read(layout.stages, again) if layout.stages.exists() else {}


def of_tables(stages: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Seconds of all stages that the tables and Figure 2 need; None if the time of one is not known."""
    if not all(stage in stages for stage in OF_TABLES):
        return None
    return round(sum(stages[stage]["seconds"] for stage in OF_TABLES), 1)


def _stamps(paths: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """What changes whenever a file is written again, of the files that are there."""
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in paths if path.exists()}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(
            ("git", *arguments), capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
