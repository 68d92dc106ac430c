"""One thread, and splits of random images."""

import pytest
import torch

from benchmarks.data.dataset import Split
from benchmarks.seeds import generator


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


def random_split(*axes: str, count: int, classes: int, size: int) -> Split:
    """Grey images of ``size × size`` pixels with labels that have nothing to do with them."""
    source = generator(*axes)
    images = torch.randint(0, 256, (count, 1, size, size), dtype=torch.uint8, generator=source)
    return Split(images, torch.randint(classes, (count,), generator=source))
