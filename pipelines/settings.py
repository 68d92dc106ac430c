"""params.yaml as typed objects: read once, validated once. Unknown keys are errors."""

from __future__ import annotations

import inspect
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter, ValidationError, model_validator

import editors
from baselines.edit_targets import RANDOM
from benchmarks import datasets
from benchmarks.errors import InputError
from pipelines import architectures, params_file
from pipelines.layout import cell
from pipelines.sequence_settings import CellNames, SequenceSettings, SimilarSettings
from pipelines.training_settings import Name, Strict, TrainingSettings, targets_of

PARAMS = Path("params.yaml")


class DataSettings(Strict):
    """Which dataset, with the options that its file in ``benchmarks/datasets`` takes."""

    dataset: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> DataSettings:
        check_options("dataset", self.dataset, self.options, datasets.options(self.dataset))
        return self


class ModelSettings(Strict):
    """Which architecture, with the options that its file in ``benchmarks/models`` takes."""

    architecture: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> ModelSettings:
        for key in ("name", "channels", "classes"):
            if key in self.options:
                raise InputError(f"{key!r} of architecture {self.architecture!r} is no option: the data decide it")
        architectures.check(self.architecture, self.options)
        return self


class TuningSettings(Strict):
    """The edits on which hyperparameters are chosen, all from the tuning split.

    ``control_size`` images are drawn anew for each edit; ``min_success`` is the constraint, in percent. Tuning asks for
    ``margin`` points more: the trial that just meets a limit on a few edits was lucky, and misses it on others.
    """

    edits: int = Field(ge=1)
    control_size: int | None = Field(default=None, ge=1)
    min_success: float = Field(ge=0, le=100)
    margin: float = Field(default=0, ge=0, le=100)

    @property
    def required(self) -> float:
        """The success rate that a trial must reach, in percent."""
        return min(100.0, self.min_success + self.margin)


class EvaluationSettings(Strict):
    """The edits that are reported, all from the test split. ``control_size: null`` means the whole split."""

    edits: int = Field(ge=1)
    control_size: int | None = Field(default=None, ge=1)
    shard: int = Field(default=50, ge=1)


class AnalysisSettings(Strict):
    """The edits of Figure 2, all from the test split; each cell is a training, an editor and a part of the model."""

    edits: int = Field(ge=2)
    shard: int = Field(default=50, ge=1)
    cells: list[CellNames]


class MistakesSettings(Strict):
    """Realistic mistakes: images that the model of ``training`` gets wrong; ``edits`` of them are for evaluation."""

    training: Name
    edits: int = Field(ge=1)


class RunSettings(Strict):
    """What is trained and edited: names of trainings and editors, and which parts of which models each editor edits."""

    trainings: list[Name] = Field(min_length=1)
    leaderboard: list[Name] = Field(min_length=1)
    subsets: dict[Name, dict[Name, list[str]]] = Field(min_length=1)


