"""What a patch did to a user's control images: which answers flipped, and the change of the error where it is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from benchmarks import metrics
from benchmarks.data.image_files import SUFFIXES, class_folders, in_folder
from benchmarks.errors import InputError
from benchmarks.metrics import Estimate
from pipelines.jobs.progress import Progress
from pipelines.patching.own_models import OwnModel

_CHUNK = 64


@dataclass(frozen=True)
class ControlImage:
    """An image file and, if it lies in a class folder, the number of its class."""

    file: Path
    label: int | None


@dataclass(frozen=True)
class Flip:
    """A control image that the patched model answers in another way, with class names."""

    file: Path
    label: str | None
    before: str
    after: str


@dataclass(frozen=True)
class SideEffects:
    """What became of ``images`` control images.

    :ivar flip_rate: share of them whose answer changed, in percent, with Wilson's interval.
    :ivar error_before, error_after: in percent, and ``drawdown``, their signed difference in percentage points; None
        if the true classes are not known.
    """

    images: int
    flips: tuple[Flip, ...]
    flip_rate: Estimate
    error_before: Estimate | None
    error_after: Estimate | None
    drawdown: Estimate | None


def control_images(folder: Path, model: OwnModel, without: Iterable[Path]) -> tuple[ControlImage, ...]:
    """The images of a folder, which lie in it or in folders named as classes, but for the edited ones.

    :raises InputError: for a folder that is missing or has no images, or a folder in it that is no class.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is missing: it should be a folder of control images")
    by_class, loose = class_folders(folder), in_folder(folder)
    if by_class and loose:
        raise InputError(f"{folder} holds both images and folders: put every image into the folder of its class")
    found = [ControlImage(file, None) for file in loose]
    for name, files in by_class.items():
        try:
            label = model.label(name)
        except InputError as error:
            raise InputError(f"{folder / name} is not named as a class: {error}") from error
        found += [ControlImage(file, label) for file in files]
    edited = {file.resolve() for file in without}
    kept = tuple(image for image in found if image.file.resolve() not in edited)
    if not kept:
        raise InputError(f"{folder} holds no control images; read are files that end in {', '.join(SUFFIXES)}")
    return kept


def side_effects(model: OwnModel, patched: nn.Module, images: tuple[ControlImage, ...]) -> SideEffects:
    """Ask ``model`` and its ``patched`` network about every control image."""
    flips: list[Flip] = []
    wrong: list[tuple[bool, bool]] = []
    progress = Progress("patch: control images", len(images), "images")
    for start in range(0, len(images), _CHUNK):
        some = images[start : start + _CHUNK]
        inputs = model.inputs([image.file for image in some])
        with torch.no_grad():
            before, after = (network(inputs).argmax(dim=1).tolist() for network in (model.network, patched))
        for image, old, new in zip(some, before, after, strict=True):
            if old != new:
                true = None if image.label is None else model.classes[image.label]
                flips.append(Flip(image.file, true, model.classes[old], model.classes[new]))
            if image.label is not None:
                wrong.append((old != image.label, new != image.label))
        progress.advance(len(some))
    count = len(wrong)
    worse, better = wrong.count((False, True)), wrong.count((True, False))
    old_errors = better + wrong.count((True, True))
    return SideEffects(
        images=len(images),
        flips=tuple(flips),
        flip_rate=metrics.share(len(flips), len(images)),
        error_before=metrics.share(old_errors, count) if wrong else None,
        error_after=metrics.share(old_errors + worse - better, count) if wrong else None,
        drawdown=metrics.paired_change(worse, better, count) if wrong else None,
    )
