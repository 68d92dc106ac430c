"""What the configuration of a benchmark of images says: data, network, trainings by recipe, realistic mistakes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from torch import Tensor
from torch.overrides import TorchFunctionMode

from baselines.cnp import EDITOR, CnpObjective, CnpTerms
from baselines.dknn import PARTS
from baselines.edit_targets import RANDOM
from baselines.editable import EditableObjective, EditableTerms, EditObjective, EditTerms
from baselines.images import ImagePlan
from benchmarks import datasets, models
from benchmarks.errors import InputError, check_known
from editors.methods.condition_vector import PART
from pipelines.config.blocks import Benchmark, CellNames, DataSettings, Name, Strict, Training, check_options

_FILLS = (Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_)


class ImageData(DataSettings):
    """A dataset of ``benchmarks/datasets``."""

    @model_validator(mode="after")
    def _known(self) -> ImageData:
        check_options("dataset", self.dataset, self.options, datasets.options(self.dataset))
        return self


class ModelSettings(Strict):
    """An architecture of ``benchmarks/models``, with the options that its file takes."""

    architecture: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> ModelSettings:
        for key in ("name", "channels", "classes"):
            if key in self.options:
                raise InputError(f"{key!r} of architecture {self.architecture!r} is no option: the data decide it")
        _build(self.architecture, json.dumps(self.options, sort_keys=True, default=str))
        return self


class MistakesSettings(Strict):
    """Realistic mistakes: images that the model of ``training`` gets wrong; ``edits`` of them are for evaluation."""

    training: Name
    edits: int = Field(ge=1)


class SimilarSettings(Strict):
    """Edits of mistakes whose effect is looked at on the test image most like each (section 4.3.1).

    :ivar edits: the most mistakes to edit, None for all; ``augmentations`` of each, and of the similar image.
    :ivar embedding: what is alike: ``inception_v3`` by torchvision's InceptionV3, ``pooled`` by the pre-trained model's
        own features before its last layer, ``pixels`` by the images themselves, ``auto`` by InceptionV3 if its weights
        are on this machine, else ``pooled``.
    """

    edits: int | None = Field(default=None, ge=1)
    augmentations: int = Field(default=5, ge=1)
    embedding: Literal["auto", "inception_v3", "pooled", "pixels"] = "auto"
    cells: list[CellNames] = Field(min_length=1)


class _Trained(Training):
    """What every training has: see :class:`baselines.images.ImagePlan`.

    ``architecture`` takes the place of the benchmark's, with the same options and those in ``options``. ``start`` names
    a training whose model this one goes on from, as in section 4.3; parts that its model lacks, such as CNP's encoder
    or an extra layer, start anew, and are trained at ``lr_new`` if that is given.
    """

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    lr: float = Field(gt=0, allow_inf_nan=False)
    schedule: Literal["constant", "cosine", "triangular"]
    clip_norm: float | None = Field(default=ImagePlan.clip_norm, gt=0, allow_inf_nan=False)
    optimizer: Literal["adam", "sgd"] = ImagePlan.optimizer
    lr_new: float | None = Field(default=ImagePlan.lr_new, gt=0, allow_inf_nan=False)
    mixed_precision: bool = ImagePlan.mixed_precision
    cutout: int | None = Field(default=ImagePlan.cutout, ge=1)
    architecture: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    start: Name | None = None

    @property
    def taught_by(self) -> str | None:
        """The training whose answers take the place of labels in the base loss; None for labels."""
        return None

    @property
    def made_of(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name in (self.start, self.taught_by) if name is not None))

    @model_validator(mode="after")
    def _new_beside_old(self) -> Self:
        if self.lr_new is not None and self.start is None:
            raise InputError("lr_new needs start: without a model to go on from, all parameters are new")
        return self

    @property
    def plan(self) -> ImagePlan:
        """How long and how fast to train."""
        return self._fill(ImagePlan)


class _SharedTraining(_Trained):
    """What trainings have that several GPUs can share.

    :ivar ranks: the shares of each batch, see :mod:`baselines.ranks`; 1 for whole batches.
    """

    ranks: int = Field(default=1, ge=1, exclude_if=lambda ranks: ranks == 1)

    @model_validator(mode="after")
    def _shareable(self) -> Self:
        if self.batch_size < 2 * self.ranks:
            raise InputError(f"batch_size must be at least 2 for each of {self.ranks} ranks, not {self.batch_size}")
        return self


class PlainTraining(_Trained):
    """The base loss alone."""

    recipe: Literal["plain"]


class DistilledTraining(_SharedTraining):
    """The answers of the training that ``teacher`` names, learned without labels (section 4.3)."""

    recipe: Literal["distilled"]
    teacher: Name

    @property
    def taught_by(self) -> str:
        return self.teacher


class _EditingTraining(_Trained):
    """What every training has whose objective makes edits: see :class:`baselines.editable.EditTerms`.

    ``reference_mode`` is the batch normalisation of p; there is none for p-hat, because the edited model answers in
    evaluation mode, as it will be used.
    """

    c_edit: float
    c_loc: float
    edits: int = EditTerms.edits
    edited_image: str = EditTerms.edited_image
    locality: str = EditTerms.locality
    detach_reference: bool = EditTerms.detach_reference
    reference_mode: str = EditTerms.reference_mode

    terms_type: ClassVar[type[EditTerms]]
    objective_type: ClassVar[type[EditObjective]]

    @property
    def terms(self) -> EditTerms:
        """Which edits are made, and how their losses enter the objective."""
        return self._fill(self.terms_type)

    @model_validator(mode="after")
    def _valid(self) -> Self:
        self.objective_type(self.terms)
        return self


class CnpTraining(_EditingTraining):
    """Editable+CNP: see :class:`baselines.cnp.CnpTerms`."""

    recipe: Literal["cnp"]
    margin: float = CnpTerms.margin
    front: str = CnpTerms.front
    copies: int | None = CnpTerms.copies

    terms_type = CnpTerms
    objective_type = CnpObjective

    @model_validator(mode="after")
    def _has_a_network(self) -> Self:
        if self.front == "frozen" and self.start is None:
            raise InputError("front: frozen needs start, the training that made it")
        return self

    @property
    def prepares(self) -> tuple[str, str]:
        return EDITOR, PART


class EditableTraining(_EditingTraining, _SharedTraining):
    """Editable Training: see :class:`baselines.editable.EditableTerms`.

    With a ``teacher``, the base loss is that of ``distilled``. ``targets`` says which edits training makes, see
    :mod:`baselines.edit_targets`; all but ``random`` need the benchmark's ``mistakes``.
    """

    recipe: Literal["editable"]
    targets: Literal["random", "match_ranks", "mistakes"] = RANDOM
    teacher: Name | None = None
    editor: str
    layers: str
    max_steps: int = EditableTerms.max_steps
    learning_rate: str = EditableTerms.learning_rate
    hyperparameters: dict[Name, float] = Field(default_factory=dict)

    terms_type = EditableTerms
    objective_type = EditableObjective

    @property
    def taught_by(self) -> str | None:
        return self.teacher

    @property
    def prepares(self) -> tuple[str, str]:
        return self.editor, self.layers


class PretrainedTraining(Training):
    """Weights of a torchvision network that others trained: ``weights`` is torchvision's name for them, or a file."""

    recipe: Literal["pretrained"]
    weights: str = "DEFAULT"
    architecture: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class ExtendedTraining(Training):
    """The model of the training ``start`` in another architecture, whose new parts are left at random (section 4.3)."""

    recipe: Literal["extended"]
    start: Name
    architecture: str
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def made_of(self) -> tuple[str, ...]:
        return (self.start,)


