"""What a person chooses between runs: params.yaml, with the benchmarks that it names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, PrivateAttr, ValidationError, model_validator

import editors
from benchmarks.errors import InputError
from pipelines.config import files
from pipelines.config.blocks import Benchmark, Name, Strict
from pipelines.config.names import check_known, check_once

PARAMS = Path("params.yaml")
CONFIGS = Path("benchmarks", "configs")
"""A file for each benchmark, beside params.yaml."""

Seed = Annotated[int, Field(ge=0)]


class Settings(Strict):
    """params.yaml, and the configuration of every benchmark that is asked for.

    :ivar training_seeds: every training is repeated with each; tables show the first, and the spread over all.
    :ivar edit_seeds: every evaluation is repeated with the edits that each of them draws, likewise.
    :ivar threads: of a training on a CPU.
    :ivar processes: that share out tuning and evaluation on a CPU.
    :ivar cache_gib: most memory of each process for activations that it keeps while it scores edits, in GiB.
    :ivar compile: whether steps of edits that follow a gradient are compiled.
    """

    run: list[Name] = Field(min_length=1)
    seed: int
    training_seeds: list[Seed] = Field(min_length=1)
    edit_seeds: list[Seed] = Field(min_length=1)
    device: str
    threads: int = Field(ge=1)
    processes: int = Field(ge=1)
    cache_gib: float = Field(ge=0, allow_inf_nan=False)
    compile: bool = False

    _folder: Path = PrivateAttr(default=CONFIGS)
    _kinds: Mapping[str, type[Benchmark]] = PrivateAttr(default_factory=dict)
    _read: dict[str, Benchmark] = PrivateAttr(default_factory=dict)

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
            self._read[name] = self._load(name)
        return self._read[name]

    def _load(self, name: str) -> Benchmark:
        check_known("benchmark", name, available(self._folder), f"{self._folder} describes")
        path = self._folder / f"{name}.yaml"
        content = files.read_extended(path)
        if "task" not in content:
            raise InputError(f"{path}: task is missing; there are: {', '.join(self._kinds)}")
        check_known(f"{path}: task", content["task"], self._kinds, "there are")
        try:
            return self._kinds[content["task"]].model_validate(content)
        except ValidationError as error:
            raise InputError(f"{path}: {files.sentence(error, content)}") from error

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
    content = files.read(path)
    try:
        settings = Settings.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {files.sentence(error, content)}") from error
    settings._folder, settings._kinds = path.parent / CONFIGS, kinds
    for name in settings.run:
        settings.benchmark(name)
    return settings


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
