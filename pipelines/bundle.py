"""Carry a benchmark's results from one machine to another: everything that a report needs, without weights and data.

``python -m pipelines.bundle cifar10`` packs, ``python -m pipelines.bundle merge FILE`` puts the results beside what is
there already; ``python -m pipelines.report`` then makes the tables of all of them. The stages ``analyse``,
``sequences`` and ``joint`` write tables of what is edited here only: whoever runs them after a merge merges once more.

A bundle is a zip file with run.json, the tables of several cells and every record below the folders of
``results/<benchmark>``: CSV and JSON. It is read as foreign input.
"""

from __future__ import annotations

import io
import json
import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import pandas as pd
import typer

from baselines.model_files import WEIGHTS
from benchmarks.errors import InputError
from benchmarks.files import atomic_path, write_atomically
from pipelines import command
from pipelines.jobs.cells import PROTOCOL
from pipelines.jobs.progress import one_line
from pipelines.store.layout import KEYS, Layout
from pipelines.store.schemas import Data, Measured, kind_of, reason, trained_on
from pipelines.tasks import load_settings, task_of

TABLES = ("curves.csv", "sequences.csv", "similar.csv", "joint.csv", "timings-joint.csv")
"""Tables of several cells, which are merged row by row, as those in ``figure2/`` are."""
LARGEST_FILE, LARGEST_BUNDLE, MOST_FILES, MOST_COLUMNS = 32 * 2**20, 512 * 2**20, 20_000, 1000
"""Bytes when unpacked, of one file and of all, number of files, and columns of a table; the largest results so far have
a tenth."""
_RUN, _MANIFEST, _VERSION = "run.json", "manifest.json", 2
_KINDS = (".csv", ".json", ".jsonl")
_NAME = re.compile(r"\w[\w.@+-]*")
_CELL = re.compile(r"results/[^/]+/edits/.*\.json")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same results give the same bytes


