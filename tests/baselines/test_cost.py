"""The cost of a step is a ratio of times, and measuring it changes nothing."""

import pytest
import torch

from baselines import cost
from baselines.images import ImagePlan
from baselines.objectives import CrossEntropy, Step
from baselines.training import Losses


class Timed(CrossEntropy):
    """Plain training that takes so many seconds of a clock."""

    seconds = 1.0

    def forward(self, model: torch.nn.Module, step: Step) -> Losses:
        CLOCK[0] += self.seconds * (1 + step.size / 100)
        losses = super().forward(model, step)
        return Losses(losses.total, losses.logits, {"edit_steps": torch.tensor(3.0)})


class Slow(Timed):
    seconds = 2.5


CLOCK = [0.0]


def test_the_cost_is_a_ratio_of_times_and_nothing_is_changed(make_model, dataset, monkeypatch):
    monkeypatch.setattr(cost.time, "perf_counter", lambda: CLOCK[0])
    monkeypatch.setattr(cost, "CrossEntropy", Timed)
    model, plan = make_model(), ImagePlan(epochs=1, batch_size=4, lr=1.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = cost.step_cost(model, Slow(), dataset, plan, count=8)
    for value in (found.ratio.value, found.ratio.low, found.ratio.high):
        assert value == pytest.approx(2.5)
    assert (found.edit_steps, found.batches) == (3.0, 8)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("batch_size", [6, 64])
def test_as_many_batches_are_timed_as_asked_for_however_few_an_epoch_has(make_model, dataset, batch_size):
    plan = ImagePlan(epochs=1, batch_size=batch_size, lr=1e-3)  # 42 images
    found = cost.step_cost(make_model(), CrossEntropy(), dataset, plan, count=9)
    assert found.batches == 9
    assert found.ratio.low < found.ratio.high
