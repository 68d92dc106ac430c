"""What is seen of one module while a model answers, against the same computed step by step."""

import pytest
import torch
from torch import Tensor, nn

from editors import EditError
from editors.hooks import observe


class Counting(nn.Module):
    """Uses one layer twice, and counts how often it was called in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return self.layer(self.layer(inputs).relu())


def test_each_pass_of_the_module_is_seen_in_order():
    model, inputs = Counting(), torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    given, made, outputs = observe(model, model.layer, inputs)
    first = model.layer(inputs)
    assert torch.equal(given[0], inputs)
    assert torch.equal(made[0], first)
    assert torch.equal(given[1], first.relu())
    assert made[1] is outputs
    assert len(given) == len(made) == 2


def test_nobody_watches_afterwards_not_even_when_the_model_fails():
    model = Counting()
    seen = observe(model, model.layer, torch.ones(1, 3))
    with pytest.raises(EditError, match="the model fails on inputs of shape"):
        observe(model, model.layer, torch.ones(1, 4))
    model(torch.ones(1, 3))
    assert len(seen.given) == 2
    assert not model.layer._forward_hooks


def test_what_is_recorded_carries_the_graph_of_the_inputs_and_is_of_one_pass():
    """The first pass of a model with such inputs only looks, on detached copies, whether it works in place."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    seen = observe(model, model[2], inputs)
    assert (len(seen.given), len(seen.made)) == (1, 1)
    (gradient,) = torch.autograd.grad(seen.given[0].sum(), inputs)
    (expected,) = torch.autograd.grad(model[:2](inputs).sum(), inputs)
    assert torch.equal(gradient, expected)
