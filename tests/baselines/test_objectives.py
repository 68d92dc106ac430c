import math

import pytest
import torch
from torch import nn

from baselines.objectives import CrossEntropy, Objective, Step


def test_cross_entropy_equals_its_definition() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], requires_grad=True)
    losses = CrossEntropy()(nn.Identity(), Step(logits, torch.tensor([1, 0]), seed=0))
    by_hand = [
        math.log(math.exp(1) + math.exp(2) + math.exp(0.5)) - 2,
        math.log(math.exp(0) + math.exp(-1) + math.exp(3)) - 0,
    ]
    assert float(losses.total.detach()) == pytest.approx(sum(by_hand) / 2, rel=1e-6)
    assert losses.logits is logits
    assert losses.total.requires_grad


def test_objective_without_a_definition_says_what_is_missing() -> None:
    class Unfinished(Objective):
        pass

    with pytest.raises(TypeError, match=r"Unfinished must define forward\(model, step\)"):
        Unfinished()(nn.Identity(), Step(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), seed=0))
