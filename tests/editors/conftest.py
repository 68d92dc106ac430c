"""Small models and editors that the tests of this folder share."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import editors

# Learning rates with which the edits below take some, but not all, of their steps; editors not named use their default.
LEARNING_RATES = {
    "gd": 0.05,
    "scaled_gd": 0.15,
    "rprop": 0.02,
    "rmsprop": 0.02,
    "momentum": 0.03,
    "adam": 0.02,
}


class ConvNet(nn.Module):
    """Images ``(N, 1, 6, 6)`` to 5 logits, with everything that behaves otherwise in training: batch norm, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh())
        self.chain1 = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh())
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(4 * 9, 5)

    def forward(self, images: Tensor) -> Tensor:
        features = nn.functional.avg_pool2d(self.chain1(self.stem(images)), 2)
        return self.head(self.dropout(features.flatten(1)))


class CountingConstraint:
    """A constraint that knows how often it was evaluated; ``limit`` shifts how hard it is to satisfy."""

    def __init__(self, label: int, limit: float = 0.0) -> None:
        self.label, self.limit, self.calls = label, limit, 0

    def __call__(self, outputs: Tensor) -> Tensor:
        self.calls += 1
        return nn.functional.cross_entropy(outputs, torch.full((len(outputs),), self.label)) - self.limit


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(params=editors.available())
def name(request: pytest.FixtureRequest) -> str:
    """Each registered editor in turn."""
    return request.param


@pytest.fixture
def build(name: str) -> Callable[..., editors.Editor]:
    def build_with(**values: Any) -> editors.Editor:
        lr = {"lr": LEARNING_RATES[name]} if name in LEARNING_RATES else {}
        return editors.build(name, **{**lr, **values})

    return build_with


@pytest.fixture
def editor(build: Callable[..., editors.Editor]) -> editors.Editor:
    return build(max_steps=6)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(2020)


@pytest.fixture
def model(generator: torch.Generator) -> nn.Module:
    """A float64 :class:`ConvNet` left in training mode, as a user would hand it over between two epochs."""
    net = ConvNet().double().train()
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(torch.randn(value.shape, generator=generator, dtype=value.dtype) * 0.3)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(generator=generator)
                module.running_var.uniform_(0.5, 2.0, generator=generator)
    net.stem[1].eval()
    net.head.bias.requires_grad_(False)
    return net


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    """``(12, 1, 1, 6, 6)``: the inputs of twelve edits."""
    return torch.randn(12, 1, 1, 6, 6, generator=generator, dtype=torch.float64)


@pytest.fixture
def counting() -> type[CountingConstraint]:
    return CountingConstraint
