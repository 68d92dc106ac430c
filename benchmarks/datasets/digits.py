"""Handwritten digits, 8x8: embedded in scikit-learn, so that the suite runs anywhere at once.

E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
"""

import torch

from benchmarks.data.augmentation import Augmentation
from benchmarks.data.dataset import Dataset, Split, channel_statistics
from benchmarks.data.split import hold_out
from benchmarks.datasets import register


@register("digits")
def digits(tuning_size: int = 300, test_size: int = 500) -> Dataset:
    """1,797 images ``(1, 8, 8)`` in 10 classes, split by class: 997 for training, 300 for tuning, 500 for testing.

    The 16 grey levels are spread over the range of a byte (times 15: 0 to 240). Augmentation: crop with padding 1, no
    flip, which would make other digits.

    :raises InputError: for a size that leaves a split without images.
    """
    from sklearn.datasets import load_digits  # takes a second: only for whoever makes this dataset

    raw = load_digits()
    images = torch.from_numpy(raw.images * 15).to(torch.uint8)[:, None]
    everything = Split(images, torch.from_numpy(raw.target).to(torch.int64))
    rest, test = hold_out(everything.labels, test_size, "digits", "test", option="test_size")
    others = everything.select(rest)
    train, tuning = hold_out(others.labels, tuning_size, "digits", "tuning", option="tuning_size")
    training = others.select(train)
    mean, std = channel_statistics(training.images)
    return Dataset(
        name="digits",
        classes=tuple(str(name) for name in raw.target_names),
        train=training,
        tuning=others.select(tuning),
        test=everything.select(test),
        mean=mean,
        std=std,
        augmentation=Augmentation(crop_padding=1, flip=False),
        source="The handwritten digits of scikit-learn (UCI ML repository, test part), split by class.",
    )
