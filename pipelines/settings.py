"""params.yaml as typed objects: read once, validated once. Unknown keys are errors."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import editors
from benchmarks import datasets, models
from benchmarks.errors import InputError

PARAMS = Path("params.yaml")
Name = str


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class DataSettings(_Strict):
    """Which dataset, with the options that its file in ``benchmarks/datasets`` takes."""

    dataset: Name
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _known(self) -> DataSettings:
        _check_option_names("dataset", self.dataset, self.options, list(datasets.options(self.dataset)))
        return self


class ModelSettings(_Strict):
    """Which architecture, with the options that its file in ``benchmarks/models`` takes."""

    architecture: Name
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _known(self) -> ModelSettings:
        models.make(self.architecture, channels=1, classes=2, **self.options)
        return self


class TrainingSettings(_Strict):
    """How a model is trained; ``recipe`` names the objective."""

    recipe: Literal["plain"]
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    lr: float = Field(gt=0, allow_inf_nan=False)
    schedule: Literal["constant", "cosine"]


class TuningSettings(_Strict):
    """The edits on which hyperparameters are chosen, all from the tuning split.

    ``control_size`` images are drawn anew for each edit; ``min_success`` is the constraint, in percent.
    """

    edits: int = Field(ge=1)
    control_size: int | None = Field(default=None, ge=1)
    min_success: float = Field(ge=0, le=100)


class EvaluationSettings(_Strict):
    """The edits that are reported, all from the test split. ``control_size: null`` means the whole split."""

    edits: int = Field(ge=1)
    control_size: int | None = Field(default=None, ge=1)
    shard: int = Field(default=50, ge=1)


class BenchmarkSettings(_Strict):
    """Everything about one benchmark."""

    note: str
    data: DataSettings
    model: ModelSettings
    trainings: dict[Name, TrainingSettings] = Field(min_length=1)
    tuning: TuningSettings
    evaluation: EvaluationSettings


class EditorSettings(_Strict):
    """How one editor is tuned, and what it edits: ``subsets`` maps a training to parts of its model."""

    trials: int = Field(ge=1)
    max_steps: int = Field(ge=1)
    subsets: dict[Name, list[Name]] = Field(min_length=1)
    fixed: dict[Name, float] = {}
    ranges: dict[Name, Annotated[list[float], Field(min_length=2, max_length=2)]] = {}


class Settings(_Strict):
    """The whole of params.yaml."""

    run: list[Name] = Field(min_length=1)
    trainings: list[Name] = Field(min_length=1)
    leaderboard: list[Name] = Field(min_length=1)
    seed: int
    device: str
    threads: int = Field(ge=1)
    processes: int = Field(ge=1)
    benchmarks: dict[Name, BenchmarkSettings]
    editors: dict[Name, EditorSettings]

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        for name in self.run:
            _check_known(f"run: {name}", name, self.benchmarks, "benchmark")
        for name in self.leaderboard:
            _check_known(f"leaderboard: {name}", name, self.editors, "editor")
        for name, editor in self.editors.items():
            _check_editor(name, editor, self.trainings)
        return self

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

    def torch_device(self) -> torch.device:
        """The device to compute on; ``auto`` is a GPU where there is one.

        :raises InputError: for a device that this machine does not have.
        """
        name = self.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        kind, _, number = name.partition(":")
        if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
            raise InputError(f"params.yaml: device must be auto, cpu, cuda or cuda:<number>, not {self.device!r}")
        if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
            raise InputError(f"params.yaml: device {name!r} was asked for, but this machine has no such GPU; use cpu")
        return torch.device(name)


def load(path: str | os.PathLike[str] = PARAMS) -> Settings:
    """Read and check a parameter file.

    :raises InputError: one sentence that names the parameter's path, what was found and what is allowed.
    """
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; run this in the repository's root, or give --params") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold keys and values, found {type(content).__name__}")
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {_sentence(error)}") from error


class _Loader(yaml.SafeLoader):
    """YAML 1.2 floats: ``1e-4`` is a number here as it is for DVC, not a string as in YAML 1.1."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key {where!r}; {_allowed(first['loc'][:-1])}"
    if first["type"] == "missing":
        return f"{where} is missing"
    message = str(first["ctx"]["error"]) if "error" in first.get("ctx", {}) else first["msg"]
    found = "" if first["type"] == "value_error" else f", not {first['input']!r}"
    others = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}{': ' if where else ''}{message[0].lower()}{message[1:]}{found}{others}"


def _allowed(location: tuple[Any, ...]) -> str:
    """The keys that are allowed at a place in the file, found by walking the schema."""
    schema: Any = Settings
    for part in location:
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            schema = schema.model_fields[str(part)].annotation
        else:  # a mapping from names to blocks of one kind
            schema = schema.__args__[-1]
    return f"allowed here: {', '.join(schema.model_fields)}"


def _check_known(where: str, name: str, known: dict[str, Any], what: str) -> None:
    if name not in known:
        raise InputError(f"{where}: unknown {what} {name!r}; params.yaml describes: {', '.join(known)}")


def _check_option_names(what: str, name: str, given: dict[str, Any], known: list[str]) -> None:
    for key in given:
        if key not in known:
            raise InputError(f"{what} {name!r} has no option {key!r}; it has: {', '.join(known)}")


def _check_editor(name: str, settings: EditorSettings, trainings: list[str]) -> None:
    description = editors.describe(name)
    tunable = {parameter.name: parameter for parameter in description.hyperparameters}
    for key in (*settings.fixed, *settings.ranges):
        if key not in tunable:
            raise InputError(f"editors.{name}: no hyperparameter {key!r}; it has: {', '.join(tunable)}")
    editors.build(name, **settings.fixed)
    for key, (low, high) in settings.ranges.items():
        tunable[key].check(low, f"editors.{name}.ranges")
        tunable[key].check(high, f"editors.{name}.ranges")
        if low > high:
            raise InputError(f"editors.{name}.ranges.{key}: {low:g} is above {high:g}")
    for training, subsets in settings.subsets.items():
        if training not in trainings:
            raise InputError(f"editors.{name}.subsets: unknown training {training!r}; listed: {', '.join(trainings)}")
        if not subsets or len(set(subsets)) < len(subsets):
            raise InputError(f"editors.{name}.subsets.{training}: needs names, each once, not {subsets!r}")
