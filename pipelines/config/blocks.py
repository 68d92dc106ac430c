"""The blocks that configurations are made of, whatever the task: what a benchmark says of data, trainings and edits."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

import editors
from benchmarks.errors import InputError, check_known, check_once
from benchmarks.files import file_part

Name = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
"""Letters, digits, ``_``, ``-`` and ``.``, as names become parts of file names."""
CellNames = Annotated[list[str], Field(min_length=3, max_length=3)]
"""A training, an editor and a part of the model."""
_Filled = TypeVar("_Filled")
Ranges = dict[Name, Annotated[list[float], Field(min_length=2, max_length=2)]]
"""Lowest and highest value by hyperparameter."""


class Strict(BaseModel):
    """A block: unknown keys are errors, and text is no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_key(cls, given: Any) -> Any:
        """Said before all else, as a misspelt key is missing under its right name as well, which says less."""
        for key in given if isinstance(given, Mapping) else ():
            if key not in cls.model_fields:
                check_known(f"unknown key {key!r}", key, cls.model_fields, "allowed here")
        return given


class DataSettings(Strict):
    """The data of a benchmark: a ``dataset`` by name, with the options that its file takes."""

    dataset: str
    options: dict[str, Any] = Field(default_factory=dict)


class Training(Strict):
    """How a model is made: by a ``recipe`` of the benchmark's task; one that trains has ``epochs`` too."""

    recipe: str

    @property
    def made_of(self) -> tuple[str, ...]:
        """The trainings whose models this one needs."""
        return ()

    def _fill(self, kind: type[_Filled], **more: Any) -> _Filled:
        """A dataclass whose fields have the values that this block gives to the same names, or those of ``more``."""
        return kind(**{one.name: getattr(self, one.name) for one in fields(kind) if one.name not in more}, **more)

    @property
    def prepares(self) -> tuple[str, str] | None:
        """The editor and the part of the model that this training prepares for edits; None for no particular one."""
        return None


class EditorSettings(Strict):
    """A row of the leaderboard: an editor, how it is tuned, and which parts of which models it edits.

    A training that prepares a model for one editor need not be named in ``layers``: the editor's block of the same name
    edits the part that the training prepares.

    :ivar method: the name under which the editor is registered; None for the block's own.
    :ivar layers: parts of the model by training; an empty list for none.
    :ivar trials: of the search; 0 takes the values of ``fixed`` and the editor's defaults as they are.
    :ivar fixed: hyperparameters that are not searched, and their values; ``ranges`` where to search the others instead
        of between the ends that the editor's file gives.
    :ivar max_edits: the most edits that are tuned and evaluated with, for an editor that takes long; None for no limit.
    :ivar views: augmented copies of the edited input that must follow the edit too.
    :ivar margin: how far ahead of all others the wanted answer must be.
    :ivar backtracking: the last update is scaled back to where the request just holds.
    :ivar memory: the weight at which an edit in a row of edits minds the earlier ones, for editors that can.
    """

    method: Name | None = None
    layers: dict[Name, list[str]] = Field(default_factory=dict)
    trials: int = Field(default=8, ge=0)
    max_steps: int = Field(default=10, ge=1)
    fixed: dict[Name, float] = Field(default_factory=dict)
    ranges: Ranges = Field(default_factory=dict)
    max_edits: int | None = Field(default=None, ge=1)
    views: int | None = Field(default=None, ge=1)
    margin: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    backtracking: bool = False
    memory: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @property
    def asked(self) -> dict[str, Any]:
        """The options, by name: what is asked of the editor beside its hyperparameters."""
        return self.model_dump(include={"views", "margin", "backtracking", "memory"})

    def check(self, name: str) -> None:
        """Build the editor of the block ``name``, to see that it can be built.

        :raises InputError: naming the key that is wrong; EditError for a value out of its domain.
        """
        method, where = self.method or name, f"editors.{name}"
        check_known(f"{where}.method" if self.method else "editors", method, editors.available(), "available")
        description = editors.describe(method)
        tunable = {parameter.name: parameter for parameter in description.hyperparameters}
        for key, value in self.fixed.items():
            check_known(f"{where}.fixed", key, tunable, "its hyperparameters")
            tunable[key].check(value, f"{where}.fixed")
        if self.memory and "memory" not in description.options:
            raise InputError(f"{where}.memory: {method} remembers no edits, so it must be 0, not {self.memory:g}")
        editors.build(method, **self.fixed)
        for key, (low, high) in self.ranges.items():
            check_known(f"{where}.ranges", key, tunable, "its hyperparameters")
            tunable[key].check(low, f"{where}.ranges")
            tunable[key].check(high, f"{where}.ranges")
            if low > high:
                raise InputError(f"{where}.ranges.{key}: {low:g} is above {high:g}")
            if tunable[key].log and low <= 0:
                raise InputError(f"{where}.ranges.{key}: is searched on a log scale, so it must begin above 0")
        for training, parts in self.layers.items():
            check_once(f"{where}.layers.{training}", [file_part(part) for part in parts])


