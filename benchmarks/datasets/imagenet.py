"""ImageNet (ILSVRC 2012), with natural adversarial examples for mistakes, for those who have the data (section 4.3).

O. Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, 2015; D. Hendrycks et al., Natural Adversarial
Examples, 2019.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from PIL import Image

from benchmarks.data.augmentation import Augmentation
from benchmarks.data.candidates import Candidates
from benchmarks.data.dataset import SPLITS, Dataset, Split
from benchmarks.data.split import hold_out
from benchmarks.datasets import candidates_of, register
from benchmarks.datasets.image_folder import Listing, check_side, decoded, everything, labels_of, list_images
from benchmarks.errors import InputError

NAME = "imagenet"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""In shares of full brightness: those with which torchvision's networks were trained."""
_RESIZED = 256 / 224  # of the shorter side, before the middle is cut out


@register(NAME)
def imagenet(
    folder: str,
    natural_adversarial: str | None = None,
    train_size: int = 100_000,
    tuning_size: int = 10_000,
    image_size: int = 224,
    classes: int = 1000,
    adversarial_classes: int = 200,
) -> Dataset:
    """Images as published networks take them: the shorter side resized to 256, the middle cut out (224 x 224).

    All validation images are for testing. Training images are drawn by class, because they are kept as pixels on disk
    (150 kB each); the paper trains on all, with random crops of random size. Augmentation: crop with padding 16 and
    horizontal flip.

    :param folder: in torchvision's layout, ``folder/train/<class>/*`` and ``folder/val/<class>/*``.
    :param natural_adversarial: of :func:`candidates`; so is ``adversarial_classes``.
    :param train_size: training images; ``tuning_size`` others.
    :param image_size: side of the square that is cut out, in pixels; 256 / 224 of it is what images are resized to.
    :param classes: how many there must be.
    :raises InputError: naming the folder or file, for a tree that is missing, not whole, or of another number of
        classes, and for an image that cannot be read.
    """
    check_side(image_size)
    train, test = _listings(folder, classes)
    labels = labels_of(train)
    _, drawn = hold_out(labels, _sum(train_size, tuning_size), NAME, "train", option="train_size + tuning_size")
    kept, tuning = hold_out(labels[drawn], tuning_size, NAME, "tuning", option="tuning_size")
    parts = [(train, drawn[kept]), (train, drawn[tuning]), (test, everything(test))]
    splits = decoded(parts, partial(_middle, size=image_size))
    return Dataset(
        name=NAME,
        classes=tuple(train),
        **dict(zip(SPLITS, splits, strict=True)),
        mean=tuple(255 * value for value in MEAN),
        std=tuple(255 * value for value in STD),
        augmentation=Augmentation(crop_padding=max(1, image_size // 14), flip=True),
        source=f"ImageNet (ILSVRC 2012), read from its folders; {train_size} of its training images.",
    )


@candidates_of(NAME)
def candidates(
    folder: str,
    natural_adversarial: str | None = None,
    train_size: int = 100_000,
    tuning_size: int = 10_000,
    image_size: int = 224,
    classes: int = 1000,
    adversarial_classes: int = 200,
) -> Candidates | None:
    """Natural adversarial examples from ImageNet-A's layout; None without a folder.

    :param natural_adversarial: its 200 folders are named like the classes of ImageNet that they hold.
    :raises InputError: for a folder that is none of ImageNet's classes, and as :func:`imagenet` does.
    """
    if natural_adversarial is None:
        return None
    check_side(image_size)
    known = {name: number for number, name in enumerate(_listings(folder, classes)[0])}
    listing = list_images(Path(natural_adversarial))
    if strange := [name for name in listing if name not in known]:
        raise InputError(f"{natural_adversarial}: folder {strange[0]!r} is none of the {classes} classes in {folder}")
    if len(listing) != adversarial_classes:
        raise InputError(
            f"{natural_adversarial} holds {len(listing)} class folders, ImageNet-A has {adversarial_classes}: "
            "extract the archive again"
        )
    (found,) = decoded([(listing, everything(listing))], partial(_middle, size=image_size))
    numbers = torch.tensor([known[name] for name in listing])
    return Candidates(Split(found.images, numbers[found.labels]), torch.arange(len(found)))


def _listings(folder: str, classes: int) -> tuple[Listing, Listing]:
    root = Path(folder)
    train, test = (list_images(root / part) for part in ("train", "val"))
    for part, listing in (("train", train), ("val", test)):
        if len(listing) != classes:
            raise InputError(f"{root / part} holds {len(listing)} class folders, ImageNet has {classes}")
    if list(train) != list(test):
        only = sorted(set(train) ^ set(test))
        raise InputError(
            f"{root}: train and val must have the same classes; in only one of them: {', '.join(only[:5])}"
        )
    counts = {name: len(files) for name, files in test.items()}
    fewest, most = (choose(counts, key=counts.__getitem__) for choose in (min, max))
    if counts[fewest] != counts[most]:
        raise InputError(
            f"{root / 'val'}: class {fewest} has {counts[fewest]} images and {most} has {counts[most]}; "
            "ImageNet has as many validation images of each: extract them again"
        )
    return train, test


def _middle(image: Image.Image, size: int) -> Image.Image:
    """As torchvision's transforms for evaluation: the shorter side resized, a square cut out of the middle."""
    shorter = round(_RESIZED * size)
    width, height = image.size
    if width <= height:
        resized = image.resize((shorter, int(shorter * height / width)), Image.Resampling.BILINEAR)
    else:
        resized = image.resize((int(shorter * width / height), shorter), Image.Resampling.BILINEAR)
    left, top = round((resized.width - size) / 2), round((resized.height - size) / 2)
    return resized.crop((left, top, left + size, top + size))


def _sum(train_size: int, tuning_size: int) -> int:
    for name, size in (("train_size", train_size), ("tuning_size", tuning_size)):
        if type(size) is not int or size < 1:
            raise InputError(f"{name} must be an integer of at least 1, found {size!r}")
    return train_size + tuning_size
