"""params.yaml as typed objects: read once, validated once. Unknown keys are errors."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, ValidationError, model_validator

import editors
from benchmarks.errors import InputError
from pipelines.config import yaml_files
from pipelines.config.benchmarks import BenchmarkSettings, Ranges, RunSettings, check_known
from pipelines.config.trainings import Name, Strict, TrainingSettings
from pipelines.store.layout import cell

PARAMS = Path("params.yaml")


class EditorSettings(Strict):
    """How one editor is tuned, and what it edits: ``subsets`` maps a training to parts of its model.

    ``edits`` is the most edits that are tuned and evaluated with, for an editor that takes long; null for no limit.
    ``method`` makes the block a row of its own for another editor: its name is the row's. The options ask more of any
    editor: ``views`` augmented copies of the edited image that must get the target too, a ``margin`` of the target's
    logit above all others, and ``backtracking``, which scales the last update back to where that just holds. None of
    them changes what counts as success. ``memory`` is the weight at which an edit in a row of edits minds the earlier
    ones, for editors that can.
    """

    method: Name | None = None
    views: int | None = Field(default=None, ge=1)
    margin: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    backtracking: bool = False
    memory: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    trials: int = Field(ge=1)
    max_steps: int = Field(ge=1)
    edits: int | None = Field(default=None, ge=1)
    subsets: dict[Name, list[str]] = Field(min_length=1)
    fixed: dict[Name, float] = Field(default_factory=dict)
    ranges: Ranges = Field(default_factory=dict)

    @property
    def asked(self) -> dict[str, Any]:
        """What is asked of the editor beside hyperparameters."""
        return self.model_dump(include={"views", "margin", "backtracking", "memory"})


class Settings(Strict):
    """The whole of params.yaml."""

    run: list[Name] = Field(min_length=1)
    run_translation: list[Name] = Field(default_factory=list)
    trainings: list[Name] = Field(min_length=1)
    leaderboard: list[Name] = Field(min_length=1)
    seed: int
    training_seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    device: str
    threads: int = Field(ge=1)
    processes: int = Field(ge=1)
    cache_gib: float = Field(ge=0, allow_inf_nan=False)
    compile: bool = False
    benchmarks: dict[Name, BenchmarkSettings]
    editors: dict[Name, EditorSettings]
    translation: dict[Name, dict[str, Any]] = Field(default_factory=dict)  # checked by the stage that needs it

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        for where in ("run", "run_translation", "trainings", "leaderboard", "training_seeds"):
            _check_once(where, getattr(self, where))
        for name in self.run:
            check_known("run", name, self.benchmarks, "benchmark")
            if self.benchmarks[name].run is None:
                self._check_trainings(name, "trainings")
        for name in self.run_translation:
            check_known("run_translation", name, self.translation, "benchmark of translation")
        for name in self.leaderboard:
            check_known("leaderboard", name, self.editors, "editor")
        for name in [name for name, block in self.benchmarks.items() if block.run is not None]:
            self._check_own_run(name)
        described = list(dict.fromkeys(name for one in self.benchmarks.values() for name in one.trainings))
        for name, block in self.benchmarks.items():
            for where, (training, editor, _) in block.named_cells():
                check_known(f"benchmarks.{name}.{where}", training, block.trainings, "training")
                check_known(f"benchmarks.{name}.{where}", editor, self.editors, "editor")
        for name, editor in self.editors.items():
            _check_editor(name, editor, described)
        for name, block in self.benchmarks.items():
            for editor, ranges in (block.run.ranges if block.run else {}).items():
                where = f"benchmarks.{name}.run.ranges"
                check_known(where, editor, self.editors, "editor")
                _check_ranges(f"{where}.{editor}", ranges, self.method(editor))
        return self

    def _check_own_run(self, name: str) -> None:
        where, chosen = f"benchmarks.{name}.run", self.run_of(name)
        for key in ("trainings", "leaderboard"):
            _check_once(f"{where}.{key}", getattr(chosen, key))
        self._check_trainings(name, f"{where}.trainings")
        for editor in (*chosen.leaderboard, *chosen.subsets):
            check_known(where, editor, self.editors, "editor")
        for editor, subsets in chosen.subsets.items():
            _check_subsets(f"{where}.subsets.{editor}", subsets, list(self.benchmarks[name].trainings))

    def _check_trainings(self, benchmark: str, where: str) -> None:
        """That what is trained is described, and what it is made of trained as well."""
        described, listed = self.benchmarks[benchmark].trainings, self.run_of(benchmark).trainings
        for training in listed:
            check_known(where, training, described, f"training of {benchmark}")
            for source in self.benchmarks[benchmark].sources_of(training):
                if source not in listed:
                    raise InputError(f"{where}: {training!r} is made of {source!r}, which must be listed as well")
        mistakes = self.benchmarks[benchmark].mistakes
        if mistakes is not None and mistakes.training not in listed:
            raise InputError(f"{where}: {mistakes.training!r}, whose mistakes are edited, must be listed")

    def run_of(self, benchmark: Name) -> RunSettings:
        """What of a benchmark is trained and edited: its own ``run``, or what the top of the file says for all.

        :raises InputError: for a benchmark that params.yaml does not describe.
        """
        subsets = {name: block.subsets for name, block in self.editors.items()}
        common = RunSettings(trainings=self.trainings, leaderboard=self.leaderboard, subsets=subsets)
        return self.benchmark(benchmark).run or common

    def benchmark(self, name: Name) -> BenchmarkSettings:
        """:raises InputError: for a benchmark that params.yaml does not describe."""
        check_known("benchmark", name, self.benchmarks, "benchmark")
        return self.benchmarks[name]

    def training(self, benchmark: Name, name: Name) -> TrainingSettings:
        """:raises InputError: for a training that the benchmark's block does not describe."""
        known = self.benchmark(benchmark).trainings
        check_known(f"benchmarks.{benchmark}.trainings", name, known, "training")
        return known[name]

    def editor(self, name: Name) -> EditorSettings:
        """:raises InputError: for an editor that params.yaml does not describe."""
        check_known("editors", name, self.editors, "editor")
        return self.editors[name]

    def ranges(self, benchmark: Name, name: Name) -> dict[Name, list[float]]:
        """Where to search an editor's hyperparameters on a benchmark, those whose own ranges hold left out."""
        run = self.benchmark(benchmark).run
        return self.editor(name).ranges | (run.ranges.get(name, {}) if run else {})

    def method(self, name: Name) -> str:
        """The name under which the editor of a block is registered."""
        return self.editor(name).method or name

    def compiles(self, name: Name) -> bool:
        """Whether steps of the editor of a block are compiled: those that follow a gradient can be."""
        return self.compile and "compiled" in editors.describe(self.method(name)).options

    def build(self, name: Name, **values: Any) -> editors.Editor:
        """The editor of a block with these hyperparameters, compiled or with backtracking if the file asks for it."""
        options = {"memory": self.editor(name).memory} if self.editor(name).memory else {}
        if self.compiles(name):
            options["compiled"] = True
        built = editors.build(self.method(name), **options, **values)
        return editors.Backtracking(built) if self.editor(name).backtracking else built

    def torch_device(self) -> torch.device:
        """The device to compute on; ``auto`` is a GPU where there is one.

        :raises InputError: for a device that this machine does not have.
        """
        return device_of(self.device, "params.yaml: device")


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


