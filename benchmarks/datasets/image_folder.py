"""Images sorted into one folder per class: `<folder>/train/<class>/*` and `<folder>/test/<class>/*`."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.augmentation import Augmentation
from benchmarks.dataset import Dataset, Split, channel_statistics
from benchmarks.datasets import register
from benchmarks.errors import InputError
from benchmarks.image_files import class_folders, read_image
from benchmarks.splitting import hold_out

_SECONDS_BETWEEN_REPORTS = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tree:
    """Two class-per-folder trees with the same classes; `suffixes` are those of the files read, sorted."""

    classes: tuple[str, ...]
    train: Split
    test: Split
    suffixes: tuple[str, ...]


@register("image_folder")
def image_folder(
    folder: str,
    tuning_size: int = 1000,
    image_size: int | None = None,
    crop_padding: int = 4,
    flip: bool = True,
) -> Dataset:
    """Any images in class-per-folder trees, as RGB `(3, H, W)`; the tuning split is taken from the training
    images.

    `image_size`: side in pixels of the square that every image is resized to; needed when sizes differ.
    Raises InputError for what `read_tree` refuses and for a `tuning_size` that the training images cannot
    give.
    """
    tree = read_tree(folder, image_size)
    train, tuning = hold_out(tree.train.labels, tuning_size, "image_folder", "tuning", option="tuning_size")
    training = tree.train.select(train)
    mean, std = channel_statistics(training.images)
    resized = f", resized to {image_size}x{image_size}" if image_size is not None else ""
    return Dataset(
        name="image_folder",
        classes=tree.classes,
        train=training,
        tuning=tree.train.select(tuning),
        test=tree.test,
        mean=mean,
        std=std,
        augmentation=Augmentation(crop_padding=crop_padding, flip=flip),
        source=f"A folder of {', '.join(tree.suffixes)} images sorted by class{resized}.",
    )


def read_tree(folder: str | Path, image_size: int | None = None, train: str = "train", test: str = "test") -> Tree:
    """Reads `<folder>/<train>/<class>/*` and `<folder>/<test>/<class>/*`, classes and files in the order of
    their names.

    Images are converted to RGB, and resized to `image_size` squared if that is given. Files of other suffixes
    and hidden ones are passed over. Raises InputError, naming the folder or file, when a folder is missing or
    has no images, the class names of the two trees differ, an image cannot be decoded, or has another size
    than the first one.
    """
    if image_size is not None and (type(image_size) is not int or image_size < 1):
        raise InputError(f"image_size must be an integer of at least 1, found {image_size!r}")
    listings = {part: list_images(Path(folder) / part) for part in (train, test)}
    classes = tuple(listings[train])
    if classes != tuple(listings[test]):
        only = sorted(set(listings[train]) ^ set(listings[test]))
        raise InputError(
            f"{folder}: {train} has {len(classes)} class folders and {test} has {len(listings[test])}, "
            f"they must be the same; in only one of them: {', '.join(only[:5])}"
        )
    files = [file for listing in listings.values() for listed in listing.values() for file in listed]
    images = decode(files, partial(_squared, size=image_size))
    train_labels, test_labels = (labels_of(listing) for listing in listings.values())
    return Tree(
        classes=classes,
        train=Split(images[: len(train_labels)], train_labels),
        test=Split(images[len(train_labels) :], test_labels),
        suffixes=tuple(sorted({file.suffix.lower().lstrip(".") for file in files})),
    )


def labels_of(listing: dict[str, list[Path]]) -> torch.Tensor:
    """The class of every listed file, int64 `(N,)`."""
    counts = torch.tensor([len(listed) for listed in listing.values()])
    return torch.arange(len(listing)).repeat_interleave(counts)


def list_images(folder: Path) -> dict[str, list[Path]]:
    """The image files of each class folder, both in the order of their names.

    Raises InputError for a missing folder, or one without class folders or with one that has no images.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is missing: images are read from {folder}/<class>/*")
    listing = class_folders(folder)
    if not listing:
        raise InputError(f"{folder} holds no class folders: images are read from {folder}/<class>/*")
    return listing


def decode(files: list[Path], prepare: Callable[[Image.Image], Image.Image]) -> torch.Tensor:
    """All images, after `prepare`, as uint8 `(N, 3, H, W)`, written into one array as they are read.

    Raises InputError, naming the file, for one that cannot be decoded or ends with another size than the
    first.
    """
    first = np.asarray(prepare(read_image(files[0])))
    images = np.empty((len(files), *first.shape), dtype=np.uint8)
    started = reported = time.monotonic()
    for index, file in enumerate(files):
        image = np.asarray(prepare(read_image(file)))
        if image.shape != first.shape:
            found, expected = (f"{each.shape[1]}x{each.shape[0]}" for each in (image, first))
            raise InputError(
                f"{file} is {found} pixels and {files[0]} is {expected}: "
                "give images of one size, or image_size where the dataset has that option"
            )
        images[index] = image
        if time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
            reported = time.monotonic()
            _log.info("%d of %d images, %.0f/s", index + 1, len(files), (index + 1) / (reported - started))
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _squared(image: Image.Image, size: int | None) -> Image.Image:
    """The image resized to a square, or as it is for no size."""
    if size is None or image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.BILINEAR)
