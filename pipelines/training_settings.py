"""How models are trained, as blocks of params.yaml: one kind of block for each recipe."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from baselines.cnp import CnpObjective, CnpTerms
from baselines.dknn import PARTS
from baselines.editable import EditableObjective, EditableTerms, EditObjective, EditTerms
from baselines.training import TrainingPlan

Name = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
"""Names become parts of file names."""


class Strict(BaseModel):
    """A block of params.yaml: unknown keys are errors, text is no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class _Training(Strict):
    """What every training has: see :class:`baselines.training.TrainingPlan`.

    ``architecture`` takes the place of the benchmark's, with the same options. ``start`` names a training whose model
    this one goes on from, as in section 4.3; parts that its model lacks, such as CNP's encoder, start anew.
    """

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    lr: float = Field(gt=0, allow_inf_nan=False)
    schedule: Literal["constant", "cosine"]
    clip_norm: float | None = Field(default=TrainingPlan.clip_norm, gt=0, allow_inf_nan=False)
    architecture: str | None = None
    start: Name | None = None

    @property
    def made_of(self) -> str | None:
        """The training whose model this one needs."""
        return self.start

    @property
    def plan(self) -> TrainingPlan:
        """How long and how fast to train."""
        return TrainingPlan(**{field.name: getattr(self, field.name) for field in fields(TrainingPlan)})


class PlainTraining(_Training):
    """The base loss alone."""

    recipe: Literal["plain"]


class _EditingTraining(_Training):
    """What every training has whose objective makes edits: see :class:`baselines.editable.EditTerms`."""

    c_edit: float
    c_loc: float
    edits: int = EditTerms.edits
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

    terms_type = CnpTerms
    objective_type = CnpObjective


class EditableTraining(_EditingTraining):
    """Editable Training: see :class:`baselines.editable.EditableTerms`."""

    recipe: Literal["editable"]
    editor: str
    layers: str
    max_steps: int = EditableTerms.max_steps
    learning_rate: str = EditableTerms.learning_rate
    hyperparameters: dict[Name, float] = Field(default_factory=dict)

    terms_type = EditableTerms
    objective_type = EditableObjective


class DknnTraining(Strict):
    """A classifier by nearest neighbours, made of another training's network: see :mod:`baselines.dknn`.

    ``network`` names that training, ``parts`` the parts of it whose activations are compared.
    """

    recipe: Literal["dknn"]
    network: Name
    k: int = Field(ge=1)
    parts: list[str] = Field(default_factory=lambda: list(PARTS), min_length=1)

    architecture: ClassVar[None] = None
    plan: ClassVar[None] = None

    @property
    def made_of(self) -> str:
        """The training whose model this one needs."""
        return self.network


TrainingSettings = Annotated[
    PlainTraining | EditableTraining | CnpTraining | DknnTraining, Field(discriminator="recipe")
]
"""How a model is trained: a block of its own for each ``recipe``."""
