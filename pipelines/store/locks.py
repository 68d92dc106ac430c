"""One process at a time on a stage of a benchmark: two would write into what each of them resumes from."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

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
    finally:
        note.unlink(missing_ok=True)
        lock.release()
