"""Architectures are checked without being made in memory."""

from __future__ import annotations

import pytest
import torch

from benchmarks.errors import InputError
from pipelines.config import architectures


def test_a_check_refuses_what_make_refuses_and_draws_no_numbers() -> None:
    state = torch.get_rng_state()
    architectures.check("resnet18", {"width": 4})
    architectures.check("torchvision", {"network": "densenet169", "extra_width": 8})
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(InputError, match="width must be a whole number >= 1, not 0"):
        architectures.check("resnet18", {"width": 0})
    with pytest.raises(InputError, match="torchvision has no classifier 'resnet19'"):
        architectures.check("torchvision", {"network": "resnet19"})
