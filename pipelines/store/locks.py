"""One process at a time on a stage of a benchmark: two would write into what each of them resumes from."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from benchmarks.errors import InputError
from pipelines.store.layout import Layout


@contextmanager
def one_at_a_time(layout: Layout, stage: str) -> Iterator[None]:
    """Wait until nobody else is at the stage, and say who is. A lock ends with its process, however that ends."""
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
