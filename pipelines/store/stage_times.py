"""How long each stage of a benchmark took when it last had something to do."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from pipelines.store.layout import Layout

_Stage = TypeVar("_Stage", bound=Callable[..., None])

OF_TABLES = ("prepare", "train", "tune", "evaluate", "analyse", "report")
"""The stages that Tables 1 to 5 and Figure 2 need; `sequences` makes what goes beyond them."""


def timed(results: Callable[[Layout], Iterable[Path]]) -> Callable[[_Stage], _Stage]:
    """A decorator for a stage: its wall time is written down if it made at least one of its results.

    A stage that finds everything unchanged leaves the time of the run that made it; so does one that fails.

    :param results: the files by which it is told what the stage made, one for each piece of work.
    """

    def decorate(stage: _Stage) -> _Stage:
        @functools.wraps(stage)
        def measured(benchmark: str, *arguments: Any, **options: Any) -> None:
            layout = Layout(benchmark)
            before, began = _stamps(results(layout)), time.perf_counter()
            stage(benchmark, *arguments, **options)
            after = _stamps(results(layout))
            made = sum(before.get(path) != stamp for path, stamp in after.items())
            if made:
                spent = {"seconds": round(time.perf_counter() - began, 1), "made": made, "of": len(after)}
                _write(layout, stage.__name__, spent)

        return measured

    return decorate


def read(layout: Layout) -> dict[str, dict[str, float]]:
    """By stage: wall ``seconds`` of its last run that made something, how many results that run ``made``, and ``of``
    how many that were there then. Fewer: an earlier run made the others.

    :raises InputError: for a file that is broken.
    """
    path = layout.stage_times
    try:
        return {name: dict(spent) for name, spent in json.loads(path.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is broken ({error}): remove it, it holds wall times only") from error


def of_tables(times: Mapping[str, Mapping[str, float]]) -> float | None:
    """Seconds of all stages that the tables and Figure 2 need; None if the time of one is not known."""
    if not all(stage in times for stage in OF_TABLES):
        return None
    return round(sum(times[stage]["seconds"] for stage in OF_TABLES), 1)


def _write(layout: Layout, stage: str, spent: Mapping[str, float]) -> None:
    try:
        known = read(layout)
    except InputError:
        known = {}
    write_atomically(layout.stage_times, json.dumps(known | {stage: dict(spent)}, indent=2) + "\n")


def _stamps(paths: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """What changes whenever a file is written again, with the same bytes even."""
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in paths}