class BenchmarkSettings(Strict):
    """Everything about one benchmark.

    ``run`` takes the place of ``trainings``, ``leaderboard`` and the editors' ``subsets`` at the top of the file, null
    leaves them as they are; ``mistakes`` is null where edits get random targets only, ``sequences`` and ``similar``
    where there are no edits in a row, and no similar images are looked at.
    """

    note: str
    data: DataSettings
    model: ModelSettings
    trainings: dict[Name, TrainingSettings] = Field(min_length=1)
    tuning: TuningSettings
    evaluation: EvaluationSettings
    analysis: AnalysisSettings
    mistakes: MistakesSettings | None = None
    sequences: SequenceSettings | None = None
    similar: SimilarSettings | None = None
    run: RunSettings | None = None

    @model_validator(mode="after")
    def _trainable(self) -> BenchmarkSettings:
        if self.mistakes is not None:
            _check_known("mistakes.training", self.mistakes.training, self.trainings, "training")
            if not datasets.has_candidates(self.data.dataset):
                raise InputError(f"mistakes: dataset {self.data.dataset!r} has no images for mistakes: write null")
        for name in self.trainings:
            try:
                self.model_of(name)
            except ValidationError as error:
                raise InputError(f"trainings.{name}.architecture: {error.errors()[0]['ctx']['error']}") from error
            if self.mistakes is None and targets_of(self.trainings[name]) != RANDOM:
                raise InputError(f"trainings.{name}.targets: without a block 'mistakes', targets must be {RANDOM}")
            for source in self.sources_of(name):
                if source not in self.trainings or source == name:
                    others = ", ".join(other for other in self.trainings if other != name) or "no others"
                    raise InputError(f"trainings.{name}: cannot be made of {source!r}; there are {others}")
        return self

    @model_validator(mode="after")
    def _with_mistakes(self) -> BenchmarkSettings:
        if self.mistakes is not None:
            return self
        if self.similar is not None:
            raise InputError("similar: whether a label is right for another image too can be asked of 'mistakes' only")
        if self.sequences is not None and self.sequences.source == "mistakes":
            raise InputError("sequences.source: there is no block 'mistakes', so it must be random")
        return self

    def named_cells(self) -> Iterator[tuple[str, CellNames]]:
        """All cells that other stages than tuning and evaluation name, each with the path of the list it is in."""
        rows = self.sequences
        blocks = {"analysis": self.analysis, "sequences": rows, "similar": self.similar}
        blocks["sequences.ablation"] = rows.ablation if rows else None
        for where, block in blocks.items():
            yield from ((f"{where}.cells", names) for names in (block.cells if block else []))

    def sources_of(self, training: str) -> tuple[str, ...]:
        """The trainings whose models one needs: those it is made of, and the one whose mistakes it learns from.

        :raises InputError: for a training that is not described.
        """
        _check_known("trainings", training, self.trainings, "training")
        chosen = self.trainings[training]
        found = chosen.made_of
        if self.mistakes is not None and targets_of(chosen) != RANDOM:
            found += (self.mistakes.training,)
        return tuple(dict.fromkeys(found))

    def model_of(self, training: str) -> ModelSettings:
        """The network that a training trains: the benchmark's, but for its own architecture and options."""
        chosen = self.trainings[training]
        architecture = chosen.architecture or self.model.architecture
        return ModelSettings(architecture=architecture, options=self.model.options | chosen.options)


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
    ranges: dict[Name, Annotated[list[float], Field(min_length=2, max_length=2)]] = Field(default_factory=dict)


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
    benchmarks: dict[Name, BenchmarkSettings]
    editors: dict[Name, EditorSettings]
    translation: dict[Name, dict[str, Any]] = Field(default_factory=dict)  # checked by the stage that needs it

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        for where in ("run", "run_translation", "trainings", "leaderboard", "training_seeds"):
            _check_once(where, getattr(self, where))
        for name in self.run:
            _check_known("run", name, self.benchmarks, "benchmark")
            if self.benchmarks[name].run is None:
                self._check_trainings(name, "trainings")
        for name in self.run_translation:
            _check_known("run_translation", name, self.translation, "benchmark of translation")
        for name in self.leaderboard:
            _check_known("leaderboard", name, self.editors, "editor")
        for name in [name for name, block in self.benchmarks.items() if block.run is not None]:
            self._check_own_run(name)
        described = list(dict.fromkeys(name for one in self.benchmarks.values() for name in one.trainings))
        for name, block in self.benchmarks.items():
            for where, (training, editor, _) in block.named_cells():
                _check_known(f"benchmarks.{name}.{where}", training, block.trainings, "training")
                _check_known(f"benchmarks.{name}.{where}", editor, self.editors, "editor")
        for name, editor in self.editors.items():
            _check_editor(name, editor, described)
        return self

    def _check_own_run(self, name: str) -> None:
        where, chosen = f"benchmarks.{name}.run", self.run_of(name)
        for key in ("trainings", "leaderboard"):
            _check_once(f"{where}.{key}", getattr(chosen, key))
        self._check_trainings(name, f"{where}.trainings")
        for editor in (*chosen.leaderboard, *chosen.subsets):
            _check_known(where, editor, self.editors, "editor")
        for editor, subsets in chosen.subsets.items():
            _check_subsets(f"{where}.subsets.{editor}", subsets, list(self.benchmarks[name].trainings))

    def _check_trainings(self, benchmark: str, where: str) -> None:
        """That what is trained is described, and what it is made of trained as well."""
        described, listed = self.benchmarks[benchmark].trainings, self.run_of(benchmark).trainings
        for training in listed:
            _check_known(where, training, described, f"training of {benchmark}")
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
        _check_known("benchmark", name, self.benchmarks, "benchmark")
        return self.benchmarks[name]

    def training(self, benchmark: Name, name: Name) -> TrainingSettings:
        """:raises InputError: for a training that the benchmark's block does not describe."""
        known = self.benchmark(benchmark).trainings
        _check_known(f"benchmarks.{benchmark}.trainings", name, known, "training")
        return known[name]

    def editor(self, name: Name) -> EditorSettings:
        """:raises InputError: for an editor that params.yaml does not describe."""
        _check_known("editors", name, self.editors, "editor")
        return self.editors[name]

    def method(self, name: Name) -> str:
        """The name under which the editor of a block is registered."""
        return self.editor(name).method or name

    def build(self, name: Name, **values: Any) -> editors.Editor:
        """The editor of a block with these hyperparameters, and with backtracking if the block asks for it."""
        memory = {"memory": self.editor(name).memory} if self.editor(name).memory else {}
        built = editors.build(self.method(name), **memory, **values)
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
    content = params_file.read(Path(path))
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {params_file.sentence(error, Settings)}") from error


