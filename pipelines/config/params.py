"""What a person chooses between runs: params.yaml, with the benchmarks that it names, as YAML that DVC reads alike."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

import editors
from benchmarks.errors import InputError, check_known, check_once
from pipelines.config.blocks import Benchmark, Name, Strict

PARAMS = Path("params.yaml")
CONFIGS = Path("benchmarks", "configs")
"""A file for each benchmark, beside params.yaml."""
EXTENDS = "extends"
_REMOVABLE = ("trainings", "editors")
_KINDS = ("dataset", "recipe")
_FOUND = ("too_short", "too_long", "union_tag_invalid", "union_tag_not_found")
"""Mistakes of which pydantic's own words say what was found."""


_Block = TypeVar("_Block", bound=Strict)
Seed = Annotated[int, Field(ge=0)]


class Settings(Strict):
    """params.yaml, and the configuration of every benchmark that is asked for.

    :ivar training_seeds: every training is repeated with each; tables show the first, and the spread over all.
    :ivar edit_seeds: every evaluation is repeated with the edits that each of them draws, likewise.
    :ivar threads: of a training on a CPU.
    :ivar engine: what shares work out: ``here`` this process alone, ``cores`` of this machine, ``gpus`` of this
        machine, ``ray`` a cluster. None of them changes a result.
    :ivar processes: that share out work on a CPU; ``auto`` becomes the number of cores.
    :ivar gpu_share: of a GPU that each process takes; at 0.25, four of them share one.
    :ivar ray_address: of a Ray cluster: ``auto``, ``ray://…`` or ``host:port``; None starts one on this machine.
    :ivar mixed_hardware: whether nodes of a cluster may have different processors, which changes last digits.
    :ivar cache_gib: most memory of each process for activations that it keeps while it scores edits, in GiB.
    :ivar compile: whether steps of edits that follow a gradient are compiled.
    """

    run: list[Name] = Field(min_length=1)
    seed: int
    training_seeds: list[Seed] = Field(min_length=1)
    edit_seeds: list[Seed] = Field(min_length=1)
    device: str
    threads: int = Field(ge=1, le=1024)
    engine: Literal["here", "cores", "gpus", "ray"] = "cores"
    processes: int = Field(ge=1, le=1024)
    gpu_share: float = Field(default=1.0, gt=0, le=1)
    ray_address: str | None = Field(default=None, min_length=1)
    mixed_hardware: bool = False
    cache_gib: float = Field(ge=0, allow_inf_nan=False)
    compile: bool = False

    _folder: Path = PrivateAttr(default=CONFIGS)
    _kinds: Mapping[str, type[Benchmark]] = PrivateAttr(default_factory=dict)
    _read: dict[str, Benchmark] = PrivateAttr(default_factory=dict)

    @field_validator("processes", mode="before")
    @classmethod
    def _as_many_as_cores(cls, given: Any) -> Any:
        if isinstance(given, str) and given != "auto":
            raise ValueError(f"must be auto or a number, not {given!r}")
        return _cores() if given == "auto" else given

    @model_validator(mode="after")
    def _listed_once(self) -> Settings:
        for where in ("run", "training_seeds", "edit_seeds"):
            check_once(where, getattr(self, where))
        return self

    def benchmark(self, name: str) -> Benchmark:
        """The configuration of a benchmark, read when it is first asked for.

        :raises InputError: for a benchmark that has none, or one that cannot be.
        """
        if name not in self._read:
            check_known("benchmark", name, available(self._folder), f"{self._folder} describes")
            path = self._folder / f"{name}.yaml"
            content = read_extended(path)
            if "task" not in content:
                raise InputError(f"{path}: task is missing; there are: {', '.join(self._kinds)}")
            check_known(f"{path}: task", content["task"], self._kinds, "there are")
            self._read[name] = validated(self._kinds[content["task"]], content, path)
        return self._read[name]

    def compiles(self, benchmark: str, name: str) -> bool:
        """Whether steps of the editor of a block are compiled: those that follow a gradient can be."""
        return self.compile and "compiled" in editors.describe(self.benchmark(benchmark).method(name)).options

    def build(self, benchmark: str, name: str, **values: Any) -> editors.Editor:
        """The editor of a block with these hyperparameters, compiled or with backtracking if that is asked for."""
        block = self.benchmark(benchmark).editor(name)
        options = {"memory": block.memory} if block.memory else {}
        if self.compiles(benchmark, name):
            options["compiled"] = True
        built = editors.build(block.method or name, **options, **values)
        return editors.Backtracking(built) if block.backtracking else built

    def torch_device(self) -> torch.device:
        """The device to compute on; ``auto`` is a GPU where there is one.

        :raises InputError: for a device that this machine does not have.
        """
        return device_of(self.device, "params.yaml: device")


