"""Carry a benchmark's results from one machine to another: everything that a report needs, without weights and data.

``python -m pipelines.bundle cifar10`` packs, ``python -m pipelines.bundle merge FILE`` puts the results beside what is
there already; ``python -m pipelines.report`` then makes the tables of all of them. The stages ``analyse`` and
``sequences`` write tables of what is edited here only: whoever runs them after a merge merges once more.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer

from baselines.model_files import DESCRIPTION
from benchmarks.errors import InputError
from benchmarks.files import atomic_path
from pipelines import command
from pipelines.bundling import merging
from pipelines.bundling.merging import TABLES, Bundle
from pipelines.config import params as parameters
from pipelines.jobs.cells import PROTOCOL
from pipelines.store.layout import COST, EDITOR, HISTORY, RANKS, TIMING, Layout
from pipelines.store.machine import described

_MANIFEST = "manifest.json"
_VERSION = 1
_OF_RESULTS = ("tuned/**/*", "edits/**/*", "sequences/**/*", *TABLES)
_OF_MODELS = (DESCRIPTION, HISTORY, EDITOR, COST, RANKS, TIMING)
_BROKEN = (zipfile.BadZipFile, zlib.error)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same results give the same bytes


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
    taken, kept, trained = merging.merge(found, layout, replace)
    print(f"merge {found.benchmark}: took {taken} results of {found.machine} at commit {found.commit[:12]}")
    if trained:
        print(f"kept the description of {len(trained)} models whose weights are here ({_few(trained)})")
    if kept:
        print(f"kept {len(kept)} that are here and differ ({_few(kept)}): --replace takes the bundle's")


def _few(names: list[str]) -> str:
    return ", ".join([*names[:3], *(["…"] if len(names) > 3 else [])])


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


def _read(file: Path) -> Bundle:
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
    return Bundle(benchmark, *made, data, contents)


def _is_ours(name: str, benchmark: str) -> bool:
    parts = PurePosixPath(name).parts
    return parts[:2] in {("results", benchmark), ("models", benchmark)} and ".." not in parts and "\\" not in name


def _check_data(file: Path, found: Bundle, layout: Layout) -> None:
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


if __name__ == "__main__":
    command.run(bundle, merge)
