"""What is edited one after the other: images of a split to random labels, or real mistakes to their true ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.data.dataset import Dataset, Split
from benchmarks.errors import InputError
from benchmarks.scoring.requests import EditRequests, corrections, draw_requests
from benchmarks.seeds import generator
from pipelines.config.params import Settings
from pipelines.jobs import realistic_mistakes


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
        raise InputError(
            f"benchmarks.{benchmark}.sequences: {count} edits leave none of {len(images)} {split} images to look at"
        )
    requests = draw_requests(images, len(data.classes), count, settings.seed, benchmark, split)
    others = torch.ones(len(images), dtype=torch.bool)
    others[requests.images] = False
    return EditedImages(*_asked(images, requests), images.select(others))


def to_true_labels(settings: Settings, benchmark: str, data: Dataset, count: int | None) -> EditedImages:
    """The mistakes kept for evaluation, at most ``count``; all test images are for control.

    :raises InputError: for a benchmark without mistakes.
    """
    first = settings.training_seeds[0]
    found = realistic_mistakes.divide(settings, benchmark, data, first).evaluation.images
    found = found.select(torch.arange(min(count or len(found), len(found))))
    return EditedImages(*_asked(found, corrections(found, settings.seed, benchmark)), data.test)


def subset(images: Split, size: int | None, *axes: str | int) -> Split:
    """``size`` of the images, the same whenever ``axes`` are; all for None."""
    if size is None or size >= len(images):
        return images
    chosen = torch.randperm(len(images), generator=generator(*axes, "control"))[:size]
    return images.select(chosen.sort().values)


def _asked(images: Split, requests: EditRequests) -> tuple[Split, tuple[int, ...]]:
    return Split(images.images[requests.images], requests.targets), requests.seeds
