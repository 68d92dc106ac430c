"""Carry a benchmark's results from one machine to another: everything that a report needs, without weights and data.

``python -m pipelines.bundle cifar10`` packs, ``python -m pipelines.bundle merge FILE`` puts the results beside what is
there already; ``python -m pipelines.report`` then makes the tables of all of them.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer

from baselines.checkpoints import DESCRIPTION
from benchmarks.errors import InputError
from benchmarks.files import atomic_path, write_atomically
from pipelines import command, origins
from pipelines import settings as parameters
from pipelines.cells import PROTOCOL
from pipelines.layout import COST, EDITOR, HISTORY, RANKS, TIMING, Layout
from pipelines.machine import described
from pipelines.origins import Merged, Origin

_MANIFEST = "manifest.json"
_VERSION = 1
_OF_RESULTS = (
    "tuned/**/*",
    "edits/**/*",
    "sequences/**/*",
    "figure2/*",
    "curves.csv",
    "sequences.csv",
    "similar.csv",
)
_OF_MODELS = (DESCRIPTION, HISTORY, EDITOR, COST, RANKS, TIMING)
_BROKEN = (zipfile.BadZipFile, zlib.error)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same results give the same bytes


@dataclass(frozen=True)
class _Bundle:
    """What a bundle holds: ``files`` by path below the repository's root, and what its manifest says."""

    benchmark: str
    machine: str
    commit: str
    data: Mapping[str, str]
    files: Mapping[str, bytes]


def bundle(
    benchmark: Annotated[str, typer.Argument(help="A benchmark that was reported here.")],
    out: Annotated[Path | None, typer.Option(help="The file to write. [default: <benchmark>.bundle.zip]")] = None,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Pack records, tuned values and curves of a benchmark into one file. `... bundle merge --help` unpacks."""
    parameters.load(params).benchmark(benchmark)
    layout = Layout(benchmark)
    run = _run(layout)
    files = {path.as_posix(): path.read_bytes() for path in _packed(layout)}
    manifest = {
        "bundle": _VERSION,
        "benchmark": benchmark,
        "protocol": run["protocol"],
        "data": run["data"],
        "machine": described(run["hardware"]),
        "commit": run["git_commit"],
        "command": run["command"],
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    target = out or Path(f"{benchmark}.bundle.zip")
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {_MANIFEST: json.dumps(manifest, indent=2).encode(), **files}.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    print(f"bundle {benchmark}: {len(files)} files in {target}, {target.stat().st_size / 2**20:.1f} MiB")


def merge(
    file: Annotated[Path, typer.Argument(help="What `bundle` wrote, here or elsewhere.")],
    replace: Annotated[bool, typer.Option(help="Where both have results, take the bundle's.")] = False,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Put a bundle's results beside those that are here. Nothing is written if it does not fit."""
    found = _read(file)
    parameters.load(params).benchmark(found.benchmark)
    layout = Layout(found.benchmark)
    _check_data(file, found, layout)
    merged = origins.read(layout)
    cells, taken, kept = dict(merged.cells), 0, []
    for name, files in _units(found).items():
        present = [path for path in files if Path(path).exists()]
        if all(Path(path).read_bytes() == files[path] for path in present) and len(present) == len(files):
            continue
        if present and not replace:
            kept.append(name)
            continue
        for path, content in files.items():
            write_atomically(path, content)
        taken += 1
        kind, _, cell = name.partition("/")
        if kind == "edits":
            described_cell = json.loads(files[f"{layout.results.as_posix()}/{name}.json"])
            cells[cell] = Origin(found.machine, found.commit, described_cell["fingerprint"])
    origins.write(layout, Merged(merged.data or found.data, cells))
    print(f"merge {found.benchmark}: took {taken} results of {found.machine} at commit {found.commit[:12]}")
    if kept:
        names = ", ".join([*kept[:3], *(["…"] if len(kept) > 3 else [])])
        print(f"kept {len(kept)} that are here and differ ({names}): --replace takes the bundle's")


def _run(layout: Layout) -> dict[str, Any]:
    path = layout.results / "run.json"
    again = f"run `python -m pipelines.report {layout.benchmark}`"
    try:
        run = json.loads(path.read_text())
        for name in ("protocol", "data", "hardware", "git_commit", "command"):
            run[name]
        return run
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: {again} first") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is broken ({error!r}): {again}") from error


def _packed(layout: Layout) -> Iterator[Path]:
    found = [path for pattern in _OF_RESULTS for path in layout.results.glob(pattern)]
    found += [path for name in _OF_MODELS for path in layout.models.glob(f"*/{name}")]
    yield from sorted(path for path in found if path.is_file() and not path.name.startswith("."))


def _read(file: Path) -> _Bundle:
    """A bundle, every file compared with its manifest.

    :raises InputError: for one that is missing, broken, or made with another protocol.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            manifest = json.loads(archive.read(_MANIFEST))
            benchmark, protocol, version = (manifest[name] for name in ("benchmark", "protocol", "bundle"))
            hashes = dict(manifest["files"])
            contents = {name: archive.read(name) for name in hashes}
            data = {name: str(manifest["data"][name]) for name in ("source", "fingerprint")}
            made = (str(manifest["machine"]), str(manifest["commit"]))
    except FileNotFoundError as error:
        raise InputError(f"{file} is missing: give a file that `python -m pipelines.bundle` wrote") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, *_BROKEN) as error:
        raise InputError(f"{file} is not a whole bundle ({error}): pack it again") from error
    if version != _VERSION or protocol != PROTOCOL:
        here = f"version {_VERSION} and protocol {PROTOCOL}"
        raise InputError(f"{file} has version {version} and protocol {protocol}, this suite {here}: not comparable")
    for name, content in contents.items():
        if not _is_ours(name, benchmark) or hashlib.sha256(content).hexdigest() != hashes[name]:
            raise InputError(f"{file} is not a whole bundle ({name} is not what its manifest says): pack it again")
    return _Bundle(benchmark, *made, data, contents)


def _is_ours(name: str, benchmark: str) -> bool:
    parts = PurePosixPath(name).parts
    return parts[:2] in {("results", benchmark), ("models", benchmark)} and ".." not in parts and "\\" not in name


def _check_data(file: Path, found: _Bundle, layout: Layout) -> None:
    """:raises InputError: if results here were measured on other data."""
    wanted = found.data["fingerprint"]
    for path, key in [
        (layout.data / "dataset.json", "fingerprint"),
        *((path, "dataset") for path in sorted(layout.results.glob("edits/*/*.json"))),
    ]:
        try:
            here = json.loads(path.read_text())[key]
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is broken ({error!r}): remove it first") from error
        if here != wanted:
            raise InputError(f"{file} was measured on other data than {path} says: the results cannot stand together")


def _units(found: _Bundle) -> dict[str, dict[str, bytes]]:
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


if __name__ == "__main__":
    command.run(bundle, merge)