def available(folder: Path = CONFIGS) -> list[str]:
    """The names of all benchmarks that a folder describes; what only others extend starts with ``_``."""
    return sorted(path.stem for path in folder.glob("*.yaml") if not path.stem.startswith("_"))


def load(path: str | os.PathLike[str], kinds: Mapping[str, type[Benchmark]]) -> Settings:
    """Read and check params.yaml, and the benchmarks that it runs.

    :param kinds: the class that reads a benchmark, by task.
    :raises InputError: one sentence that names the file and the key, what was found and what is allowed.
    """
    path = Path(path)
    settings = validated(Settings, read_yaml(path), path)
    settings._folder, settings._kinds = path.parent / CONFIGS, kinds
    for name in settings.run:
        settings.benchmark(name)
    return settings


def _cores() -> int:
    """Those that this process may use, which on a shared machine are not all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_of(name: str, where: str) -> torch.device:
    """The device that ``auto``, ``cpu``, ``cuda`` or ``cuda:<number>`` names; ``auto`` is a GPU where there is one.

    :raises InputError: naming ``where``, for another name or a device that this machine does not have.
    """
    given = name
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise InputError(f"{where} must be auto, cpu, cuda or cuda:<number>, not {given!r}")
    if name != "cpu" and int(name.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise InputError(f"{where} {name!r} was asked for, but this machine has no such GPU; use cpu")
    return torch.device(name)


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file (1.2: ``1e-4`` is a number, and a key given twice is an error).

    :raises InputError: if it is missing or not YAML.
    """
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; run this in the repository's root, or give --params") from error
    except (OSError, ValueError, RecursionError, YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise InputError(f"{path} must hold keys and values, found {found}")
    return content


def read_extended(path: Path) -> dict[str, Any]:
    """A file's content on top of that of the file beside it which it ``extends``, and so on.

    Blocks are merged key by key, lists are replaced, and so is a block that names another ``dataset`` or ``recipe``; in
    ``trainings`` and ``editors``, null takes an entry away, a training with what editors say of its ``layers``.

    :raises InputError: for a file that is missing or not YAML, and for files that extend each other.
    """
    content = _extended(path, ())
    blocks = {name: content[name] for name in _REMOVABLE if isinstance(content.get(name), dict)}
    for name, block in blocks.items():
        content[name] = {entry: value for entry, value in block.items() if value is not None}
    gone = {name for name, value in blocks.get("trainings", {}).items() if value is None}
    for editor in content["editors"].values() if "editors" in blocks else ():
        if isinstance(editor, dict) and isinstance(editor.get("layers"), dict):
            editor["layers"] = {name: parts for name, parts in editor["layers"].items() if name not in gone}
    return content


def _extended(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """A file on top of what it extends; ``above`` are the files that extend it."""
    content = read_yaml(path)
    base = content.pop(EXTENDS, None)
    if base is None:
        return content
    check_known(f"{path}: {EXTENDS}", base, sorted(other.stem for other in path.parent.glob("*.yaml")), "there are")
    parent = path.with_name(f"{base}.yaml")
    if parent in (path, *above):
        raise InputError(f"{path}: {EXTENDS}: {base} extends this file in turn")
    return _merged(_extended(parent, (path, *above)), content)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        merged[key] = _merged(base[key], value) if _alike(base.get(key), value) else value
    return merged


def _alike(base: Any, changes: Any) -> bool:
    """Whether two values are blocks about the same thing, of which one changes the other."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return False
    return all(changes.get(kind, base.get(kind)) == base.get(kind) for kind in _KINDS if kind in base)


def validated(kind: type[_Block], content: dict[str, Any], path: Path) -> _Block:
    """The ``content`` of a file as a block of one kind.

    :raises InputError: naming the file and its first mistake.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {_sentence(error, content)}") from error


def _sentence(error: ValidationError, content: dict[str, Any]) -> str:
    """The first mistake: the path to the key, what is wrong with it, and what was found."""
    errors = error.errors()
    first = errors[0]
    where = ".".join(_keys(first["loc"], content))
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    if first["type"] == "value_error":
        return " ".join(f"{where}{': ' if where else ''}{first['ctx']['error']}{more}".split())
    if first["type"] == "missing":
        return f"{where}{'.' if where else ''}{first['loc'][-1]} is missing{more}"
    said = first["msg"].removeprefix("Input ")
    found = "" if first["type"] in _FOUND else f", not {first['input']!r}"
    return f"{where}{' ' if said != first['msg'] else ': '}{said}{found}{more}"


def _keys(path: tuple[int | str, ...], content: Any) -> Iterator[str]:
    """Of pydantic's path to a mistake the parts that are in the file; a union's tag, say, is not."""
    for part in path:
        places = range(len(content)) if isinstance(content, list) else content if isinstance(content, dict) else ()
        if part in places:
            content = content[part]
            yield str(part)