def bundle(
    benchmark: Annotated[str, typer.Argument(help="A benchmark that was reported here.")],
    out: Annotated[Path | None, typer.Option(help="The file to write. [default: <benchmark>.bundle.zip]")] = None,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Pack records, tuned values and curves of a benchmark into one file. `... bundle merge --help` unpacks."""
    load_settings(params).benchmark(benchmark)
    target = out or Path(f"{benchmark}.bundle.zip")
    count = pack(Layout(benchmark), target)
    print(f"bundle {benchmark}: {count} files in {target}, {target.stat().st_size / 2**20:.1f} MiB")


def merge(
    file: Annotated[Path, typer.Argument(help="What `bundle` wrote, here or elsewhere.")],
    replace: Annotated[bool, typer.Option(help="Where both have results, take the bundle's.")] = False,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Put a bundle's results beside those that are here. Nothing is written if it does not fit."""
    found = read(file)
    layout = Layout(found.benchmark)
    settings = load_settings(params)
    if found.seed != settings.seed:
        raise InputError(
            f"{file} was made with seed {found.seed}, but {params} has {settings.seed}: its edits are other edits, "
            "and the results cannot stand together"
        )
    check_data(found, file, layout, task_of(settings, found.benchmark).data_file)
    taken, kept, trained = take(found, layout, replace)
    made = _made([json.loads(files[path]) for files in taken.values() for path in files if _CELL.match(path)])
    print(f"merge {found.benchmark}: took {len(taken)} results{made and f', cells made on {made}'}")
    if trained:
        print(f"kept the description of {len(trained)} models whose weights are here ({_few(trained)})")
    if kept:
        print(f"kept {len(kept)} that are here and differ ({_few(kept)}): --replace takes the bundle's")


def _made(cells: list[dict[str, Any]]) -> str:
    where = Counter(one_line(f"{one['made']['machine']} at commit {one['made']['commit'][:12]}") for one in cells)
    return _few([name for name, _ in where.most_common()])


def _few(names: list[str]) -> str:
    return ", ".join([*names[:3], *(["…"] if len(names) > 3 else [])])


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds: ``files`` by path below the repository's root, and the data and the seed of all."""

    benchmark: str
    data: str
    seed: int
    files: Mapping[str, bytes]


def pack(layout: Layout, target: Path) -> int:
    """Write a benchmark's results to ``target``, and return the number of files.

    :raises InputError: if there was no report, or a result is broken.
    """
    if not (path := layout.results / _RUN).exists():
        raise InputError(f"{path} is missing: {layout.again('report')} first")
    paths = [one for one in sorted(layout.results.rglob("*")) if _is_ours(one.as_posix(), layout.benchmark)]
    files = {one.as_posix(): one.read_bytes() for one in paths if one.is_file()}
    try:
        _bundle(layout.benchmark, files)
    except _BROKEN as error:
        raise InputError(f"{layout.results} cannot be packed: {_reason(error)}") from error
    manifest = json.dumps({"bundle": _VERSION, "benchmark": layout.benchmark}).encode()
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {_MANIFEST: manifest, **files}.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    return len(files)


def _is_ours(name: str, benchmark: str) -> bool:
    """Whether a path may be in a bundle: plain names, in a folder of the benchmark's results or one of a few beside."""
    room, *parts = name.split("/")
    if room != "results" or parts[:1] != [benchmark] or not all(_NAME.fullmatch(part) for part in parts):
        return False
    del parts[0]
    return name.endswith(_KINDS) and (len(parts) in (2, 3) or parts in [[one] for one in (_RUN, *TABLES)])


def read(file: Path) -> Bundle:
    """A bundle, which anybody may have made: names, sizes and contents are checked, and nothing of it is run.

    :raises InputError: for one that is missing, broken, odd, too large, or made with another protocol.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = _entries(archive)
            manifest = json.loads(_unpacked(archive, entries.pop(_MANIFEST)))
            version, benchmark = manifest["bundle"], str(manifest["benchmark"])
            if version != _VERSION:
                raise ValueError(f"it has version {version}, this suite {_VERSION}")
            if strange := [name for name in entries if not _is_ours(name, benchmark)]:
                raise ValueError(f"{strange[0]!r} is no result of {benchmark!r}")
            return _bundle(benchmark, {name: _unpacked(archive, info) for name, info in entries.items()})
    except FileNotFoundError as error:
        raise InputError(f"{file} is missing: give a file that `python -m pipelines.bundle` wrote") from error
    except (OSError, *_BROKEN) as error:
        raise InputError(f"{file} is not a whole bundle, or none for this suite: {_reason(error)}") from error


_BROKEN = (ValueError, KeyError, TypeError, AttributeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return f"{text} is missing" if isinstance(error, KeyError) else text


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files of an archive by name.

    :raises ValueError: for whatever is not a plain file of a bounded size.
    """
    infos = archive.infolist()
    entries = {info.filename: info for info in infos}
    for info in infos:
        packed = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) and not info.flag_bits & 1
        if not packed or info.is_dir() or stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise ValueError(f"{info.filename!r} is no plain file, but a folder, a link, encrypted or packed otherwise")
        if info.file_size > LARGEST_FILE:
            raise ValueError(f"{info.filename!r} has {info.file_size} bytes, more than {LARGEST_FILE}")
    if len(entries) < len(infos) or len(infos) > MOST_FILES:
        raise ValueError(f"it has {len(infos)} files, {len(entries)} of them with names of their own")
    if (total := sum(info.file_size for info in infos)) > LARGEST_BUNDLE:
        raise ValueError(f"its files have {total} bytes, more than {LARGEST_BUNDLE}")
    return entries


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The content of an entry, of which no more is unpacked than it declares."""
    with archive.open(info) as file:
        content = file.read(info.file_size + 1)
    if len(content) != info.file_size:
        raise ValueError(f"{info.filename!r} has not the size that it declares")
    return content


def _bundle(benchmark: str, files: Mapping[str, bytes]) -> Bundle:
    """Files as a bundle, once each holds what it should and belongs to the same data and this suite's protocol.

    :raises ValueError: and whatever else :data:`_BROKEN` holds, for files that are broken or do not belong together.
    """
    parsed = {name: _parsed(name, content) for name, content in files.items()}
    run = parsed[f"results/{benchmark}/{_RUN}"]
    data = run["data"]["fingerprint"]
    for name, found in parsed.items():
        if not isinstance(found, dict):
            continue
        if (protocol := found.get("protocol", PROTOCOL)) != PROTOCOL:
            raise ValueError(f"{name} has protocol {protocol}, this suite {PROTOCOL}: not comparable")
        if (trained_on(found) or data) != data:
            raise ValueError(f"{name} was measured on other data than its {_RUN} says")
        if found.get("benchmark", benchmark) != benchmark:
            raise ValueError(f"{name} is of {found['benchmark']!r}, not of {benchmark!r}")
        for records in (f"{name.removesuffix('.json')}{kind}.csv" for kind in ("", ".timing") if "/edits/" in name):
            if (rows := len(parsed.get(records, ()))) != found["edits"]:
                raise ValueError(f"{name} speaks of {found['edits']} edits, {records} has {rows}")
    return Bundle(benchmark, data, run["seed"], files)


def _parsed(name: str, content: bytes) -> Any:
    kind = kind_of(name.split("/", 2)[2])
    try:
        if name.endswith(".jsonl"):
            return [json.loads(line) for line in content.splitlines()]
        return kind.check(_table(content, na_values=[""]) if name.endswith(".csv") else json.loads(content))
    except (ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{name} is broken: it {reason(error)}") from error


def _table(content: bytes, **options: Any) -> pd.DataFrame:
    if (columns := content.partition(b"\n")[0].count(b",")) > MOST_COLUMNS:
        raise ValueError(f"has {columns} columns")
    return pd.read_csv(io.BytesIO(content), keep_default_na=False, **options)


def check_data(found: Bundle, file: Path, layout: Layout, data_file: str) -> None:
    """Compare a bundle's data with those of the results that are here.

    :param data_file: the name of the description of prepared data.
    :raises InputError: if they are others, or a file that should tell is broken.
    """
    told = [layout.data / data_file, *sorted(layout.results.glob("edits/*/*.json"))]
    for path in [path for path in told if path.exists()]:
        kind, key = (Data, "fingerprint") if path.parent == layout.data else (Measured, "dataset")
        if kind.read(path, "merge again")[key] != found.data:
            raise InputError(f"{file} was measured on other data than {path} says: the results cannot stand together")


def take(
    found: Bundle, layout: Layout, replace: bool
) -> tuple[Mapping[str, Mapping[str, bytes]], list[str], list[str]]:
    """Take what is not here; of what differs, only if it shall ``replace`` what is here.

    A merge that was killed goes on when it is called again: of the files of a cell, the one that says what the others
    are is written last. A model's description stays with the weights that it describes, in any case.

    :returns: the files of the units that were taken, the names of those that were kept, and of the models whose weights
        are here.
    """
    taken: dict[str, dict[str, bytes]] = {}
    kept, trained = [], []
    for name, files in _units(found).items():
        here = {path: Path(path).read_bytes() for path in files if Path(path).exists()}
        differs = any(content != files[path] for path, content in here.items())
        if name.startswith("models/") and (layout.models / name.removeprefix("models/") / WEIGHTS).exists():
            trained += [name] if differs else []
            continue
        if name == "run" and here:  # it describes what was reported here
            continue
        path = PurePosixPath(next(iter(files)))
        is_table = path.match("results/*/figure2/*.csv") or (len(path.parts) == 3 and path.name in TABLES)
        if is_table and differs:
            files[str(path)], differs = _joined(here[str(path)], files[str(path)], replace)
        if differs and not replace:
            kept.append(name)
        if here != files and (is_table or replace or not differs):
            taken[name] = files
    for files in taken.values():
        for path in sorted(files, key=lambda path: (path.endswith(".json"), path)):
            write_atomically(path, files[path])
    return taken, kept, trained


def _units(found: Bundle) -> dict[str, dict[str, bytes]]:
    """The bundle's files by what they make together: a cell's records, a cell's tuning, a model's description."""
    results = f"results/{found.benchmark}/"
    units: dict[str, dict[str, bytes]] = {}
    for name, content in found.files.items():
        unit = stem = name
        while (stem := stem.rpartition(".")[0]) and unit == name:
            unit = stem if f"{stem}.json" in found.files else name
        unit = unit.removeprefix(results)
        if unit.startswith("models/"):
            unit = "/".join(unit.split("/")[:2])
        units.setdefault(unit, {})[name] = content
    return units


def _joined(mine: bytes, theirs: bytes, replace: bool) -> tuple[bytes, bool]:
    """A table with the rows of cells that only the other has, and whether any cell has other rows there.

    :param replace: whether such a cell gets them.
    """
    tables = [_table(one, dtype=str) for one in (theirs, mine)]
    cells = [{names: rows.to_csv(index=False) for names, rows in one.groupby(KEYS)} for one in tables]
    differ = any(cells[1][names] != rows for names, rows in cells[0].items() if names in cells[1])
    first, second = tables if replace else reversed(tables)
    others = second[~second.set_index(KEYS).index.isin(first.set_index(KEYS).index)]
    return pd.concat([first, others]).to_csv(index=False, lineterminator="\n").encode(), differ


if __name__ == "__main__":
    command.run(bundle, merge)
