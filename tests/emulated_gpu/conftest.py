"""What the tests of this folder share: a GPU, emulated or real, what it counts, and a network to work on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from benchmarks import models
from benchmarks.seeds import drawn_from
from pipelines.jobs.parallel_map import compute_reproducibly
from tests.pipelines.conftest import stage_server

__all__ = ["stage_server"]

Counting = Callable[[], AbstractContextManager[SimpleNamespace]]


@pytest.fixture(autouse=True, scope="session")
def device() -> torch.device:
    """The GPU; without one there is no test here, and nothing is made for one."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU, or `python tests/emulated_gpu/emulate.py -m pytest tests/emulated_gpu`")
    return torch.device("cuda", 0)


@pytest.fixture
def emulation(device: torch.device) -> ModuleType:
    """The emulation itself, for what a real GPU does not tell."""
    if "emulated_gpu" not in sys.modules:
        pytest.skip("only the emulated GPU counts")
    return sys.modules["emulated_gpu"]


@pytest.fixture
def counting(emulation: ModuleType) -> Counting:
    """Counts what happens in a block."""
    return emulation.counting


@pytest.fixture
def strict(device: torch.device) -> Iterator[None]:
    """The mode of the stages, in which what is not deterministic is an error."""
    compute_reproducibly()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def network() -> nn.Module:
    """A ResNet-18 on the CPU for 3x16x16 images, in evaluation mode; not to be written to."""
    with drawn_from("network", device=torch.device("cpu")):
        made = models.make("resnet18", channels=3, classes=10, width=4).eval()
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        with torch.no_grad():
            made.get_submodule("head.linear").weight.mul_(5)
    return made
