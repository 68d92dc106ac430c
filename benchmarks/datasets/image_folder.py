"""Images sorted into one folder per class: ``<folder>/train/<class>/*`` and ``<folder>/test/<class>/*``."""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image

from benchmarks.data.augmentation import Augmentation
from benchmarks.data.dataset import SPLITS, Dataset, Split, channel_statistics
from benchmarks.data.image_files import class_folders, read_image
from benchmarks.data.split import hold_out
from benchmarks.datasets import register
from benchmarks.errors import InputError

LARGEST_SIDE = 4096
_SECONDS_BETWEEN_REPORTS = 5.0
_log = logging.getLogger(__name__)

Listing = dict[str, list[Path]]
"""Image files by class, both in the order of their names."""


@dataclass(frozen=True)
class Tree:
    """Two class-per-folder trees with the same classes.

    :ivar suffixes: those of the files read, sorted.
    """

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
    """Any images in class-per-folder trees, as RGB ``(3, H, W)``; the tuning split is taken from the training images.

    :param image_size: side in pixels of the square that every image is resized to; needed when sizes differ.
    :raises InputError: as :func:`read_tree` does, and for a ``tuning_size`` that the training images cannot give.
    """
    train, test = _listings(folder, image_size, "train", "test")
    kept, tuning = hold_out(labels_of(train), tuning_size, "image_folder", "tuning", option="tuning_size")
    parts = [(train, kept), (train, tuning), (test, everything(test))]
    splits = dict(zip(SPLITS, decoded(parts, partial(_squared, size=image_size)), strict=True))
    mean, std = channel_statistics(splits["train"].images)
    resized = f", resized to {image_size}x{image_size}" if image_size is not None else ""
    return Dataset(
        name="image_folder",
        classes=tuple(train),
        **splits,
        mean=mean,
        std=std,
        augmentation=Augmentation(crop_padding=crop_padding, flip=flip),
        source=f"A folder of {', '.join(_suffixes(train, test))} images sorted by class{resized}.",
    )


def read_tree(folder: str | Path, image_size: int | None = None, train: str = "train", test: str = "test") -> Tree:
    """Read ``<folder>/<train>/<class>/*`` and ``<folder>/<test>/<class>/*``, classes and files in order of their names.

    Images are converted to RGB, and resized to ``image_size`` squared if that is given. Files of other suffixes and
    hidden ones are passed over.

    :raises InputError: naming the folder or file, when a folder is missing or has no images, the class names of the two
        trees differ, an image cannot be decoded, or has another size than the first one.
    """
    found = _listings(folder, image_size, train, test)
    parts = [(listing, everything(listing)) for listing in found]
    splits = decoded(parts, partial(_squared, size=image_size))
    return Tree(tuple(found[0]), *splits, suffixes=_suffixes(*found))


def labels_of(listing: Listing) -> torch.Tensor:
    """The class of every listed file, int64 ``(N,)``."""
    counts = torch.tensor([len(listed) for listed in listing.values()])
    return torch.arange(len(listing)).repeat_interleave(counts)


def everything(listing: Listing) -> torch.Tensor:
    """The places of all listed files, int64 ``(N,)``."""
    return torch.arange(sum(map(len, listing.values())))


def list_images(folder: Path) -> Listing:
    """The image files of each class folder, both in the order of their names.

    :raises InputError: for a missing folder, or one without class folders or with one that has no images.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is missing: images are read from {folder}/<class>/*")
    listing = class_folders(folder)
    if not listing:
        raise InputError(f"{folder} holds no class folders: images are read from {folder}/<class>/*")
    return listing


def decoded(
    parts: Sequence[tuple[Listing, torch.Tensor]], prepare: Callable[[Image.Image], Image.Image]
) -> list[Split]:
    """For each listing, the images at some of its places, int64 ``(N,)``, after ``prepare``, with their classes.

    They lie in an unnamed temporary file, so that the memory of this process does not grow with their number.

    :raises InputError: naming the file, for one that cannot be decoded or ends with another size than the first.
    :raises OSError: when the disk is full.
    """
    files = [list(map(_files(listing).__getitem__, places.tolist())) for listing, places in parts]
    images = _decode([file for chosen in files for file in chosen], prepare).split([len(chosen) for chosen in files])
    return [Split(some, labels_of(listing)[places]) for some, (listing, places) in zip(images, parts, strict=True)]


def _decode(files: list[Path], prepare: Callable[[Image.Image], Image.Image]) -> torch.Tensor:
    """All images as uint8 ``(N, 3, H, W)``."""
    first = np.asarray(prepare(read_image(files[0])))
    started = reported = time.monotonic()
    with _temporary_file() as written:  # a mapping outlives its file
        for index, file in enumerate(files):
            image = np.asarray(prepare(read_image(file)))
            if image.shape != first.shape:
                found, expected = (f"{each.shape[1]}x{each.shape[0]}" for each in (image, first))
                raise InputError(
                    f"{file} is {found} pixels and {files[0]} is {expected}: "
                    "give images of one size, or image_size where the dataset has that option"
                )
            written.write(image.transpose(2, 0, 1).tobytes())
            if time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
                reported = time.monotonic()
                _log.info("%d of %d images, %.0f/s", index + 1, len(files), (index + 1) / (reported - started))
        written.flush()
        height, width, channels = first.shape
        return torch.from_numpy(np.memmap(written, np.uint8, "r+", shape=(len(files), channels, height, width)))


def _temporary_file() -> IO[bytes]:
    """On a disk: /tmp is memory on some machines, /var/tmp never is (Filesystem Hierarchy Standard, 5.15)."""
    asked = any(name in os.environ for name in ("TMPDIR", "TEMP", "TMP"))
    return tempfile.TemporaryFile(dir="/var/tmp" if not asked and os.access("/var/tmp", os.W_OK) else None)


def check_side(image_size: Any) -> None:
    """Raise :class:`InputError` unless images can be made so many pixels wide."""
    if type(image_size) is not int or not 1 <= image_size <= LARGEST_SIDE:
        raise InputError(f"image_size must be a whole number from 1 to {LARGEST_SIDE}, not {image_size!r}")


def _listings(folder: str | Path, image_size: int | None, train: str, test: str) -> tuple[Listing, Listing]:
    """The files of two trees, which must have the same classes, and the size that is asked for checked."""
    if image_size is not None:
        check_side(image_size)
    one, other = (list_images(Path(folder) / part) for part in (train, test))
    if list(one) != list(other):
        only = sorted(set(one) ^ set(other))
        raise InputError(
            f"{folder}: {train} has {len(one)} class folders and {test} has {len(other)}, "
            f"they must be the same; in only one of them: {', '.join(only[:5])}"
        )
    if len(one) < 2:
        raise InputError(f"{folder}/{train} holds images of {next(iter(one))} only: give two classes or more")
    return one, other


def _files(listing: Listing) -> list[Path]:
    return [file for files in listing.values() for file in files]


def _suffixes(*listings: Listing) -> tuple[str, ...]:
    return tuple(sorted({file.suffix.lower().lstrip(".") for listing in listings for file in _files(listing)}))


def _squared(image: Image.Image, size: int | None) -> Image.Image:
    """The image resized to a square, or as it is for no size."""
    if size is None or image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.BILINEAR)
