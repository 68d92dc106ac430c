"""Which images are edited, and the scorers that edit them.

Realistic mistakes (section 4.3.1) are found anew wherever they are needed, from the candidates beside the data and the
benchmark's pre-trained model: always the same ones. Some are to train on, others to evaluate on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import editors
from baselines.model_files import WEIGHTS, load_model
from benchmarks.data.candidates import CANDIDATES, Candidates, load_candidates
from benchmarks.data.dataset import Dataset, Split
from benchmarks.errors import InputError
from benchmarks.files import file_hash
from benchmarks.scoring import mistakes, sequential
from benchmarks.scoring.joint import JointRecord, JointScorer
from benchmarks.scoring.requests import Demand, EditRequests, corrections, draw_requests
from benchmarks.scoring.scorer import Scorer
from benchmarks.scoring.sequential import SequentialScorer
from benchmarks.seeds import generator
from pipelines.config.blocks import SequenceSettings
from pipelines.config.params import Settings
from pipelines.jobs.cells import Cell
from pipelines.store.layout import Layout
from pipelines.tasks.base import MISTAKES, EditSet
from pipelines.tasks.images.settings import MistakesSettings


def scorer(
    settings: Settings, cell: Cell, data: Dataset, asked: EditSet, control_size: int | None, **demand: Any
) -> Scorer:
    """The cell's model with a set of edits; see :meth:`pipelines.tasks.base.Task.scorer`."""
    model = load_network(settings, cell, data)
    options = {"control_size": control_size, "cache_bytes": int(settings.cache_gib * 2**30), **demand}
    if asked.source == MISTAKES:
        # Those of the benchmark's pre-trained model, so every row of Table 5 meets the same ones.
        found = divide(settings, cell.benchmark, data, cell.seed).evaluation.images
        found = subset(found, asked.count, settings.seed, cell.benchmark, "mistakes")
        requests = corrections(found, settings.seed, cell.benchmark)
        return Scorer(model, cell.layers, data, data.test, requests, edited=found, **options)
    images: Split = getattr(data, asked.split)
    axes = (settings.seed, cell.benchmark, asked.split, *([asked.seed] if asked.seed else []))
    requests = draw_requests(images, len(data.classes), asked.count, *axes)
    return Scorer(model, cell.layers, data, images, requests, **options)


def row_scorer(settings: Settings, cell: Cell, data: Dataset, asked: SequenceSettings, **demand: Any) -> ImagesInARow:
    """The cell's model with images to be edited one after the other."""
    model = load_network(settings, cell, data)
    if asked.source == MISTAKES:
        found = to_true_labels(settings, cell.benchmark, data, asked.edits)
    else:
        found = to_random_labels(settings, cell.benchmark, data, asked.split, asked.edits)
    control = subset(found.control, asked.control_size, settings.seed, cell.benchmark, asked.split)
    images = SequentialScorer(model, cell.layers, data, found.images, control, Demand(**demand), found.seeds)
    return ImagesInARow(images, len(found.images), len(control), (settings.seed, cell.benchmark, asked.split))


@dataclass(frozen=True)
class ImagesInARow:
    """See :class:`pipelines.tasks.base.RowScorer`.

    :ivar axes: what the order of the images depends on.
    """

    images: SequentialScorer
    count: int
    control: int
    axes: tuple[str | int, ...]

    def run(self, editor: editors.Editor, order: int) -> list[Any]:
        return self.images.run(editor, sequential.turn(self.count, order, *self.axes), order)

    def statistics(self, editor: editors.Editor) -> Any:
        return self.images.statistics(editor)

    def described(self) -> Mapping[str, Any]:
        return {"control_images": self.control}


def joint_scorer(settings: Settings, cell: Cell, data: Dataset, **demand: Any) -> ImagesTogether:
    """The cell's model with test images to be edited together."""
    images = JointScorer(load_network(settings, cell, data), cell.layers, data, data.test, Demand(**demand))
    return ImagesTogether(images, len(data.test), (settings.seed, cell.benchmark, "test"))


@dataclass(frozen=True)
class ImagesTogether:
    """See :class:`pipelines.tasks.base.JointEdits`.

    :ivar axes: what the draws depend on.
    """

    images: JointScorer
    count: int
    axes: tuple[str | int, ...]

    def most(self, source: str) -> int:
        return len(self.images.mistakes) if source == MISTAKES else self.count - 1

    def run(self, editor: editors.Editor, source: str, count: int, draw: int, manner: str) -> tuple[JointRecord, float]:
        drawn = self.images.draw_mistakes if source == MISTAKES else self.images.draw_random
        return self.images.record(editor, drawn(count, draw, *self.axes), manner)

    def statistics(self, editor: editors.Editor) -> Any:
        return self.images.statistics(editor)

    def described(self) -> Mapping[str, Any]:
        return {"test_images": self.count, "mistakes": len(self.images.mistakes)}


