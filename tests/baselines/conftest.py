"""A data set that is learnt in seconds, and models for it."""

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from baselines.images import ImageBatches, ImagePlan
from baselines.objectives import CrossEntropy, Step
from baselines.training import Epoch, Losses, Objective, Trained, train
from benchmarks import models, seeds
from benchmarks.data.augmentation import Augmentation
from benchmarks.data.dataset import Dataset, Split

CLASSES = ("a", "b", "c", "d")
AXES = (0, "tiny", "plain", 0)
MakeModel = Callable[..., nn.Module]
Fit = Callable[..., Trained]


def noisy_split(name: str, count: int) -> Split:
    """Images with one bright quadrant of four, under noise."""
    labels = torch.arange(count) % len(CLASSES)
    images = 100 + 30 * torch.randn(count, 1, 8, 8, generator=seeds.generator("noise", name))
    for image, label in zip(images, labels.tolist(), strict=True):
        top, left = 4 * (label // 2), 4 * (label % 2)
        image[:, top : top + 4, left : left + 4] += 60
    return Split(images.clamp(0, 255).to(torch.uint8), labels)


def with_misleading_tuning(dataset: Dataset) -> Dataset:
    """The better the training images are learnt, the worse is the error on this tuning split of 960 images."""
    images, labels = dataset.tuning.images.repeat(40, 1, 1, 1), dataset.tuning.labels.repeat(40)
    return replace(dataset, tuning=Split(images, (labels + 1) % 4))


class Scaled(Objective):
    """Cross-entropy of logits times a factor that is trained along."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.weight = weight

    def forward(self, model: nn.Module, step: Step) -> Losses:
        logits = model(step.inputs)
        loss = self.weight * F.cross_entropy(self.scale * logits, step.labels)
        return Losses(loss, logits, {"scale": self.scale, "size": torch.tensor(float(len(logits)))})


def assert_same(found: Trained, expected: Trained) -> None:
    assert found.history == expected.history
    assert found.kept == expected.kept
    assert_same_weights(found.model, expected.model)


def assert_same_weights(found: nn.Module, expected: nn.Module) -> None:
    weights = expected.state_dict()
    assert found.state_dict().keys() == weights.keys()
    for name, value in found.state_dict().items():
        assert torch.equal(value, weights[name]), name


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


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
def make_model() -> MakeModel:
    """A new small network with batch normalisation; the same weights for the same ``number``."""

    def make(number: int = 0) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(number)
            features = [nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()]
            return nn.Sequential(*features, nn.Linear(4 * 16, len(CLASSES)))

    return make


@pytest.fixture
def make_resnet() -> MakeModel:
    """A new narrow ResNet-18; the same weights each time."""

    def make(width: int = 2) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return models.make("resnet18", channels=1, classes=len(CLASSES), width=width)

    return make


@pytest.fixture
def plan() -> ImagePlan:
    return ImagePlan(epochs=4, batch_size=16, lr=1e-2, schedule="cosine")


@pytest.fixture
def fit(make_model: MakeModel, dataset: Dataset, plan: ImagePlan, tmp_path: Path) -> Fit:
    """Trains the small network on the small data set, but for what is given; other options change the plan."""

    def train_with(
        objective: Objective | None = None,
        *,
        model: nn.Module | None = None,
        data: Dataset = dataset,
        folder: str = "",
        axes: tuple[str | int, ...] = AXES,
        new: Collection[str] = (),
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
        on_step: Callable[[int], None] = lambda done: None,
        **changed: Any,
    ) -> Trained:
        watched = {"on_epoch": on_epoch, "on_step": on_step, "new": new}
        given = model or make_model(), objective or CrossEntropy(), ImageBatches(data), replace(plan, **changed)
        return train(*given, tmp_path / folder, axes, **watched)

    return train_with