def _check_type(what: str, value: Any, annotation: Any) -> None:
    try:
        TypeAdapter(annotation).validate_python(value, strict=True)
    except ValidationError as error:
        wanted = getattr(annotation, "__name__", None) or str(annotation)
        raise InputError(
            f"{what} must be {wanted.replace('None', 'null').replace(' | ', ' or ')}, not {value!r}"
        ) from error


def _check_known(where: str, name: str, known: dict[str, Any], what: str) -> None:
    if name not in known:
        raise InputError(f"{where}: unknown {what} {name!r}; params.yaml describes: {', '.join(known)}")


def check_options(what: str, name: str, given: dict[str, Any], known: dict[str, inspect.Parameter]) -> None:
    """Check the options that are ``given`` to a function of parameters ``known``.

    :param what: what the function makes, such as ``dataset``, and ``name`` which one.
    :raises InputError: for one that it does not have or that is of another type, and for one that it needs.
    """
    for key in given:
        if key not in known:
            raise InputError(f"{what} {name!r} has no option {key!r}; it has: {', '.join(known)}")
    for key, parameter in known.items():
        if key in given:
            _check_type(f"option {key!r} of {what} {name!r}", given[key], parameter.annotation)
        elif parameter.default is inspect.Parameter.empty:
            raise InputError(f"{what} {name!r} needs the option {key!r}")


def _check_editor(name: str, settings: EditorSettings, trainings: list[str]) -> None:
    method = settings.method or name
    description = editors.describe(method)
    tunable = {parameter.name: parameter for parameter in description.hyperparameters}
    for key in (*settings.fixed, *settings.ranges):
        if key not in tunable:
            raise InputError(f"editors.{name}: no hyperparameter {key!r}; it has: {', '.join(tunable)}")
    if settings.memory and "memory" not in description.options:
        raise InputError(
            f"editors.{name}.memory: {method} remembers no edits, so it must be 0, not {settings.memory:g}"
        )
    editors.build(method, **settings.fixed)
    for key, (low, high) in settings.ranges.items():
        tunable[key].check(low, f"editors.{name}.ranges")
        tunable[key].check(high, f"editors.{name}.ranges")
        if low > high:
            raise InputError(f"editors.{name}.ranges.{key}: {low:g} is above {high:g}")
    _check_subsets(f"editors.{name}.subsets", settings.subsets, trainings)


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
