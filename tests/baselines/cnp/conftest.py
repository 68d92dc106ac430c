"""A conditioned network with weights of its own, and images for it."""

import math

import pytest
import torch
from torch import Tensor, nn

from benchmarks import models
from benchmarks.data.augmentation import Augmentation
from benchmarks.data.dataset import Dataset, Split

CLASSES = 5


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.randn(8, 1, 8, 8, generator=generator)


@pytest.fixture
def encoder() -> str:
    return "block"


@pytest.fixture
def model(generator: torch.Generator, images: Tensor, encoder: str) -> nn.Sequential:
    """With running statistics of its own, and an encoder that does something already."""
    made = models.make("cnp_resnet18", channels=1, classes=CLASSES, width=4, encoder=encoder)
    with torch.no_grad():
        for value in made.parameters():
            if value.dim() > 1:
                value.copy_(torch.randn(value.shape, generator=generator) * math.sqrt(2 / value[0].numel()))
        for _ in range(20):
            made(images)
    return made.eval()


@pytest.fixture
def dataset(generator: torch.Generator) -> Dataset:
    def split(count: int) -> Split:
        labels = torch.randint(CLASSES, (count,), generator=generator)
        noise = torch.randint(50, (count, 1, 8, 8), generator=generator)
        return Split((noise + 50 * labels[:, None, None, None]).to(torch.uint8), labels)

    names = tuple("abcde")
    return Dataset("bright", names, split(40), split(30), split(20), (125.0,), (72.0,), Augmentation(1, False), "test")
