"""How classifiers are made: one kind of block for each recipe."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from baselines import edit_targets
from baselines.cnp import EDITOR, CnpObjective, CnpTerms
from baselines.dknn import PARTS
from baselines.editable import EditableObjective, EditableTerms, EditObjective, EditTerms
from baselines.images import ImagePlan
from benchmarks.errors import InputError
from editors.methods.condition_vector import PART
from pipelines.config.blocks import Name, Training


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
        """The trainings whose models this one needs."""
        return tuple(dict.fromkeys(name for name in (self.start, self.taught_by) if name is not None))

    @model_validator(mode="after")
    def _new_beside_old(self) -> Self:
        if self.lr_new is not None and self.start is None:
            raise InputError("lr_new needs start: without a model to go on from, all parameters are new")
        return self

    @property
    def plan(self) -> ImagePlan:
        """How long and how fast to train."""
        return ImagePlan(**{field.name: getattr(self, field.name) for field in fields(ImagePlan)})


class PlainTraining(_Trained):
    """The base loss alone."""

    recipe: Literal["plain"]


class DistilledTraining(_Trained):
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
        return self.terms_type(**{field.name: getattr(self, field.name) for field in fields(self.terms_type)})

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


class EditableTraining(_EditingTraining):
    """Editable Training: see :class:`baselines.editable.EditableTerms`.

    With a ``teacher``, the base loss is that of ``distilled``. ``targets`` says which edits training makes, see
    :mod:`baselines.edit_targets`; all but ``random`` need the benchmark's ``mistakes``.
    """

    recipe: Literal["editable"]
    targets: Literal["random", "match_ranks", "mistakes"] = edit_targets.RANDOM
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
        """The trainings whose models this one needs."""
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
        """The trainings whose models this one needs."""
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
    return getattr(training, "targets", edit_targets.RANDOM)
