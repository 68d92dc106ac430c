"""The cost of a training step, in steps of plain training."""

from __future__ import annotations

import copy
import itertools
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from baselines import precision
from baselines.images import ImageBatches, ImagePlan
from baselines.objectives import CrossEntropy, Step
from baselines.training import Objective
from benchmarks.data.dataset import Dataset
from benchmarks.metrics import Estimate
from editors.devices import finish

_RESAMPLES = 2000


@dataclass(frozen=True)
class StepCost:
    """Mean time of an objective's step over that of a plain one, on the same batches, measured in turns.

    :ivar ratio: with its 95 % interval (bootstrap over batches).
    :ivar edit_steps: mean number of the editor's inner steps meanwhile; each costs a forward and a backward pass.
    :ivar batches: how many were timed.
    """

    ratio: Estimate
    edit_steps: float
    batches: int


def step_cost(model: nn.Module, objective: Objective, dataset: Dataset, plan: ImagePlan, count: int = 12) -> StepCost:
    """Time ``count`` batches with ``objective`` and with the cross-entropy alone, on copies: nothing is changed.

    A step is a forward pass, a backward pass and one of Adam. Other work on the machine slows both kinds alike,
    which is why they take turns; it still widens the interval.
    """
    source = ImageBatches(dataset, next(model.parameters()).device)
    timed = [_Timed(model, CrossEntropy(), plan), _Timed(model, objective, plan)]
    epochs = (source.epoch(plan, ("cost", number)).batches() for number in itertools.count())
    seconds: list[list[float]] = []
    inner: list[float] = []
    for step in itertools.islice(itertools.chain.from_iterable(epochs), count + 1):
        taken = [one.run(step) for one in timed]
        seconds.append([spent for spent, _ in taken])
        inner.append(taken[1][1])
    seconds, inner = seconds[1:], inner[1:]  # the first one warms up
    times = np.array(seconds)
    chosen = np.random.default_rng(0).integers(len(times), size=(_RESAMPLES, len(times)))
    sums = times[chosen].sum(axis=1)
    low, high = np.quantile(sums[:, 1] / sums[:, 0], [0.025, 0.975])
    total = times.sum(axis=0)
    return StepCost(Estimate(float(total[1] / total[0]), float(low), float(high)), float(np.mean(inner)), len(times))


class _Timed:
    """A copy of a model, trained for a few steps to see how long they take."""

    def __init__(self, model: nn.Module, objective: Objective, plan: ImagePlan) -> None:
        order = precision.memory_format(plan.mixed_precision)
        self._model, self._objective = (copy.deepcopy(one).to(memory_format=order) for one in (model, objective))
        self._mixed_precision = plan.mixed_precision
        trained = [*self._model.train().parameters(), *self._objective.parameters()]
        self._optimizer = torch.optim.Adam(trained, lr=plan.lr * 1e-6, fused=True)

    def run(self, step: Step) -> tuple[float, float]:
        """Seconds of one step, and the editor's inner steps in it."""
        finish(step.inputs.device)
        began = time.perf_counter()
        self._optimizer.zero_grad(set_to_none=True)
        with precision.mixed(step.inputs.device, self._mixed_precision):
            losses = self._objective(self._model, step)
        losses.total.backward()
        self._optimizer.step()
        finish(step.inputs.device)
        return time.perf_counter() - began, float(losses.parts.get("edit_steps", 0.0))
