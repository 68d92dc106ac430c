"""A step of Editable Training for the report on speed: ours, the naive way, and the plain step to compare with."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from baselines import naive
from baselines.editable import EditableObjective, EditableTerms
from baselines.objectives import CrossEntropy, Step
from pipelines.timing import roofline
from pipelines.timing import subjects as subjects
from pipelines.timing.records import Comparison, Goal, Operations, Record
from pipelines.timing.stopwatch import Conditions, in_turns, ratio


class Training:
    """One batch of Editable Training on chain 3 whose edit takes all ``k`` inner steps, as losses of a model."""

    def __init__(self, width: int, batch: int, k: int, device: torch.device, compiled: bool = False) -> None:
        # Steps so small that no edit succeeds; trivial edits remain, and another seed draws another edit.
        tiny = {"lr": 1e-5, "eps": 1e-2}
        self.terms = EditableTerms(
            editor="rmsprop", layers="chain3", c_edit=0.01, c_loc=0.01, max_steps=k, hyperparameters=tiny
        )
        self.model = subjects.network(width, device)
        self.objective = EditableObjective(self.terms, compiled=compiled).to(device)
        data = subjects.dataset(batch)
        inputs, labels = data.inputs(data.test.images.to(device)), data.test.labels.to(device)
        for seed in itertools.count():
            self.step = Step(inputs, labels, seed)
            model = copy.deepcopy(self.model).train()
            if int(self.objective(model, self.step).parts["edit_steps"]) == k:
                break

    def plain(self, model: nn.Module, objective: nn.Module) -> Tensor:
        return CrossEntropy()(model, self.step).total

    def ours(self, model: nn.Module, objective: nn.Module) -> Tensor:
        return objective(model, self.step).total

    def naive(self, model: nn.Module, objective: nn.Module) -> Tensor:
        editor = objective.editor()
        rule = naive.RMSProp(editor.lr, editor.beta, editor.eps)
        return naive.editable_loss(model, self.step, self.terms, self.terms.layers, rule, self.terms.max_steps)

    def gradient(self, loss: Callable[[nn.Module, nn.Module], Tensor]) -> Tensor:
        """That of all parameters, the editor's included, as one vector."""
        model, objective = copy.deepcopy(self.model).train(), copy.deepcopy(self.objective)
        wanted = [*model.parameters(), *objective.parameters()]
        return torch.cat([value.flatten() for value in torch.autograd.grad(loss(model, objective), wanted)])

    def stepper(self, loss: Callable[[nn.Module, nn.Module], Tensor]) -> Callable[[], None]:
        """A training step on a copy, which hardly moves: forward, backward, Adam."""
        model, objective = copy.deepcopy(self.model).train(), copy.deepcopy(self.objective)
        optimizer = torch.optim.Adam([*model.parameters(), *objective.parameters()], lr=1e-9, fused=True)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            loss(model, objective).backward()
            optimizer.step()

        return step


def training_step(width: int, batch: int, k: int, goal: Goal, asked: Conditions, compiled: bool = False) -> Record:
    """What a step of Editable Training costs, in plain steps; the first round is not timed."""
    training = Training(width, batch, k, asked.device, compiled)
    found, expected = training.gradient(training.ours), training.gradient(training.naive)
    differences = {"gradient (relative)": float((found - expected).norm() / expected.norm())}
    ways = {name: training.stepper(getattr(training, name)) for name in ("plain", "ours", "naive")}
    known = roofline.references(asked.device)
    ways |= {name: reference.way for name, reference in known.items()}
    in_turns(ways, 1, asked.device)
    seconds = in_turns(ways, asked.turns, asked.device)
    counted = Training(width, batch, k, asked.device) if compiled else training
    over_limit = roofline.over_limit(seconds, roofline.operations(counted.stepper(counted.ours)), known)
    over_plain = {name: ratio(seconds[name], seconds["plain"]) for name in ("ours", "naive")}
    return Comparison(goal, seconds, over_plain["ours"], differences, over_limit, over_plain["naive"])


def operations(asked: Conditions) -> Record:
    """Counted as the difference between four inner steps and three: forward passes and their share of the backward."""
    counts = {}
    for name in ("ours", "naive"):
        totals = []
        for k in (3, 4):
            training = Training(16, 8, k, torch.device("cpu"))
            with _Counter() as counter:
                training.gradient(getattr(training, name))
            totals.append(counter.count)
        counts[name] = totals[1] - totals[0]
    return Operations("one inner step of Editable Training, ResNet-18, chain 3", counts)


class _Counter(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))