class TuningSettings(Strict):
    """The edits on which hyperparameters are chosen, all from the tuning split.

    :ivar edits: whose drawdown is measured.
    :ivar success_edits: whose success is counted, those among them; it takes more of these, which need no control
        examples. None for the same.
    :ivar control_size: control examples that are drawn anew for each edit; None for the whole split.
    :ivar min_success: the constraint on the true success rate, in percent.
    :ivar confidence: with which it holds, given how many edits of a trial failed: one that just meets a limit on a few
        edits was lucky, and misses it on others.
    :ivar tf32: whether a GPU may round factors of products to TF32 while it tunes, about three times as fast; what is
        reported is computed in float32 all the same.
    """

    edits: int = Field(ge=1)
    success_edits: int | None = Field(default=None, ge=1)
    control_size: int | None = Field(default=None, ge=1)
    min_success: float = Field(ge=0, le=100)
    confidence: float = Field(default=0.9, ge=0.5, lt=1)
    tf32: bool = False

    @property
    def drawn(self) -> int:
        """The edits that are made."""
        return max(self.edits, self.success_edits or 0)


class EvaluationSettings(Strict):
    """The edits that are reported, all from the test split; ``shard`` of them are written at a time.

    :ivar control_size: control examples that are drawn anew for each edit; None for the whole split, on which edits are
        looked at all the same where a sample would mislead, as it does where drawdowns are small.
    """

    edits: int = Field(ge=1)
    control_size: int | None = Field(default=None, ge=1)
    shard: int = Field(default=50, ge=1)


class AnalysisSettings(Strict):
    """The cells whose trade-off curves are drawn, and the ``edits`` whose effect on every test example is kept.

    :ivar curves: further cells, of which the curve alone is made: claims compare rows that have one at equal success.
    """

    edits: int = Field(default=2, ge=2)
    shard: int = Field(default=50, ge=1)
    cells: list[CellNames] = Field(default_factory=list)
    curves: list[CellNames] = Field(default_factory=list)


class SequenceSettings(Strict):
    """Edits in a row: ``edits`` of them, in as many ``orders``, by each of ``cells``.

    :ivar source: what is edited: examples of the split to ``random`` labels, or the benchmark's ``mistakes`` to their
        true ones.
    :ivar split: ``test`` for what is reported, ``tuning`` for studies.
    :ivar control_size: examples on which the error is counted, the same ones all the time; None for all.
    """

    edits: int = Field(ge=1)
    orders: int = Field(ge=1)
    source: Literal["random", "mistakes"] = "random"
    split: Literal["test", "tuning"] = "test"
    control_size: int | None = Field(default=None, ge=1)
    cells: list[CellNames] = Field(min_length=1)


class JointSettings(Strict):
    """Edits made together as one request, by each of ``cells``, with the hyperparameters that single edits have.

    :ivar counts: how many are made together, each number in so many ``draws``; those that a model has not enough
        mistakes for are left out.
    :ivar sources: what is edited: ``mistakes`` of the model itself on the test split to their true labels, or test
        examples to ``random`` ones.
    :ivar in_a_row: of ``counts``, those whose edits are also made one after the other.
    :ivar max_steps: most gradient steps of a request; None for as many as for a single edit.
    """

    counts: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    draws: int = Field(default=5, ge=1)
    sources: list[Literal["mistakes", "random"]] = Field(default=["mistakes", "random"], min_length=1)
    in_a_row: list[int] = Field(default_factory=list)
    max_steps: int | None = Field(default=None, ge=1)
    cells: list[CellNames] = Field(min_length=1)

    @model_validator(mode="after")
    def _some(self) -> JointSettings:
        for name in ("counts", "sources", "in_a_row"):
            check_once(name, getattr(self, name))
        for count in self.in_a_row:
            if count not in self.counts:
                raise InputError(f"in_a_row: {count} is none of counts, {', '.join(map(str, self.counts))}")
        return self


