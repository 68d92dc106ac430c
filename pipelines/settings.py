"""params.yaml as typed objects: read once, validated once. Unknown keys are errors."""

from __future__ import annotations

import inspect
import os
import re
from collections import Counter
from collections.abc import Hashable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

import editors
from baselines.cnp import CnpTerms
from baselines.editable import EditableObjective, EditableTerms
from baselines.training import TrainingPlan
from benchmarks import datasets, models
from benchmarks.errors import InputError
from pipelines.layout import cell

PARAMS = Path("params.yaml")
Name = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
"""Names become parts of file names."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class DataSettings(_Strict):
    """Which dataset, with the options that its file in ``benchmarks/datasets`` takes."""

    dataset: str
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _known(self) -> DataSettings:
        known = datasets.options(self.dataset)
        _check_option_names("dataset", self.dataset, self.options, list(known))
        for name, parameter in known.items():
            if name in self.options:
                _check_type(f"option {name!r} of dataset {self.dataset!r}", self.options[name], parameter.annotation)
            elif parameter.default is inspect.Parameter.empty:
                raise InputError(f"dataset {self.dataset!r} needs the option {name!r}")
        return self


class ModelSettings(_Strict):
    """Which architecture, with the options that its file in ``benchmarks/models`` takes."""

    architecture: str
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _known(self) -> ModelSettings:
        for key in ("name", "channels", "classes"):
            if key in self.options:
                raise InputError(f"{key!r} of architecture {self.architecture!r} is no option: the data decide it")
        with torch.device("meta"):  # shapes only: a wide model takes no time and no memory here
            models.make(self.architecture, channels=1, classes=2, **self.options)
        return self


class _Training(_Strict):
    """What every training has: see :class:`baselines.training.TrainingPlan`.

    ``architecture`` takes the place of the benchmark's, with the same options.
    """

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    lr: float = Field(gt=0, allow_inf_nan=False)
    schedule: Literal["constant", "cosine"]
    clip_norm: float | None = Field(default=TrainingPlan.clip_norm, gt=0, allow_inf_nan=False)
    architecture: str | None = None

    @property
    def plan(self) -> TrainingPlan:
        """How long and how fast to train."""
        return TrainingPlan(**{field.name: getattr(self, field.name) for field in fields(TrainingPlan)})


class PlainTraining(_Training):
    """The base loss alone."""

    recipe: Literal["plain"]


class CnpTraining(_Training):
    """Editable+CNP: see :class:`baselines.cnp.CnpTerms`."""

    recipe: Literal["cnp"]
    c_edit: float
    c_loc: float
    margin: float = CnpTerms.margin
    locality: str = CnpTerms.locality
    detach_reference: bool = CnpTerms.detach_reference
    reference_mode: str = CnpTerms.reference_mode

    @property
    def terms(self) -> CnpTerms:
        """How the losses of an edit enter the objective."""
        return CnpTerms(**{field.name: getattr(self, field.name) for field in fields(CnpTerms)})

    @model_validator(mode="after")
    def _valid(self) -> CnpTraining:
        _ = self.terms
        return self


class EditableTraining(_Training):
    """Editable Training: see :class:`baselines.editable.EditableTerms`."""

    recipe: Literal["editable"]
    editor: str
    layers: str
    c_edit: float
    c_loc: float
    max_steps: int = EditableTerms.max_steps
    locality: str = EditableTerms.locality
    detach_reference: bool = EditableTerms.detach_reference
    reference_mode: str = EditableTerms.reference_mode
    learning_rate: str = EditableTerms.learning_rate
    hyperparameters: dict[Name, float] = {}

    @property
    def terms(self) -> EditableTerms:
        """Which edits the model is prepared for, and how."""
        return EditableTerms(**{field.name: getattr(self, field.name) for field in fields(EditableTerms)})

    @model_validator(mode="after")
    def _valid(self) -> EditableTraining:
        EditableObjective(self.terms)
        return self


TrainingSettings = Annotated[PlainTraining | EditableTraining | CnpTraining, Field(discriminator="recipe")]
"""How a model is trained: a block of its own for each ``recipe``."""


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

    @model_validator(mode="after")
    def _trainable(self) -> BenchmarkSettings:
        for name in self.trainings:
            try:
                self.model_of(name)
            except ValidationError as error:
                raise InputError(f"trainings.{name}.architecture: {error.errors()[0]['ctx']['error']}") from error
        return self

    def model_of(self, training: str) -> ModelSettings:
        """The model that a training trains: the benchmark's, or its own architecture with the benchmark's options."""
        architecture = self.trainings[training].architecture
        if architecture is None:
            return self.model
        return ModelSettings(architecture=architecture, options=self.model.options)


class EditorSettings(_Strict):
    """How one editor is tuned, and what it edits: ``subsets`` maps a training to parts of its model."""

    trials: int = Field(ge=1)
    max_steps: int = Field(ge=1)
    subsets: dict[Name, list[str]] = Field(min_length=1)
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
        for where in ("run", "trainings", "leaderboard"):
            twice = [name for name, count in Counter(getattr(self, where)).items() if count > 1]
            if twice:
                raise InputError(f"{where}: {twice[0]!r} is listed twice")
        for name in self.run:
            _check_known("run", name, self.benchmarks, "benchmark")
            for training in self.trainings:
                _check_known("trainings", training, self.benchmarks[name].trainings, f"training of {name}")
        for name in self.leaderboard:
            _check_known("leaderboard", name, self.editors, "editor")
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
        if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
            raise InputError(f"params.yaml: device must be auto, cpu, cuda or cuda:<number>, not {self.device!r}")
        if name != "cpu" and int(name.partition(":")[2] or 0) >= torch.cuda.device_count():
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
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise InputError(f"{path} must hold keys and values, found {found}")
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {_sentence(error)}") from error


class _Loader(yaml.SafeLoader):
    """YAML as DVC reads it: ``1e-4`` is a number, not a string as in YAML 1.1, and a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<")
        twice = [key for key, count in keys.items() if count > 1]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice[0]!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    kind, where = first["type"], ".".join(_path(first["loc"]))
    others = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if kind == "extra_forbidden":
        return f"unknown key {where!r}; {_allowed(first['loc'][:-1])}{others}"
    if kind == "missing":
        return f"{where} is missing{others}"
    if kind == "union_tag_not_found":
        return f"{where}.{first['ctx']['discriminator'].strip(chr(39))} is missing{others}"
    if kind == "union_tag_invalid":
        context = first["ctx"]
        key = context["discriminator"].strip("'")
        return f"{where}.{key} must be one of {context['expected_tags']}, not {context['tag']!r}{others}"
    if kind == "value_error":
        return " ".join(f"{where}{': ' if where else ''}{first['ctx']['error']}{others}".split())
    # What is not in the table reads like "Input should be a valid integer, not ...".
    needs = _NEEDS[kind].format(**first.get("ctx", {})) if kind in _NEEDS else first["msg"].partition("should be ")[2]
    return f"{where} must be {needs}, not {first['input']!r}{others}"


