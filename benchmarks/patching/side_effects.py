"""What a patch does to images that it should leave alone: other answers, and whom more errors hit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks import metrics
from benchmarks.data.image_files import read_image
from benchmarks.metrics import Estimate
from benchmarks.patching.own_models import ControlImage, OwnModel, classes_of, log_probabilities
from benchmarks.scoring.side_effects import CORRUPTION, calibration_error, sensitive
from benchmarks.seeds import generator
from editors.base import spread

_CHUNK = 64
_MOST_CORRUPTED = 1000
"""Control images of which a corrupted copy is looked at as well."""
_SHRUNK = 2  # times a model's input: larger images are made as small before they are corrupted, which is slow


@dataclass(frozen=True)
class Flip:
    """A control image that the patched model answers in another way, with class names."""

    file: Path
    label: str | None
    before: str
    after: str


@dataclass(frozen=True)
class Errors:
    """Errors on some images, before and after a patch.

    :ivar before, after: error in percent; ``drawdown``, their signed difference in points.
    :ivar broken: images that were right before and are wrong after; ``mended`` the other way round.
    """

    images: int
    before: Estimate
    after: Estimate
    drawdown: Estimate
    broken: int
    mended: int

    @classmethod
    def of(cls, before: Tensor, after: Tensor) -> Self:
        """Count what is wrong, bool ``(N,)``, before and after."""
        count, broken, mended = len(before), int((after & ~before).sum()), int((before & ~after).sum())
        shares = (metrics.share(int(wrong.sum()), count) for wrong in (before, after))
        return cls(count, *shares, metrics.paired_change(broken, mended, count), broken, mended)


@dataclass(frozen=True)
class Known:
    """What is seen where the true classes of control images are known.

    :ivar errors: on all of them.
    :ivar sensitive: on those whose two likeliest classes lay within :data:`benchmarks.scoring.side_effects.NEAR`
        before the patch; None if there are none.
    :ivar worst_class: the name of the class whose error grows most, and ``worst`` its errors.
    :ivar corrupted: on turned, scaled and noisy copies.
    :ivar calibration_before, calibration_after: expected calibration error, in percent.
    """

    errors: Errors
    sensitive: Errors | None
    worst_class: str
    worst: Errors
    corrupted: Errors
    calibration_before: float
    calibration_after: float


@dataclass(frozen=True)
class SideEffects:
    """The answers to control images before and after a patch, compared.

    :ivar images: how many they are.
    :ivar flip_rate: share of them whose answer changed, in percent, with Wilson's interval.
    :ivar known: what their true classes tell; None if they are not known.
    """

    images: int
    flips: tuple[Flip, ...]
    flip_rate: Estimate
    known: Known | None


def side_effects(
    model: OwnModel, patched: nn.Module, images: Sequence[ControlImage], on_images: Callable[[int], object]
) -> SideEffects:
    """Ask ``model`` and its ``patched`` network about every control image, of which all have a class or none has.

    :param on_images: called with how many more were looked at.
    """
    labelled = images[0].label is not None
    copied = spread(len(images), _MOST_CORRUPTED if labelled else 0).tolist()
    chosen = set(copied)
    source = generator("patch", "corrupted copies")
    pairs: list[tuple[Tensor, Tensor]] = []
    of_copies: list[tuple[Tensor, Tensor]] = []
    for start in range(0, len(images), _CHUNK):
        inputs, copies = [], []
        for place, image in enumerate(images[start : start + _CHUNK], start):
            opened = read_image(image.file, model.mode)
            inputs.append(model.transform(opened))
            if place in chosen:
                copies.append(model.transform(_corrupted(opened, _SHRUNK * max(inputs[0].shape[1:]), source)))
        pairs.append(_both(model, patched, inputs))
        of_copies += [_both(model, patched, copies)] if copies else []
        on_images(len(inputs))
    before, after = map(torch.cat, zip(*pairs, strict=True))
    flips = tuple(
        Flip(image.file, None if image.label is None else model.classes[image.label], *map(model.called, answers))
        for image, *answers in zip(images, classes_of(before).tolist(), classes_of(after).tolist(), strict=True)
        if answers[0] != answers[1]
    )
    rate = metrics.share(len(flips), len(images))
    if not labelled:
        return SideEffects(len(images), flips, rate, None)
    labels = torch.tensor([image.label for image in images])
    corrupted = Errors.of(*(_wrong(torch.cat(found), labels[copied]) for found in zip(*of_copies, strict=True)))
    return SideEffects(len(images), flips, rate, _known(before, after, labels, model.classes, corrupted))


def _known(before: Tensor, after: Tensor, labels: Tensor, classes: Sequence[str], corrupted: Errors) -> Known:
    """:param before: log-probabilities ``(N, C)``, as ``after``; ``labels (N,)`` the true classes."""
    wrong = [_wrong(found, labels) for found in (before, after)]
    near = sensitive(before)
    of_class = {label: Errors.of(*(one[labels == label] for one in wrong)) for label in labels.unique().tolist()}
    worst = max(of_class, key=lambda label: of_class[label].drawdown.value)
    return Known(
        errors=Errors.of(*wrong),
        sensitive=Errors.of(*(one[near] for one in wrong)) if near.any() else None,
        worst_class=classes[worst],
        worst=of_class[worst],
        corrupted=corrupted,
        calibration_before=float(calibration_error(before, labels)),
        calibration_after=float(calibration_error(after, labels)),
    )


def _wrong(found: Tensor, labels: Tensor) -> Tensor:
    return classes_of(found) != labels


def _both(model: OwnModel, patched: nn.Module, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Log-probabilities ``(N, C)`` before and after, in the main memory."""
    there = torch.stack(list(inputs)).to(next(patched.parameters()).device)
    return log_probabilities(model.network, there).cpu(), log_probabilities(patched, there).cpu()


def _corrupted(image: Image.Image, limit: int, source: torch.Generator) -> Image.Image:
    """A turned, scaled and noisy copy of an image, of at most ``limit`` pixels a side."""
    small = image.copy()
    small.thumbnail((limit, limit))
    pixels = torch.from_numpy(np.array(small)).reshape(small.height, small.width, -1).permute(2, 0, 1)
    made = CORRUPTION.apply(pixels[None], source)[0].permute(1, 2, 0)
    return Image.fromarray(made.squeeze(2).numpy() if made.shape[2] == 1 else made.numpy())