class Benchmark(Strict):
    """Everything about one benchmark; each task has a class of its own that says more of data, models and trainings.

    :ivar task: the kind of task, which decides how data, trainings and edits are read.
    :ivar editors: rows of the leaderboard, in the order of pages.
    """

    task: str
    note: str
    data: DataSettings
    trainings: dict[Name, Training] = Field(min_length=1)
    editors: dict[Name, EditorSettings] = Field(min_length=1)
    tuning: TuningSettings
    evaluation: EvaluationSettings
    analysis: AnalysisSettings = AnalysisSettings()
    sequences: SequenceSettings | None = None
    joint: JointSettings | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Benchmark:
        for name in self.trainings:
            for source in self.sources_of(name):
                if source == name or source not in self.trainings:
                    others = ", ".join(other for other in self.trainings if other != name) or "no others"
                    raise InputError(f"trainings.{name}: cannot be made of {source!r}; there are {others}")
        for name, editor in self.editors.items():
            editor.check(name)
            for training in editor.layers:
                check_known(f"editors.{name}.layers", training, self.trainings, "trainings")
        for where, (training, editor, _) in self.named_cells():
            check_known(where, training, self.trainings, "trainings")
            check_known(where, editor, self.editors, "editors")
        return self

    def named_cells(self) -> Iterator[tuple[str, CellNames]]:
        """The cells that other stages than tuning and evaluation name, each with the path of the list it is in."""
        yield from (("analysis.cells", names) for names in self.analysis.cells)
        yield from (("analysis.curves", names) for names in self.analysis.curves)
        yield from (("sequences.cells", names) for names in (self.sequences.cells if self.sequences else ()))
        yield from (("joint.cells", names) for names in (self.joint.cells if self.joint else ()))

    def sources_of(self, training: str) -> tuple[str, ...]:
        """The trainings whose models one needs.

        :raises InputError: for a training that is not described.
        """
        return self.training(training).made_of

    def training(self, name: str) -> Training:
        """The block of a training.

        :raises InputError: for one that is not described.
        """
        check_known("training", name, self.trainings, "there are")
        return self.trainings[name]

    def editor(self, name: str) -> EditorSettings:
        """The block of an editor.

        :raises InputError: for one that is not described.
        """
        check_known("editor", name, self.editors, "there are")
        return self.editors[name]

    def method(self, name: str) -> str:
        """The name under which the editor of a block is registered."""
        return self.editor(name).method or name

    def layers_of(self, name: str) -> dict[str, list[str]]:
        """The parts of each model that the editor of a block edits, by training, those it is prepared for included."""
        found = dict(self.editor(name).layers)
        for training, block in self.trainings.items():
            if block.prepares and block.prepares[0] == name:
                found.setdefault(training, [block.prepares[1]])
        return found


def check_options(what: str, name: str, given: Mapping[str, Any], known: Mapping[str, inspect.Parameter]) -> None:
    """Check the options that are ``given`` to a function of parameters ``known``.

    :param what: what the function makes, such as ``dataset``, and ``name`` which one.
    :raises InputError: for one that it does not have or that is of another type, and for one that it needs.
    """
    for key in given:
        check_known(f"options of {what} {name!r}", key, known, "it has")
    for key, parameter in known.items():
        if key not in given:
            if parameter.default is inspect.Parameter.empty:
                raise InputError(f"{what} {name!r} needs the option {key!r}")
            continue
        try:
            TypeAdapter(parameter.annotation).validate_python(given[key], strict=True)
        except ValidationError as error:
            wanted = getattr(parameter.annotation, "__name__", None) or str(parameter.annotation)
            wanted = wanted.replace("None", "null").replace(" | ", " or ")
            raise InputError(f"option {key!r} of {what} {name!r} must be {wanted}, not {given[key]!r}") from error
