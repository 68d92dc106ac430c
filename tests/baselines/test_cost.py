"""The cost of a step is a ratio of times, and measuring it changes nothing."""

from __future__ import annotations

import time

import pytest
import torch

from baselines.cost import step_cost
from baselines.images import ImagePlan
from baselines.objectives import CrossEntropy, Step
from baselines.training import Losses


class Slow(CrossEntropy):
    """Plain training that stops for a while."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, model: torch.nn.Module, step: Step) -> Losses:
        losses = super().forward(model, step)
        if self.seconds:  # sleep(0) gives the core to whoever waits for it
            time.sleep(self.seconds)
        return Losses(losses.total, losses.logits, {"edit_steps": torch.tensor(3.0)})


def test_slower_steps_cost_more_and_nothing_is_changed(make_model, dataset) -> None:
    model, plan = make_model(), ImagePlan(epochs=1, batch_size=4, lr=1.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    same, slow = (step_cost(model, Slow(seconds), dataset, plan, count=8) for seconds in (0.0, 0.05))
    assert 0.3 < same.ratio.value < 3
    assert slow.ratio.low > same.ratio.high
    assert slow.ratio.low <= slow.ratio.value <= slow.ratio.high
    assert (slow.edit_steps, slow.batches) == (3.0, 8)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("batch_size", [6, 64])
def test_as_many_batches_are_timed_as_asked_for_however_few_an_epoch_has(make_model, dataset, batch_size: int) -> None:
    plan = ImagePlan(epochs=1, batch_size=batch_size, lr=1e-3)  # 42 images
    found = step_cost(make_model(), CrossEntropy(), dataset, plan, count=9)
    assert found.batches == 9
    assert found.ratio.low < found.ratio.high
