"""Classifying images: the adapter between the stages and benchmarks/data, networks, scoring and baselines/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from baselines import dknn, ranks, streaming
from benchmarks import datasets, models
from benchmarks.data import candidates, dataset, image_files
from benchmarks.data.dataset import Dataset
from benchmarks.scoring import sampling
from benchmarks.scoring.measures import IMAGES, ErrorRate
from pipelines.config.blocks import Training
from pipelines.config.params import Settings
from pipelines.jobs.cells import Cell, ModelKey
from pipelines.reporting.tables.paper import DIRECTORY, LEADERBOARD, TABLES
from pipelines.reporting.tables.presentation import Presentation
from pipelines.tasks import register
from pipelines.tasks.base import MISTAKES, RANDOM, EditSet, Made, OnEpoch, Task
from pipelines.tasks.images import edits, figure2, recipes, similar_images
from pipelines.tasks.images.settings import ImageBenchmark, targets_of

_TOLD_ELSEWHERE = {
    *("recipe", "epochs", "batch_size", "lr", "lr_new", "schedule", "optimizer"),
    *("architecture", "options", "start", "teacher", "network", "weights", "k", "editor", "layers"),
    *("c_edit", "c_loc", "hyperparameters", "targets"),
}
"""How long and how fast, what is trained, and what a training's name or a table's caption says."""
_OF_SHARES = {
    "distilled": recipes._trained_with(lambda one, base, *more: ranks.SharedDistillation(base.teacher).on(one.ranks)),
    "editable": recipes._trained_with(lambda one, *given: ranks.SharedEditable(one.terms, *given).on(one.ranks)),
}
"""Recipes whose batches are shared out, see :mod:`baselines.ranks`."""


def note(name: str, training: Training) -> str:
    """Its terms that are not the defaults, such as ``trained with reference_mode train, clip_norm 10``; else nothing.

    :param name: the training's; weights of the terms that it holds are not said again.
    """
    terms = []
    both = [getattr(training, term, None) for term in ("c_edit", "c_loc")]  # which have no default
    if None not in both and (both[0] != both[1] or f"{both[0]:g}" not in name.split("-")):
        terms += [f"{term} {value:g}" for term, value in zip(("c_edit", "c_loc"), both, strict=True)]
    for term, field in type(training).model_fields.items():
        value = getattr(training, term)
        if term not in _TOLD_ELSEWHERE and value != field.get_default(call_default_factory=True):
            if isinstance(value, list):
                shown = " ".join(map(str, value))
            else:
                shown = str(value).lower() if isinstance(value, bool | str) else f"{value:g}"
            terms.append(f"{term} {shown}")
    stays = ["lr"] if getattr(training, "learning_rate", "") == "fixed" else []
    for parameter, value in getattr(training, "hyperparameters", {}).items():
        terms.append(f"{parameter} {'' if parameter in stays else 'from '}{value:g}")
    return f"trained with {', '.join(terms)}" if terms else ""


CLASSIFIERS = Presentation(
    measures=IMAGES,
    quality=lambda cell, description: ErrorRate.of(description),
    tables=TABLES,
    leaderboard=LEADERBOARD,
    headline=("test_error", "drawdown", "success_rate", "num_steps"),
    claims=DIRECTORY / "claims.yaml",
    axes={"drawdown": "Drawdown (points)", "test_error": "Test error after training (%)"},
    histories={"Training objective (nats)": ("train_loss",), "Error (%)": ("train_error", "tuning_error")},
    judged=("tuning_error", "%"),
    sequences={"error": "Error on images that are not edited (%)", "in_force": "Edits so far in force (%)"},
    note=lambda settings, cell: note(cell.training, settings.benchmark(cell.benchmark).training(cell.training)),
)
"""How edits of classifiers are told."""


def _is_shared(chosen: Training) -> bool:
    return getattr(chosen, "ranks", 1) > 1


@register
class ImageTask(Task):
    """Images are edited to get another label; drawdown is the change of the error on the other images."""

    name = "images"
    settings = ImageBenchmark
    data_file = "dataset.json"
    presentation = CLASSIFIERS
    analysis_tables = figure2.TABLES

    load = staticmethod(dataset.load)
    scorer = staticmethod(edits.scorer)
    row_scorer = staticmethod(edits.row_scorer)
    joint_scorer = staticmethod(edits.joint_scorer)
    analyse = staticmethod(figure2.analyse)
    after_sequences = staticmethod(similar_images.measure)

    def prepare(self, chosen: ImageBenchmark, folder: Path) -> str:
        data = chosen.data
        made = datasets.make(data.dataset, **data.options)
        (folder / candidates.CANDIDATES).unlink(missing_ok=True)
        more = ""
        if datasets.has_candidates(data.dataset):
            found = datasets.make_candidates(data.dataset, **data.options)
            if found is not None:
                candidates.save_candidates(found, folder)
                more = f", {len(found)} images for mistakes"
        dataset.save(made, folder)  # last: without its description there is no dataset
        shape = "x".join(str(size) for size in made.train.images.shape[1:])
        counts = f"{len(made.train)} training, {len(made.tuning)} tuning and {len(made.test)} test images"
        return f"{counts}, {shape}, {len(made.classes)} classes{more}"

    def data_code(self, chosen: ImageBenchmark) -> Sequence[str | Path]:
        return [datasets.file_of(chosen.data.dataset), dataset.__file__, candidates.__file__]

    def export(self, data: Dataset, folder: Path) -> None:
        image_files.write(data.test, data.classes, folder)

    def make(self, settings: Settings, key: ModelKey, data: Dataset, on_epoch: OnEpoch) -> Made:
        recipes.check_sources(settings, key, data)
        chosen = settings.benchmark(key.benchmark).training(key.training)
        if getattr(chosen, "mixed_precision", False):
            recipes.check_precision(key, settings.torch_device())
        if hasattr(chosen, "epochs"):
            data = streaming.within_memory(data, settings.torch_device())
        recipe = _OF_SHARES[chosen.recipe] if _is_shared(chosen) else recipes.RECIPES[chosen.recipe].make
        return recipe(settings, key, data, on_epoch)

    def made_from(self, settings: Settings, key: ModelKey) -> tuple[list[Any], Sequence[str | Path]]:
        block = settings.benchmark(key.benchmark)
        chosen = block.training(key.training)
        decides: list[Any] = [block.model_of(key.training).model_dump()]
        decides += ["compiled"] if settings.compile and recipes.RECIPES[chosen.recipe].compiles else []
        if targets_of(chosen) != RANDOM:
            decides.append(edits.identity(settings, key.benchmark, key.seed))
        return decides, recipes.code_of(settings, key) + ([ranks.__file__] if _is_shared(chosen) else [])

    def sources(self, chosen: ImageBenchmark) -> tuple[str, ...]:
        return (RANDOM, MISTAKES) if chosen.mistakes else (RANDOM,)

    def edit_set(self, chosen: ImageBenchmark, split: str, source: str = RANDOM, seed: int = 0) -> EditSet:
        if source == MISTAKES:
            return EditSet(split, chosen.mistakes.edits, source, seed)
        return super().edit_set(chosen, split, source, seed)

    def edits_from(self, settings: Settings, cell: Cell, asked: EditSet) -> list[Any]:
        return [edits.identity(settings, cell.benchmark, cell.seed)] if asked.source == MISTAKES else []

    def scoring_code(self, settings: Settings, cell: Cell) -> Sequence[str | Path]:
        block = settings.benchmark(cell.benchmark)
        code = [edits.__file__, sampling.__file__, models.file_of(block.model_of(cell.training).architecture)]
        code += [dknn.__file__] if block.training(cell.training).recipe == "dknn" else []
        return code

    def analysed(self, cells: Sequence[Cell]) -> list[Path]:
        return [figure2.file_of(cell) for cell in cells]
