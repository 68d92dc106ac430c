"""What params.yaml says about one benchmark of classifiers: data, model, trainings, edits."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from baselines.edit_targets import RANDOM
from benchmarks import datasets
from benchmarks.errors import InputError
from pipelines.config import architectures
from pipelines.config.sequences import CellNames, SequenceSettings, SimilarSettings
from pipelines.config.trainings import Name, Strict, TrainingSettings, targets_of


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


Ranges = dict[Name, Annotated[list[float], Field(min_length=2, max_length=2)]]
"""Lowest and highest value by hyperparameter."""


class RunSettings(Strict):
    """What is trained and edited: names of trainings and editors, and which parts of which models each editor edits.

    ``ranges`` are searched on this benchmark instead of those in the editors' blocks: a penalty's scale, for one, is
    that of the network's losses.
    """

    trainings: list[Name] = Field(min_length=1)
    leaderboard: list[Name] = Field(min_length=1)
    subsets: dict[Name, dict[Name, list[str]]] = Field(min_length=1)
    ranges: dict[Name, Ranges] = Field(default_factory=dict)


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
            check_known("mistakes.training", self.mistakes.training, self.trainings, "training")
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
        check_known("trainings", training, self.trainings, "training")
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


def check_known(where: str, name: str, known: dict[str, Any], what: str) -> None:
    """:raises InputError: for a name that is not among the ``known`` ones, saying where it stands."""
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


def _check_type(what: str, value: Any, annotation: Any) -> None:
    try:
        TypeAdapter(annotation).validate_python(value, strict=True)
    except ValidationError as error:
        wanted = getattr(annotation, "__name__", None) or str(annotation)
        raise InputError(
            f"{what} must be {wanted.replace('None', 'null').replace(' | ', ' or ')}, not {value!r}"
        ) from error
