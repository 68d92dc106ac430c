"""Translating sentences: the adapter between the stages and benchmarks/translation, with its training objective."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pandas as pd
from pydantic import Field, model_validator

import editors
from baselines import editable_translation, translation
from baselines.editable_translation import EditableTranslation, TranslationEditTerms
from baselines.model_files import WEIGHTS
from baselines.training import Objective, train
from baselines.translation import LabelSmoothed, SentencePairs, TranslationPlan, TranslatorDescription, load_translator
from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from benchmarks.seeds import drawn_from
from benchmarks.translation import bleu, corpora, corpus, metrics, requests, scoring, wording
from benchmarks.translation.corpus import Corpus
from benchmarks.translation.examples import examples
from benchmarks.translation.model import LAST_DECODER_LAYER, Architecture, Translator
from benchmarks.translation.scoring import TranslationScorer
from editors.constraints import SCORES
from pipelines.config.blocks import Benchmark, DataSettings, Name, Strict, Training, check_options
from pipelines.config.params import Settings
from pipelines.jobs.cells import PROTOCOL, Cell, ModelKey
from pipelines.jobs.progress import Progress
from pipelines.reporting.tables.paper import DIRECTORY, LEADERBOARD, in_papers_order, leaderboard
from pipelines.reporting.tables.presentation import Presentation, Table
from pipelines.reporting.tables.sheet import escape
from pipelines.store.fingerprint import fingerprint, is_made_of, write_made_of
from pipelines.store.layout import Layout, read_json, repeated, write_csv
from pipelines.tasks import register
from pipelines.tasks.base import EditSet, Made, OnEpoch, Task

PLAIN = "plain"
"""The training whose model edits are drawn from."""
_SPLITS = {"tuning": "valid", "test": "test"}


class Corpora(DataSettings):
    """A corpus of ``benchmarks/translation/corpora``."""

    @model_validator(mode="after")
    def _known(self) -> Corpora:
        check_options("corpus", self.dataset, self.options, corpora.options(self.dataset))
        return self


class Sizes(Strict):
    """See :class:`benchmarks.translation.model.Architecture`."""

    embed_dim: int = Field(default=Architecture.embed_dim, ge=2)
    ffn_dim: int = Field(default=Architecture.ffn_dim, ge=1)
    heads: int = Field(default=Architecture.heads, ge=1)
    layers: int = Field(default=Architecture.layers, ge=1)
    dropout: float = Field(default=Architecture.dropout, ge=0, lt=1)
    max_positions: int = Field(default=Architecture.max_positions, ge=2)

    @model_validator(mode="after")
    def _divisible(self) -> Sizes:
        if self.embed_dim % self.heads:
            raise InputError(f"embed_dim must be a multiple of heads, not {self.embed_dim} for {self.heads}")
        return self


class PlainTranslation(Training):
    """See :class:`baselines.translation.TranslationPlan`.

    :ivar start: the training whose model this one goes on from.
    """

    recipe: Literal["plain"]
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

    @property
    def made_of(self) -> tuple[str, ...]:
        return (self.start,) if self.start else ()

    @property
    def plan(self) -> TranslationPlan:
        """How long and how fast to train."""
        return self._fill(TranslationPlan)


class EditableTranslationTraining(PlainTranslation):
    """Editable Training: see :class:`baselines.editable_translation.TranslationEditTerms`.

    :ivar pool: requests that are drawn on training sentences, each with so many ``alternatives``.
    """

    recipe: Literal["editable"]  # type: ignore[assignment]
    editor: str
    layers: str = LAST_DECODER_LAYER
    hyperparameters: dict[Name, float] = Field(default_factory=dict)
    max_steps: int = Field(default=TranslationEditTerms.max_steps, ge=1)
    c_edit: float
    c_loc: float
    pool: int = Field(ge=1)
    alternatives: int = Field(default=requests.ALTERNATIVES, ge=1)

    @property
    def made_of(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*super().made_of, PLAIN)))

    @property
    def prepares(self) -> tuple[str, str]:
        return self.editor, self.layers

    def terms(self, score: str) -> TranslationEditTerms:
        """Which edits the model is prepared for."""
        return self._fill(TranslationEditTerms, score=score)

    @model_validator(mode="after")
    def _valid(self) -> Self:
        self.terms(SCORES[0])
        return self


class RequestSettings(Strict):
    """How edits are drawn from the model of the training ``plain``, and how translations are compared."""

    temperature: float = Field(default=requests.TEMPERATURE, gt=0, allow_inf_nan=False)
    alternatives: int = Field(default=requests.ALTERNATIVES, ge=1)
    score: Literal[SCORES] = SCORES[0]  # type: ignore[valid-type]


class TranslationBenchmark(Benchmark):
    """Everything about one benchmark of translation."""

    data: Corpora
    model: Sizes
    trainings: dict[Name, Annotated[PlainTranslation | EditableTranslationTraining, Field(discriminator="recipe")]] = (
        Field(min_length=1)
    )
    requests: RequestSettings = RequestSettings()

    @model_validator(mode="after")
    def _drawable(self) -> TranslationBenchmark:
        plain = self.trainings.get(PLAIN)
        if plain is None or plain.made_of:
            raise InputError(f"trainings must have `{PLAIN}`, made from scratch: edits are drawn from its model")
        for name, block in self.editors.items():
            editor = editors.build(block.method or name, **block.fixed)
            if editor.needs_statistics and editor.needs_labels:
                raise InputError(f"editors.{name}: it must know classes of its training data: sentences have none")
        return self


def _caption(settings: Settings, benchmark: str) -> dict[str, str]:
    block = settings.benchmark(benchmark)
    asked = block.requests
    return {"caption": wording.caption(asked.temperature, asked.alternatives, block.evaluation.control_size)}


def _note(settings: Settings, cell: Cell) -> str:
    block = settings.benchmark(cell.benchmark)
    notes = [wording.training_note(block.training(cell.training)), wording.views_note(block.editor(cell.editor).views)]
    return "; ".join(filter(None, notes))


def _kept(cell: Cell) -> list[Path]:
    folder = cell.layout.results / "translations"
    return [folder / f"{cell.model.name}.csv", folder / f"{cell.model.name}.timing.json"]


_SPREAD = [f"{name}_{seeds}_std" for name in ("bleu_drawdown", "bleu") for seeds in ("seeds", "edit_seeds")]
TRANSLATORS = Presentation(
    measures=metrics.TRANSLATIONS,
    quality=lambda cell, description: bleu.Bleu.read(description, *_kept(cell)),
    tables=(
        Table(
            name="table6",
            title=wording.TITLE,
            caption="{caption}",
            columns=(*wording.COLUMNS, *_SPREAD),
            rows=partial(in_papers_order, table="table6"),
            main=True,
            picture=wording.PICTURE,
        ),
    ),
    leaderboard=Table(
        name="leaderboard",
        title=LEADERBOARD.title,
        caption="{caption}",
        columns=(*wording.COLUMNS, *_SPREAD),
        rows=partial(leaderboard, tables=("table6",)),
    ),
    headline=wording.HEADLINE,
    claims=DIRECTORY / "table6_claims.yaml",
    axes={"bleu_drawdown": "BLEU drawdown (points)", "bleu": "BLEU after training"},
    histories={"Training objective (nats)": ("train_loss",), "Loss (nats per token)": ("valid_loss",)},
    judged=("valid_loss", "nats"),
    edited=wording.EDITED,
    note=_note,
    published_training=lambda settings, benchmark, training: wording.published_training(
        training, settings.benchmark(benchmark).training(training)
    ),
    words=_caption,
    examples=partial(examples, escape=escape),
    files=wording.FILES,
)


@register
class TranslationTask(Task):
    """Sentences are edited to get another translation; drawdown is the change of BLEU on the other sentences."""

    name = "translation"
    settings = TranslationBenchmark
    data_file = corpus.DESCRIPTION
    presentation = TRANSLATORS
    rescorable = 0  # decoding the whole split for each of the best trials would cost too much

    load = staticmethod(corpus.load)
    kept = staticmethod(_kept)

    def prepare(self, chosen: TranslationBenchmark, folder: Path) -> str:
        made = corpus.prepare(corpora.make(chosen.data.dataset, **chosen.data.options))
        corpus.save(made, folder)
        counts = f"{len(made.train)} training, {len(made.valid)} validation and {len(made.test)} test pairs"
        return f"{counts}, {len(made.source)} and {len(made.target)} units"

    def data_code(self, chosen: TranslationBenchmark) -> Sequence[str | Path]:
        return [corpus.__file__, corpora.file_of(chosen.data.dataset)]

    def make(self, settings: Settings, key: ModelKey, data: Corpus, on_epoch: OnEpoch) -> Made:
        block = settings.benchmark(key.benchmark)
        chosen, axes = block.training(key.training), (settings.seed, key.benchmark, key.training, key.seed)
        model, objective = _start(settings, key, data), _objective(settings, key, data)
        trained = train(
            *(model, objective, SentencePairs(data, model), chosen.plan, key.checkpoints, axes),
            on_epoch=lambda epoch: on_epoch(epoch.numbers),
        )
        kept, history = trained.kept, [epoch.numbers for epoch in trained.history]
        loss = kept.scores["valid_loss"]
        description = TranslatorDescription(
            architecture=asdict(trained.model.architecture),
            training=key.training,
            epoch=kept.epoch,
            epochs=len(history),
            valid_loss=loss,
            corpus=data.fingerprint,
        )
        outcome = f"kept epoch {kept.epoch} of {len(history)}, {loss:.3f} nats a token"
        return Made(trained.model, description, outcome, history, trained.seconds)

    def made_from(self, settings: Settings, key: ModelKey) -> tuple[list[Any], Sequence[str | Path]]:
        block = settings.benchmark(key.benchmark)
        chosen, decides = block.training(key.training), [block.model.model_dump()]
        if not isinstance(chosen, EditableTranslationTraining):
            return decides, [translation.__file__]
        code = [translation.__file__, editable_translation.__file__, editors.file_of(chosen.editor)]
        return [*decides, block.requests.model_dump(include={"score", "temperature"})], code

    def draw(self, settings: Settings, benchmark: str, edits: EditSet) -> None:
        path, plain = _requests(benchmark, edits), ModelKey(benchmark, PLAIN, settings.training_seeds[0])
        chosen = settings.benchmark(benchmark).requests.model_dump(include={"temperature", "alternatives"})
        split, axes = _SPLITS[edits.split], (settings.seed, benchmark, *([edits.seed] if edits.seed else []))
        made_of = [
            plain.folder / WEIGHTS,
            Layout(benchmark).data / self.data_file,
        ]  # sentences go by their numbers there
        found = fingerprint([PROTOCOL, split, edits.count, chosen, *axes], [requests.__file__], made_of)
        what = f"draw {edits.split} edits of {benchmark}"
        if is_made_of(path.with_suffix(".json"), found, path):
            print(f"{what}: unchanged", flush=True)
            return
        data = self.load(Layout(benchmark).data)
        model = load_translator(plain.folder, data, settings.torch_device())
        drawn = requests.draw_requests(model, data, split, edits.count, *axes, split, **chosen)
        _save(path, data, drawn, Progress(what, edits.count, "edits"))
        write_made_of(path.with_suffix(".json"), found)

    def edits_from(self, settings: Settings, cell: Cell, edits: EditSet) -> list[Any]:
        path = _requests(cell.benchmark, edits)
        if not (drawn := read_json(path.with_suffix(".json"))):
            raise InputError(f"{path} is missing: run the stage that draws it first")
        return [drawn, settings.benchmark(cell.benchmark).requests.score]

    def scorer(
        self, settings: Settings, cell: Cell, data: Corpus, edits: EditSet, control_size: int | None, **demand: Any
    ) -> TranslationScorer:
        if demand["margin"]:
            raise InputError(f"{cell}: margin: translations are compared without one, so it must be 0")
        model = load_translator(cell.model.folder, data, settings.torch_device())
        asked = requests.load_requests(_requests(cell.benchmark, edits), data)[: edits.count]
        score = settings.benchmark(cell.benchmark).requests.score
        options = {"control_size": control_size, "score": score, "split_name": _SPLITS[edits.split]}
        return TranslationScorer(model, cell.layers, data, asked, **options, views=demand["views"])

    def scoring_code(self, settings: Settings, cell: Cell) -> Sequence[str | Path]:
        return [scoring.__file__, metrics.__file__]  # by its measure, tuning chooses

    def keep(self, scorer: TranslationScorer, cell: Cell) -> None:
        table, timing = self.kept(cell)
        counts = pd.DataFrame(scorer.counts_before, columns=list(bleu.COUNTED))
        write_csv(table, counts.assign(translation=list(scorer.translations)), digits=7)
        taken = {"seconds": round(scorer.seconds, 3), "sentences": len(scorer.translations)}
        write_atomically(timing, json.dumps(taken) + "\n")


def _start(settings: Settings, key: ModelKey, data: Corpus) -> Translator:
    """The model as it is before training: at random, or as another training left it."""
    block, device = settings.benchmark(key.benchmark), settings.torch_device()
    axes = (settings.seed, key.benchmark, key.training, key.seed)
    with drawn_from(*axes, "initial weights", device=device):
        made = Translator(Architecture(**block.model.model_dump()), data.source, data.target).to(device)
    start = block.training(key.training).start
    if start is not None:
        source = ModelKey(key.benchmark, start, key.seed)
        made.load_state_dict(load_translator(source.folder, data, device).state_dict())
    return made


def _objective(settings: Settings, key: ModelKey, data: Corpus) -> Objective:
    block = settings.benchmark(key.benchmark)
    chosen, pool = block.training(key.training), key.checkpoints / "pool.jsonl"
    if not isinstance(chosen, EditableTranslationTraining):
        return LabelSmoothed(chosen.smoothing)
    if not pool.exists():
        plain = load_translator(ModelKey(key.benchmark, PLAIN, key.seed).folder, data, settings.torch_device())
        options = {"temperature": block.requests.temperature, "alternatives": chosen.alternatives}
        axes = (settings.seed, key.benchmark, "pool", key.seed)
        drawn = requests.draw_requests(plain, data, "train", chosen.pool, *axes, **options)
        _save(pool, data, drawn, Progress(f"draw edits for {key}", chosen.pool, "edits"))
    return EditableTranslation(chosen.terms(block.requests.score), requests.load_requests(pool, data), chosen.smoothing)


def _requests(benchmark: str, edits: EditSet) -> Path:
    return Layout(benchmark).results / "requests" / f"{repeated(edits.split, edits.seed)}.jsonl"


def _save(path: Path, data: Corpus, drawn: Iterator[requests.TranslationRequest], progress: Progress) -> None:
    """Write requests as they are drawn, with a line of progress now and then."""
    made = []
    for one in drawn:
        made.append(one)
        progress.advance()
    requests.save_requests(path, data, made)
    progress.finish(f"{len(made)} edits")