_NEEDS = {
    "bool_type": "true or false",
    "dict_type": "a block of keys and values",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "> {gt:g}",
    "greater_than_equal": ">= {ge:g}",
    "int_type": "a whole number",
    "invalid_key": "text",
    "less_than_equal": "<= {le:g}",
    "list_type": "a list",
    "literal_error": "one of {expected}",
    "model_attributes_type": "a block of keys and values",
    "model_type": "a block of keys and values",
    "string_pattern_mismatch": "a name of letters, digits, '_', '-' and '.'",
    "string_type": "text",
    "too_long": "at most {max_length} long",
    "too_short": "at least {min_length} long",
}
"""What pydantic's kinds of error say to someone who does not know it."""


def _allowed(location: tuple[Any, ...]) -> str:
    """The keys that are allowed at a place in the file, found by walking the schema."""
    schema: Any = Settings
    for part in location:
        schema = _inside(schema, part)
    return f"allowed here: {', '.join(schema.model_fields)}"


def _path(location: tuple[Any, ...]) -> list[str]:
    """The keys that lead to a place in the file; pydantic's location has the recipe of a block as one more."""
    path: list[str] = []
    schema: Any = Settings
    for part in location:
        if not _recipes(schema) and part != "[key]":
            path.append(str(part))
        schema = _inside(schema, part)
    return path


def _inside(schema: Any, part: Any) -> Any:
    """What the schema says about the entry ``part``; None where it says nothing more."""
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        known = schema.model_fields.get(str(part))
        return known.annotation if known else None
    if _recipes(schema):
        return _recipes(schema)[part]
    arguments = get_args(schema)  # a mapping from names to blocks of one kind, or a list
    return arguments[-1] if arguments else None


def _recipes(schema: Any) -> dict[str, type[BaseModel]]:
    """The blocks of :data:`TrainingSettings` by recipe; nothing for any other place."""
    if schema != TrainingSettings:
        return {}
    return {get_args(block.model_fields["recipe"].annotation)[0]: block for block in get_args(get_args(schema)[0])}


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
        if not subsets or len({cell(training, layers) for layers in subsets}) < len(subsets):
            raise InputError(f"editors.{name}.subsets.{training}: needs names, each once, not {subsets!r}")
