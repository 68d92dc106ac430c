"""What params.yaml says about translation: one block for each benchmark of Table 6."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pydantic import Field, ValidationError, model_validator

import editors
from baselines.editable_translation import TranslationEditTerms
from baselines.translation import TranslationPlan
from benchmarks.errors import InputError
from benchmarks.translation import corpora
from benchmarks.translation.model import LAST_DECODER_LAYER, Architecture
from benchmarks.translation.requests import ALTERNATIVES, TEMPERATURE
from editors.constraints import SCORES
from pipelines.config.benchmarks import TuningSettings, check_options
from pipelines.config.params import Settings
from pipelines.config.trainings import Name, Strict
from pipelines.config.yaml_files import sentence


class CorpusSettings(Strict):
    """Which corpus, with the options that its file in ``benchmarks/translation/corpora`` takes."""

    corpus: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> CorpusSettings:
        check_options("corpus", self.corpus, self.options, corpora.options(self.corpus))
        return self


class ArchitectureSettings(Strict):
    """See :class:`benchmarks.translation.model.Architecture`."""

    embed_dim: int = Field(default=Architecture.embed_dim, ge=2)
    ffn_dim: int = Field(default=Architecture.ffn_dim, ge=1)
    heads: int = Field(default=Architecture.heads, ge=1)
    layers: int = Field(default=Architecture.layers, ge=1)
    dropout: float = Field(default=Architecture.dropout, ge=0, lt=1)
    max_positions: int = Field(default=Architecture.max_positions, ge=2)

    @model_validator(mode="after")
    def _divisible(self) -> ArchitectureSettings:
        if self.embed_dim % self.heads:
            raise InputError(f"embed_dim must be a multiple of heads, not {self.embed_dim} for {self.heads}")
        return self


class EditingSettings(Strict):
    """Editable Training: see :class:`baselines.editable_translation.TranslationEditTerms`.

    ``pool`` requests are drawn on training sentences, each with so many ``alternatives``.
    """

    editor: str
    layers: str = LAST_DECODER_LAYER
    hyperparameters: dict[Name, float] = Field(default_factory=dict)
    max_steps: int = Field(default=TranslationEditTerms.max_steps, ge=1)
    c_edit: float
    c_loc: float
    pool: int = Field(ge=1)
    alternatives: int = Field(default=ALTERNATIVES, ge=1)

    def terms(self, score: str) -> TranslationEditTerms:
        """Which edits the model is prepared for."""
        names = {field.name for field in fields(TranslationEditTerms)} - {"score"}
        return TranslationEditTerms(**{name: getattr(self, name) for name in names}, score=score)

    @model_validator(mode="after")
    def _valid(self) -> EditingSettings:
        self.terms(SCORES[0])
        return self


class TranslationTraining(Strict):
    """See :class:`baselines.translation.TranslationPlan`.

    ``start`` names a training whose model this one goes on from; ``editing`` makes it Editable Training.
    """

    epochs: int = Field(ge=1)
    lr: float = Field(default=TranslationPlan.lr, gt=0, allow_inf_nan=False)
    warmup: int = Field(default=TranslationPlan.warmup, ge=0)
    tokens: int = Field(default=TranslationPlan.tokens, ge=1)
    patience: int = Field(default=TranslationPlan.patience, ge=1)
    weight_decay: float = Field(default=TranslationPlan.weight_decay, ge=0, allow_inf_nan=False)
    smoothing: float = Field(default=TranslationPlan.smoothing, ge=0, lt=1)
    clip_norm: float | None = Field(default=TranslationPlan.clip_norm, gt=0, allow_inf_nan=False)
    mixed_precision: bool = TranslationPlan.mixed_precision
    start: Name | None = None
    editing: EditingSettings | None = None

    @property
    def made_of(self) -> set[str]:
        """The trainings whose models this one needs: where it starts, and whose edits it learns from."""
        return ({self.start} if self.start else set()) | ({"plain"} if self.editing else set())

    @property
    def plan(self) -> TranslationPlan:
        """How long and how fast to train."""
        return TranslationPlan(**{field.name: getattr(self, field.name) for field in fields(TranslationPlan)})


class TranslationEdits(Strict):
    """The edits that are reported, all on test sentences and drawn from the model of the training ``plain``.

    Each is scored on ``control_size`` test sentences, drawn anew; null means all of them.
    """

    count: int = Field(ge=1)
    control_size: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=TEMPERATURE, gt=0, allow_inf_nan=False)
    alternatives: int = Field(default=ALTERNATIVES, ge=1)
    score: str = SCORES[0]
    shard: int = Field(default=20, ge=1)

    @model_validator(mode="after")
    def _known(self) -> TranslationEdits:
        if self.score not in SCORES:
            raise InputError(f"score must be one of {', '.join(SCORES)}, not {self.score!r}")
        return self


class TranslationTuning(TuningSettings):
    """The search for the hyperparameters that rows name in ``search``; edits and sentences are those of validation."""

    trials: int = Field(ge=1)


class RowSettings(Strict):
    """A row of Table 6: an editor with its hyperparameters, and whose model it edits where.

    ``search`` names hyperparameters that are tuned instead: smallest BLEU drawdown at the required success. ``views``
    sentences near the edited one must follow the edit too.
    """

    training: Name
    editor: str
    layers: str = LAST_DECODER_LAYER
    hyperparameters: dict[Name, float] = Field(default_factory=dict)
    search: list[Name] = Field(default_factory=list)
    max_steps: int = Field(default=10, ge=1)
    views: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _buildable(self) -> RowSettings:
        editor = self.build()
        if editor.needs_statistics and editor.needs_labels:
            raise InputError(f"editor {self.editor!r} must know classes of its training data: translators have none")
        known = [parameter.name for parameter in editors.describe(self.editor).hyperparameters]
        for name in self.search:
            if name not in known or name in self.hyperparameters:
                free = ", ".join(one for one in known if one not in self.hyperparameters)
                raise InputError(f"search: {name!r} cannot be tuned for this row; {self.editor} leaves: {free}")
        return self

    def build(self, **tuned: float) -> editors.Editor:
        """The editor, with ``tuned`` hyperparameters where there are any."""
        return editors.build(self.editor, **{**self.hyperparameters, **tuned}, max_steps=self.max_steps)

    @property
    def described(self) -> str:
        """Editor, layers and hyperparameters as a part of the names of files."""
        values = [f"{name}{value:g}" for name, value in self.hyperparameters.items()]
        more = [] if self.views is None else [f"views{self.views}"]
        return "-".join([self.editor, self.layers, *more, *values, *(f"tuned_{name}" for name in self.search)])


class TranslationSettings(Strict):
    """Everything about one benchmark of Table 6."""

    note: str
    data: CorpusSettings
    model: ArchitectureSettings
    trainings: dict[Name, TranslationTraining]
    edits: TranslationEdits
    tuning: TranslationTuning | None = None
    rows: list[RowSettings] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> TranslationSettings:
        if "plain" not in self.trainings or self.trainings["plain"].start or self.trainings["plain"].editing:
            raise InputError(
                "trainings must have `plain`, made from scratch and without editing: edits are drawn from it"
            )
        for name, training in self.trainings.items():
            if training.start is not None and (training.start not in self.trainings or training.start == name):
                raise InputError(f"trainings.{name}.start: unknown training {training.start!r}")
        for row in self.rows:
            if row.training not in self.trainings:
                known = ", ".join(self.trainings)
                raise InputError(f"rows: unknown training {row.training!r}; there are: {known}")
            if row.search and self.tuning is None:
                raise InputError(f"rows: {row.training!r} has a 'search', so there must be a block 'tuning'")
        if len({(row.training, row.described) for row in self.rows}) < len(self.rows):
            raise InputError("rows: two are alike")
        return self


def read(settings: Settings, benchmark: str) -> TranslationSettings:
    """What params.yaml says about one benchmark of Table 6.

    :raises InputError: one sentence, if it says nothing, or something that cannot be.
    """
    if benchmark not in settings.translation:
        known = ", ".join(settings.translation) or "none"
        raise InputError(f"translation: unknown benchmark {benchmark!r}; params.yaml describes: {known}")
    try:
        return TranslationSettings.model_validate(settings.translation[benchmark])
    except ValidationError as error:
        raise InputError(f"translation.{benchmark}: {sentence(error, TranslationSettings)}") from error