def load(path: str | os.PathLike[str] = PARAMS) -> Settings:
    """Read and check a parameter file.

    :raises InputError: one sentence that names the parameter's path, what was found and what is allowed.
    """
    content = yaml_files.read(Path(path))
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {yaml_files.sentence(error, Settings)}") from error


def _check_editor(name: str, settings: EditorSettings, trainings: list[str]) -> None:
    method = settings.method or name
    description = editors.describe(method)
    tunable = {parameter.name: parameter for parameter in description.hyperparameters}
    for key in settings.fixed:
        if key not in tunable:
            raise InputError(f"editors.{name}: no hyperparameter {key!r}; it has: {', '.join(tunable)}")
    if settings.memory and "memory" not in description.options:
        raise InputError(
            f"editors.{name}.memory: {method} remembers no edits, so it must be 0, not {settings.memory:g}"
        )
    editors.build(method, **settings.fixed)
    _check_ranges(f"editors.{name}.ranges", settings.ranges, method)
    _check_subsets(f"editors.{name}.subsets", settings.subsets, trainings)


def _check_ranges(where: str, ranges: dict[str, list[float]], method: str) -> None:
    tunable = {parameter.name: parameter for parameter in editors.describe(method).hyperparameters}
    for key, (low, high) in ranges.items():
        if key not in tunable:
            raise InputError(f"{where}: no hyperparameter {key!r}; it has: {', '.join(tunable)}")
        tunable[key].check(low, where)
        tunable[key].check(high, where)
        if low > high:
            raise InputError(f"{where}.{key}: {low:g} is above {high:g}")


def _check_subsets(where: str, subsets: dict[str, list[str]], trainings: list[str]) -> None:
    for training, parts in subsets.items():
        if training not in trainings:
            raise InputError(f"{where}: unknown training {training!r}; known: {', '.join(trainings)}")
        if not parts or len({cell(training, layers) for layers in parts}) < len(parts):
            raise InputError(f"{where}.{training}: needs names, each once, not {parts!r}")


def _check_once(where: str, names: list[Any]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{where}: {twice[0]!r} is listed twice")
