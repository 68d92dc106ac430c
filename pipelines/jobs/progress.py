"""Long work in pieces: lines of progress that several processes can share, and records kept shard by shard."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unicodedata import category

import pandas as pd

from benchmarks.scoring.scorer import shards
from pipelines.store.layout import write_csv, write_json
from pipelines.store.schemas import ANYTHING

_SECONDS_BETWEEN_LINES = 10.0
_TURNS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that turn the direction of reading, so that a line shows other words than it holds."""


def one_line(text: str) -> str:
    """Text of anybody's as one line for a terminal: blanks in place of control characters, and of what is no text."""
    return " ".join("".join(" " if category(sign) in ("Cc", "Cs") or sign in _TURNS else sign for sign in text).split())


class Progress:
    """Counts finished pieces of work and says now and then how fast they come and how long it will take.

    :param label: what is being done, such as ``evaluate digits plain/gd/chain3``.
    :param total: how many pieces there are.
    :param unit: what a piece is called, such as ``edits``.
    """

    def __init__(self, label: str, total: int, unit: str) -> None:
        self._label, self._total, self._unit = label, total, unit
        self.done = self._resumed = 0
        self._began = self._said = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall time since the start of this process's share of the work."""
        return time.monotonic() - self._began

    def resume(self, count: int) -> None:
        """An earlier run finished ``count`` pieces: they say nothing of how long the others will take."""
        self.done += count
        self._resumed += count

    def advance(self, count: int = 1, detail: str = "") -> None:
        """``count`` more pieces are finished.

        :param detail: what else is worth saying, such as the errors so far.
        """
        self.done += count
        now = time.monotonic()
        if now - self._said >= _SECONDS_BETWEEN_LINES and self._resumed < self.done < self._total:
            self._said = now
            rate = (self.done - self._resumed) / max(now - self._began, 1e-9)
            left = (self._total - self.done) / max(rate, 1e-9)
            print(
                f"{self._label}: {self.done} of {self._total} {self._unit}, "
                f"{rate:.3g} {self._unit}/s, {_duration(left)} left" + (f"; {detail}" if detail else ""),
                flush=True,
            )

    def finish(self, outcome: str) -> None:
        """Say what came out."""
        print(f"{self._label}: {outcome} ({_duration(self.seconds)})", flush=True)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def in_shards(
    folder: Path,
    count: int,
    size: int,
    run: Callable[[range], pd.DataFrame],
    progress: Progress,
    block: slice = slice(None),
) -> pd.DataFrame:
    """Records of ``count`` edits, made by ``run`` ``size`` at a time; shards that lie in ``folder`` are not made again.

    :param block: which of the shards, if not all of them.
    :raises InputError: for a shard that cannot be read or is not whole.
    """
    tables = []
    for number, rows in list(enumerate(shards(count, size)))[block]:
        path = folder / f"{number:05d}.csv"
        finished = path.exists()
        if not finished:
            write_records(path, run(rows))
        texts = {"keep_default_na": False, "na_values": [""]}  # one may be "null"
        tables.append(ANYTHING.read(path, "run the same command again", len(rows), **texts))
        (progress.resume if finished else progress.advance)(len(rows))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def write_records(path: Path, records: pd.DataFrame) -> None:
    """Write records to a CSV file, numbers with 7 significant digits."""
    write_csv(path, records, digits=7)


def write_described(description: Path, content: Mapping[str, Any], tables: Mapping[Path, pd.DataFrame]) -> None:
    """Write tables of records, and the JSON file that says what they follow from.

    It comes last, and an earlier one goes first: whenever this ends, no description speaks of other records.
    """
    description.unlink(missing_ok=True)
    for path, records in tables.items():
        write_records(path, records)
    write_json(description, content)