@dataclass(frozen=True)
class Division:
    """The mistakes of ``model`` in two parts that share no original."""

    model: nn.Module
    training: Candidates
    evaluation: Candidates


def divide(settings: Settings, benchmark: str, data: Dataset, seed: int = 0) -> Division:
    """The mistakes of the model that ``mistakes.training`` names, with this training seed.

    :raises InputError: for a benchmark without mistakes, or with too few of them.
    """
    chosen, layout = _chosen(settings, benchmark), Layout(benchmark)
    model, _ = load_model(layout.model(chosen.training, seed), settings.torch_device())
    found = mistakes.mistakes(model, data, load_candidates(layout.data))
    try:
        return Division(model, *mistakes.divide(found, chosen.edits, settings.seed, benchmark))
    except InputError as error:
        raise InputError(f"{benchmark}: mistakes.edits: {error}") from error


def distribution_of_ranks(division: Division, data: Dataset) -> torch.Tensor:
    """From which ranks of targets are drawn, ``(classes,)``; the mistakes to evaluate on are not looked at."""
    return mistakes.distribution_of_ranks(division.model, data, division.training)


def identity(settings: Settings, benchmark: str, seed: int = 0) -> str:
    """All that decides which mistakes there are, and in which part, as text."""
    chosen, layout = _chosen(settings, benchmark), Layout(benchmark)
    found = [chosen.model_dump(), settings.seed, benchmark]
    for path in (layout.data / CANDIDATES, layout.model(chosen.training, seed) / WEIGHTS):
        try:
            found.append(file_hash(path))
        except FileNotFoundError as error:
            raise InputError(f"{path} is missing: run the stage that makes it first") from error
    return json.dumps(found)


def load_network(settings: Settings, cell: Cell, data: Dataset) -> nn.Module:
    """The cell's model.

    :raises InputError: for missing or broken files, or a model that was trained on other data.
    """
    model, description = load_model(cell.model.folder, settings.torch_device())
    if description.dataset != data.fingerprint():
        raise InputError(f"{cell.model.folder} was trained on other data than {cell.layout.data} holds: train it again")
    return model


def _chosen(settings: Settings, benchmark: str) -> MistakesSettings:
    chosen = settings.benchmark(benchmark).mistakes
    if chosen is None:
        raise InputError(f"{benchmark}: its configuration has no block 'mistakes'")
    return chosen


@dataclass(frozen=True)
class EditedImages:
    """:ivar images: with the wanted labels; ``seeds`` one for each, ``control`` images that are not edited."""

    images: Split
    seeds: tuple[int, ...]
    control: Split


def to_random_labels(settings: Settings, benchmark: str, data: Dataset, split: str, count: int) -> EditedImages:
    """``count`` images of the ``tuning`` or ``test`` split, as for single edits; the others are for control.

    The edited ones are no control images: most get a wrong label, which would count as so many errors.

    :raises InputError: if that leaves no image.
    """
    images: Split = getattr(data, split)
    if count >= len(images):
        raise InputError(f"{benchmark}: sequences: {count} edits leave none of {len(images)} {split} images to look at")
    requests = draw_requests(images, len(data.classes), count, settings.seed, benchmark, split)
    others = torch.ones(len(images), dtype=torch.bool)
    others[requests.images] = False
    return EditedImages(*_asked(images, requests), images.select(others))


def to_true_labels(settings: Settings, benchmark: str, data: Dataset, count: int | None) -> EditedImages:
    """The mistakes kept for evaluation, ``count`` of them drawn if there are more; all test images are for control.

    :raises InputError: for a benchmark without mistakes.
    """
    first = settings.training_seeds[0]
    found = divide(settings, benchmark, data, first).evaluation.images
    found = subset(found, count, settings.seed, benchmark, "mistakes")
    return EditedImages(*_asked(found, corrections(found, settings.seed, benchmark)), data.test)


def subset(images: Split, size: int | None, *axes: str | int) -> Split:
    """``size`` of the images, the same whenever ``axes`` are; all for None.

    They are drawn, because images may be in the order of their classes.
    """
    if size is None or size >= len(images):
        return images
    chosen = torch.randperm(len(images), generator=generator(*axes, "control"))[:size]
    return images.select(chosen.sort().values)


def _asked(images: Split, requests: EditRequests) -> tuple[Split, tuple[int, ...]]:
    return Split(images.images[requests.images], requests.targets), requests.seeds
