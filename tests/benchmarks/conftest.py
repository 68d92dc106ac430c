"""Splits and data sets of random images."""

import torch

from benchmarks.data.augmentation import Augmentation
from benchmarks.data.dataset import Dataset, Split
from benchmarks.seeds import generator


def random_split(*axes: str, count: int, classes: int, size: int) -> Split:
    """Grey images of ``size × size`` pixels with labels that have nothing to do with them."""
    source = generator(*axes)
    images = torch.randint(0, 256, (count, 1, size, size), dtype=torch.uint8, generator=source)
    return Split(images, torch.randint(classes, (count,), generator=source))


def small_dataset(classes: int, *splits: Split, padding: int = 1, flip: bool = False) -> Dataset:
    """A data set of grey images: the splits are for training, tuning and testing."""
    names, augmentation = tuple("abcdefgh"[:classes]), Augmentation(padding, flip)
    return Dataset("tiny", names, *splits, (127.0,), (73.0,), augmentation, "Made by a test.")