class DknnTraining(Training):
    """A classifier by nearest neighbours, made of another training's network: see :mod:`baselines.dknn`.

    ``network`` names that training, ``parts`` the parts of it whose activations are compared.
    """

    recipe: Literal["dknn"]
    network: Name
    k: int = Field(ge=1)
    parts: list[str] = Field(default_factory=lambda: list(PARTS), min_length=1)

    architecture: ClassVar[None] = None
    options: ClassVar[dict[str, Any]] = {}

    @property
    def prepares(self) -> tuple[str, str]:
        return "flip_labels", "votes"

    @property
    def made_of(self) -> tuple[str, ...]:
        return (self.network,)


ImageTraining = Annotated[
    PlainTraining
    | DistilledTraining
    | EditableTraining
    | CnpTraining
    | PretrainedTraining
    | ExtendedTraining
    | DknnTraining,
    Field(discriminator="recipe"),
]
"""How a model is trained: a block of its own for each ``recipe``."""


def targets_of(training: Training) -> str:
    """How a training's edits are drawn, see :mod:`baselines.edit_targets`; ``random`` for one that makes none."""
    return getattr(training, "targets", RANDOM)


class ImageBenchmark(Benchmark):
    """Everything about one benchmark of images.

    :ivar mistakes: None where edits get random targets only.
    """

    data: ImageData
    model: ModelSettings
    trainings: dict[Name, ImageTraining] = Field(min_length=1)
    mistakes: MistakesSettings | None = None
    similar: SimilarSettings | None = None

    @field_validator("mistakes")
    @classmethod
    def _of_a_training(cls, given: MistakesSettings | None, info: ValidationInfo) -> MistakesSettings | None:
        if given is not None and "trainings" in info.data:
            check_known("training", given.training, info.data["trainings"], "trainings")
        return given

    @model_validator(mode="after")
    def _trainable(self) -> ImageBenchmark:
        for name, training in self.trainings.items():
            try:
                self.model_of(name)
            except ValidationError as error:
                raise InputError(f"trainings.{name}.architecture: {error.errors()[0]['ctx']['error']}") from error
            if self.mistakes is None and targets_of(training) != RANDOM:
                raise InputError(f"trainings.{name}.targets: without a block 'mistakes', targets must be {RANDOM}")
        return self

    @model_validator(mode="after")
    def _with_mistakes(self) -> ImageBenchmark:
        if self.mistakes is not None:
            if not datasets.has_candidates(self.data.dataset):
                raise InputError(f"mistakes: dataset {self.data.dataset!r} has no images for mistakes: write null")
        elif self.similar is not None:
            raise InputError("similar: whether a label is right for another image too can be asked of 'mistakes' only")
        elif self.sequences is not None and self.sequences.source == "mistakes":
            raise InputError("sequences.source: there is no block 'mistakes', so it must be random")
        return self

    def named_cells(self) -> Iterator[tuple[str, CellNames]]:
        yield from super().named_cells()
        yield from (("similar.cells", names) for names in (self.similar.cells if self.similar else ()))

    def sources_of(self, training: str) -> tuple[str, ...]:
        found = super().sources_of(training)
        if self.mistakes is not None and targets_of(self.training(training)) != RANDOM:
            found += (self.mistakes.training,)
        return tuple(dict.fromkeys(found))

    def model_of(self, training: str) -> ModelSettings:
        """The network that a training trains: the benchmark's, but for its own architecture and options."""
        chosen = self.training(training)
        architecture = chosen.architecture or self.model.architecture
        return ModelSettings(architecture=architecture, options=self.model.options | chosen.options)


@cache  # a configuration names the same few networks in dozens of places
def _build(name: str, options: str) -> None:
    """Build a network to see that it can be built, without memory, numbers or random draws.

    :raises InputError: as :func:`benchmarks.models.make` does.
    """
    with torch.device("meta"), _NoInitialisation():
        models.make(name, channels=3, classes=2, **json.loads(options))


class _NoInitialisation(TorchFunctionMode):
    """Leaves the values of new parameters alone: drawing them on the meta device takes seconds in large networks."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        fills = getattr(func, "__module__", None) == "torch.nn.init" or func in _FILLS
        return (args[0] if args else kwargs["tensor"]) if fills else func(*args, **kwargs)
