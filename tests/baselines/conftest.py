"""A data set that is learnt in seconds, and models for it."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from baselines.training import TrainingPlan
from benchmarks import models
from benchmarks.augmentation import Augmentation
from benchmarks.dataset import Dataset, Split
from benchmarks.seeds import generator

CLASSES = ("a", "b", "c", "d")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


def noisy_split(name: str, count: int) -> Split:
    """Images with one bright quadrant of four, under noise."""
    labels = torch.arange(count) % len(CLASSES)
    images = 100 + 30 * torch.randn(count, 1, 8, 8, generator=generator("noise", name))
    for image, label in zip(images, labels.tolist(), strict=True):
        top, left = 4 * (label // 2), 4 * (label % 2)
        image[:, top : top + 4, left : left + 4] += 60
    return Split(images.clamp(0, 255).to(torch.uint8), labels)


@pytest.fixture
def dataset() -> Dataset:
    return Dataset(
        name="tiny",
        classes=CLASSES,
        train=noisy_split("train", 42),
        tuning=noisy_split("tuning", 24),
        test=noisy_split("test", 12),
        mean=(130.0,),
        std=(55.0,),
        augmentation=Augmentation(crop_padding=1, flip=False),
        source="Made by a test.",
    )


@pytest.fixture
def make_model() -> Callable[..., nn.Module]:
    """A new small network with batch normalisation; the same weights for the same ``number``."""

    def make(number: int = 0) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(number)
            features = [nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()]
            return nn.Sequential(*features, nn.Linear(4 * 16, len(CLASSES)))

    return make


@pytest.fixture
def make_resnet() -> Callable[..., nn.Module]:
    """A new narrow ResNet-18; the same weights each time."""

    def make(width: int = 2) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return models.make("resnet18", channels=1, classes=len(CLASSES), width=width)

    return make


@pytest.fixture
def plan() -> TrainingPlan:
    return TrainingPlan(epochs=4, batch_size=16, lr=1e-2, schedule="cosine")
