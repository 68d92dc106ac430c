"""Tiny ImageNet: photographs of 200 of ImageNet's classes, 64x64; 500 of each for training and 50 for validation.

Y. Le and X. Yang, Tiny ImageNet Visual Recognition Challenge, 2015.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from benchmarks.data.augmentation import Augmentation
from benchmarks.data.candidates import Candidates
from benchmarks.data.dataset import SPLITS, Dataset, channel_statistics
from benchmarks.data.image_files import in_folder
from benchmarks.data.split import hold_out
from benchmarks.datasets import candidates_of, register
from benchmarks.datasets.image_folder import Listing, decoded, labels_of, list_images
from benchmarks.errors import InputError

NAME = "tiny_imagenet"
ANNOTATIONS = "val_annotations.txt"


@register(NAME)
def tiny_imagenet(folder: str, tuning_size: int = 10_000, pool_size: int = 5_000, classes: int = 200) -> Dataset:
    """Training and tuning images from ``folder/train``, test images from ``folder/val``.

    Augmentation: crop with padding 4 and horizontal flip.

    :param folder: the extracted archive tiny-imagenet-200, whose validation images are named in val_annotations.txt, or
        class-per-folder trees.
    :param pool_size: validation images that are kept for mistakes.
    :param classes: how many there must be.
    :raises InputError: naming the folder or file, for a tree that is missing, not whole, or of another number of
        classes, and for an image that cannot be read.
    """
    train, test = _listings(folder, classes)
    kept, tuning = hold_out(labels_of(train), tuning_size, NAME, "tuning", option="tuning_size")
    tested, _ = hold_out(labels_of(test), pool_size, NAME, "pool", option="pool_size")
    splits = decoded([(train, kept), (train, tuning), (test, tested)], _as_it_is)
    mean, std = channel_statistics(splits[0].images)
    return Dataset(
        name=NAME,
        classes=tuple(train),
        **dict(zip(SPLITS, splits, strict=True)),
        mean=mean,
        std=std,
        augmentation=Augmentation(crop_padding=4, flip=True),
        source=f"Tiny ImageNet, read from its folder; {pool_size} validation images are kept for mistakes.",
    )


@candidates_of(NAME)
def candidates(folder: str, tuning_size: int = 10_000, pool_size: int = 5_000, classes: int = 200) -> Candidates:
    """The validation images that are not tested on.

    :raises InputError: as :func:`tiny_imagenet` does.
    """
    _, test = _listings(folder, classes)
    _, pool = hold_out(labels_of(test), pool_size, NAME, "pool", option="pool_size")
    return Candidates(*decoded([(test, pool)], _as_it_is), pool)


def _listings(folder: str, classes: int) -> tuple[Listing, Listing]:
    """Files by class for training and for validation, both in the order of the classes' names."""
    root = Path(folder)
    train = _train_files(root / "train")
    if len(train) != classes:
        raise InputError(f"{root / 'train'} holds {len(train)} class folders, Tiny ImageNet has {classes}")
    annotations = root / "val" / ANNOTATIONS
    test = _annotated(annotations, list(train)) if annotations.is_file() else list_images(root / "val")
    if list(test) != list(train):
        only = sorted(set(train) ^ set(test))
        raise InputError(
            f"{root}: train and val must have the same classes; in only one of them: {', '.join(only[:5])}"
        )
    for part, listing in (("train", train), ("val", test)):
        most = max(listing, key=lambda name: len(listing[name]))
        for name, files in listing.items():
            if len(files) != len(listing[most]):
                raise InputError(
                    f"{root / part}: class {name} has {len(files)} images and {most} has {len(listing[most])}; "
                    "Tiny ImageNet has as many of each: extract the archive again"
                )
    return train, test


def _train_files(folder: Path) -> Listing:
    """Files by class, which the archive keeps in a folder ``images`` inside that of the class."""
    if not folder.is_dir():
        raise InputError(f"{folder} is missing: extract tiny-imagenet-200.zip and give its folder")
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not any((path / "images").is_dir() for path in inner):
        return list_images(folder)
    found = {}
    for path in inner:
        found[path.name] = in_folder(path / "images") if (path / "images").is_dir() else []
        if not found[path.name]:
            raise InputError(f"{path / 'images'} holds no images: extract the archive again")
    return found


def _annotated(path: Path, classes: list[str]) -> Listing:
    """Validation files by class, as the lines ``file<TAB>class<TAB>...`` say."""
    found: dict[str, list[Path]] = {name: [] for name in classes}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        file, _, rest = line.partition("\t")
        label = rest.partition("\t")[0]
        if label not in found:
            raise InputError(f"{path}, line {number}: {label!r} is none of the classes in train")
        image = path.parent / "images" / file
        if not image.is_file():
            raise InputError(f"{image} is missing, which {ANNOTATIONS} names: extract the archive again")
        found[label].append(image)
    return {name: sorted(files) for name, files in found.items()}


def _as_it_is(image: Image.Image) -> Image.Image:
    return image
