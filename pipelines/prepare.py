"""Stage 1: bring a benchmark's data into the form that all other stages read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.errors import InputError
from benchmarks.files import new_folder
from pipelines import command
from pipelines.store.fingerprint import MADE_OF, fingerprint, is_made_of, write_made_of
from pipelines.store.layout import Layout
from pipelines.store.provenance import timed
from pipelines.tasks import load_settings, task_of


@timed(lambda layout: layout.data.glob(MADE_OF))
def prepare(
    benchmark: command.Benchmark,
    export: Annotated[
        Path | None, typer.Option(help="Also write the test examples there, such as images in a folder per class.")
    ] = None,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Load, split and check a benchmark's data and write it to data/<benchmark>, unless it is there."""
    settings = load_settings(params)
    chosen, task, folder = settings.benchmark(benchmark), task_of(settings, benchmark), Layout(benchmark).data
    files = _files_named(chosen.data.options)
    if any(folder.resolve() in file.resolve().parents for file in files):
        raise InputError(f"{benchmark}: data.options: {folder} is where prepared data go, not raw files")
    # By size and time: a folder of a million images need not be read to see that it is the same.
    stamps = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    identity = fingerprint([chosen.data.model_dump(), *stamps], task.data_code(chosen))
    if is_made_of(folder / MADE_OF, identity, folder / task.data_file):
        print(f"prepare {benchmark}: unchanged")
    else:
        with new_folder(folder) as new:
            counts = task.prepare(chosen, new)
            write_made_of(new / MADE_OF, identity)
            shutil.rmtree(folder, ignore_errors=True)
        print(f"prepare {benchmark}: {counts}")
    if export is not None:
        task.export(task.load(folder), export)


def _files_named(options: dict[str, Any]) -> list[Path]:
    """The files that options name, or that lie in the folders they name: data are prepared anew when one changes."""
    named = [Path(value) for value in options.values() if isinstance(value, str)]
    files = [file for path in named for file in (_files_below(path) if path.is_dir() else [path])]
    return sorted(file for file in files if file.is_file())


def _files_below(folder: Path) -> Iterator[Path]:
    """All files of a folder, those behind links to folders too, which readers of images follow; no circle twice."""
    seen = {os.path.realpath(folder)}
    for where, folders, names in os.walk(folder, followlinks=True):
        real = {name: os.path.realpath(os.path.join(where, name)) for name in folders}
        folders[:] = sorted(name for name in folders if real[name] not in seen)
        seen |= {*real.values()}
        yield from (Path(where, name) for name in names)


if __name__ == "__main__":
    command.run(prepare)
