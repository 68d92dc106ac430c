"""Records of edits as files: made shard by shard, so that an interrupted evaluation goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from benchmarks.errors import InputError
from benchmarks.scoring.scorer import shards
from pipelines.jobs.progress import Progress
from pipelines.store.csv_files import write_csv


def in_shards(
    folder: Path, count: int, size: int, run: Callable[[range], pd.DataFrame], progress: Progress
) -> pd.DataFrame:
    """Records of ``count`` edits, made by ``run`` ``size`` at a time; shards that lie in ``folder`` are not made again.

    :raises InputError: for a shard that cannot be read or is not whole.
    """
    tables = []
    for number, rows in enumerate(shards(count, size)):
        path = folder / f"{number:05d}.csv"
        finished = path.exists()
        if not finished:
            write_records(path, run(rows))
        tables.append(_read_shard(path, len(rows)))
        (progress.resume if finished else progress.advance)(len(rows))
    return pd.concat(tables, ignore_index=True)


def write_records(path: Path, records: pd.DataFrame) -> None:
    """Write records to a CSV file, numbers with 7 significant digits."""
    write_csv(path, records, digits=7)


def _read_shard(path: Path, edits: int) -> pd.DataFrame:
    """Records that were just written, or left by an interrupted evaluation."""
    try:
        records = pd.read_csv(path, keep_default_na=False, na_values=[""])  # a text may be "null"
    except ValueError as error:
        raise InputError(f"{path} is not a readable shard of records: remove it and evaluate again") from error
    if len(records) != edits:
        raise InputError(f"{path} holds {len(records)} records, not {edits}: remove it and evaluate again")
    return records
