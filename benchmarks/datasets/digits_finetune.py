"""Handwritten digits of which some are never trained on: those from which realistic mistakes are made.

They stand for the natural adversarial examples of section 4.3.1: images of the same classes that a trained network gets
wrong, here because they are turned, scaled, sheared, moved and noisy beyond what training shows it.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from benchmarks.data.candidates import Candidates
from benchmarks.data.corruptions import Shift
from benchmarks.data.dataset import Dataset, channel_statistics
from benchmarks.data.split import hold_out
from benchmarks.datasets import candidates_of, register
from benchmarks.datasets.digits import digits
from benchmarks.seeds import generator

NAME = "digits_finetune"
SHIFT = Shift(rotation=20.0, scale=0.1, shear=10.0, translation=1.0, noise=20.0)
"""Training crops with a padding of 1 and shows nothing else of this."""


@register(NAME)
def digits_finetune(tuning_size: int = 300, test_size: int = 400, pool_size: int = 300) -> Dataset:
    """``digits`` with the same tuning and test images, and ``pool_size`` training images less.

    :raises InputError: for a size that leaves a split without images.
    """
    data, kept, _ = _split(tuning_size, test_size, pool_size)
    training = data.train.select(kept)
    mean, std = channel_statistics(training.images)
    source = f"{data.source.rstrip('.')}; {pool_size} images are kept for mistakes."
    return replace(data, name=NAME, train=training, mean=mean, std=std, source=source)


@candidates_of(NAME)
def candidates(
    tuning_size: int = 300, test_size: int = 400, pool_size: int = 300, copies: int = 20, shift: Shift = SHIFT
) -> Candidates:
    """``copies`` shifted copies of every image of the pool, always the same.

    :raises InputError: as :func:`digits_finetune` does.
    """
    data, _, held_out = _split(tuning_size, test_size, pool_size)
    sources = held_out.repeat_interleave(copies)
    originals = data.train.select(sources)
    images = shift.apply(originals.images, generator(NAME, "candidates"))
    return Candidates(replace(originals, images=images), sources)


def _split(tuning_size: int, test_size: int, pool_size: int) -> tuple[Dataset, torch.Tensor, torch.Tensor]:
    data = digits(tuning_size, test_size)
    kept, held_out = hold_out(data.train.labels, pool_size, NAME, "pool", option="pool_size")
    return data, kept, held_out
