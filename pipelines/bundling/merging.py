"""Results of a bundle beside those that are here: what is taken, what is kept, and where it says so."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from baselines.model_files import WEIGHTS
from benchmarks.files import write_atomically
from pipelines.jobs.cells import KEYS
from pipelines.store import origins
from pipelines.store.layout import Layout
from pipelines.store.origins import Merged, Origin

TABLES = ("curves.csv", "sequences.csv", "similar.csv", "figure2/*.csv")
"""Tables of several cells, which are merged row by row."""


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds: ``files`` by path below the repository's root, and what its manifest says."""

    benchmark: str
    machine: str
    commit: str
    data: Mapping[str, str]
    files: Mapping[str, bytes]


def merge(found: Bundle, layout: Layout, replace: bool) -> tuple[int, list[str], list[str]]:
    """Take what is not here; of what differs, only if it shall ``replace`` what is here.

    What was killed in the middle goes on: where results come from is written before them, and half of them is not taken
    for other results. A model's description stays with the weights that it describes, in any case.

    :returns: how many units were taken, the names of those that were kept, and of the models whose weights are here.
    """
    merged = origins.read(layout)
    taken: dict[str, dict[str, bytes]] = {}
    kept, trained = [], []
    for name, files in _units(found).items():
        here = {path: Path(path).read_bytes() for path in files if Path(path).exists()}
        differs = any(content != files[path] for path, content in here.items())
        if name.startswith("models/") and (Path(name) / WEIGHTS).exists():
            trained += [name] if differs else []
            continue
        is_table = any(PurePosixPath(name).match(f"results/{found.benchmark}/{table}") for table in TABLES)
        if is_table and differs:
            files[name], differs = _joined(here[name], files[name], replace)
        if differs and not replace:
            kept.append(name)
        if here != files and (is_table or replace or not differs):
            taken[name] = files
    cells = merged.cells | {
        name.removeprefix("edits/"): Origin(found.machine, found.commit, _fingerprint(files))
        for name, files in taken.items()
        if name.startswith("edits/")
    }
    if cells:
        origins.write(layout, Merged(merged.data or found.data, cells))
    for files in taken.values():
        for path, content in files.items():
            write_atomically(path, content)
    return len(taken), kept, trained


def _units(found: Bundle) -> dict[str, dict[str, bytes]]:
    """The bundle's files by what they make together: a cell's records, a cell's tuning, a model's description."""
    results = f"results/{found.benchmark}/"
    anchors = [name for name in found.files if name.endswith(".json") and name.startswith(results)]
    units: dict[str, dict[str, bytes]] = {}
    for name, content in found.files.items():
        owner = max((one for one in anchors if name.startswith(one.removesuffix("json"))), key=len, default=None)
        if owner:
            unit = owner.removeprefix(results).removesuffix(".json")
        else:
            unit = str(PurePosixPath(name).parent) if name.startswith("models/") else name
        units.setdefault(unit, {})[name] = content
    return units


def _joined(mine: bytes, theirs: bytes, replace: bool) -> tuple[bytes, bool]:
    """A table with the rows of cells that only the other has, and whether any cell has other rows there.

    :param replace: whether such a cell gets them.
    """
    tables = [pd.read_csv(io.BytesIO(one), dtype=str, keep_default_na=False) for one in (theirs, mine)]
    cells = [{names: rows.to_csv(index=False) for names, rows in one.groupby(KEYS)} for one in tables]
    differ = any(cells[1][names] != rows for names, rows in cells[0].items() if names in cells[1])
    first, second = tables if replace else reversed(tables)
    others = second[~second.set_index(KEYS).index.isin(first.set_index(KEYS).index)]
    return pd.concat([first, others]).to_csv(index=False, lineterminator="\n").encode(), differ


def _fingerprint(files: Mapping[str, bytes]) -> str:
    """Of a cell, as its description has it."""
    (description,) = (content for path, content in files.items() if path.endswith(".json"))
    return str(json.loads(description)["fingerprint"])
