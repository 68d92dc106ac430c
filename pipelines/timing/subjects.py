"""What the report on speed edits, evaluates and trains: a random network that answers like a trained one."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines import naive, precision
from baselines.editable import EditableObjective, EditableTerms
from baselines.objectives import CrossEntropy, Step
from benchmarks import models
from benchmarks.data.augmentation import Augmentation
from benchmarks.data.dataset import Dataset, Split, channel_statistics
from benchmarks.networks.model_split import activations
from benchmarks.scoring.requests import EditRequests, draw_requests
from benchmarks.seeds import generator

CLASSES, SIZE = 10, 32
_SPREAD = 3.0  # standard deviation of the logits over images


@cache
def network(width: int, device: torch.device) -> nn.Sequential:
    """A ResNet-18 for 32x32 images with random weights, batch statistics of real activations and spread-out answers.

    So no image takes longer than another, and edits take a few steps; how good the answers are changes no time.
    """
    model = models.make("resnet18", channels=3, classes=CLASSES, width=width)
    source = generator("speed", "weights", width)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=source)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    model = model.to(device).train()
    inputs = dataset(100).inputs(_images(100)).to(device)
    with torch.no_grad():
        model(inputs)
    model.eval()
    logits = activations(model, inputs)
    scale, linear = _SPREAD / logits.std(dim=0), model.get_submodule("head.linear")
    with torch.no_grad():
        linear.weight *= scale[:, None]
        linear.bias.copy_(-logits.mean(dim=0) * scale)
    return model


def requests(data: Dataset, count: int) -> EditRequests:
    """``count`` requests, drawn like those of every benchmark."""
    return draw_requests(data.test, CLASSES, count, "speed", "requests")


def dataset(count: int) -> Dataset:
    """``count`` random images, all with label 0: an error changes as much as answers do, whatever the labels are."""
    images = _images(count)
    split = Split(images, torch.zeros(count, dtype=torch.int64))
    mean, std = channel_statistics(images)
    return Dataset(
        name="random",
        classes=tuple(str(number) for number in range(CLASSES)),
        train=split,
        tuning=split,
        test=split,
        mean=mean,
        std=std,
        augmentation=Augmentation(crop_padding=4, flip=True),
        source="Random coarse patches of colour under noise.",
    )


@cache
def _images(count: int) -> Tensor:
    """Coarse random patches of colour under noise, uint8 ``(count, 3, 32, 32)``; a larger count begins alike."""
    source = generator("speed", "images")
    made = []
    for _ in range(0, count, 100):
        patches = F.interpolate(torch.rand(100, 3, 4, 4, generator=source), size=SIZE, mode="bilinear")
        made.append((200 * patches + 55 * torch.rand(100, 3, SIZE, SIZE, generator=source)).to(torch.uint8))
    return torch.cat(made)[:count]


def plain_step(width: int, batch: int, device: torch.device, mixed_precision: bool) -> Callable[[], Tensor]:
    """A step of plain training on a copy, which hardly moves; called, it returns the loss."""
    model = copy.deepcopy(network(width, device)).train().to(memory_format=precision.memory_format(mixed_precision))
    data = dataset(batch)
    inputs, labels = data.inputs(data.test.images.to(device)), data.test.labels.to(device)
    inputs = inputs.to(memory_format=precision.memory_format(mixed_precision))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-9, fused=True)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with precision.mixed(device, mixed_precision):
            loss = CrossEntropy()(model, Step(inputs, labels, 0)).total
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


class Training:
    """One batch of Editable Training on chain 3 whose edit takes all ``k`` inner steps, as losses of a model.

    Ours, the naive way, and that of a plain step to compare with.
    """

    def __init__(self, width: int, batch: int, k: int, device: torch.device, compiled: bool = False) -> None:
        # Steps so small that no edit succeeds; trivial edits remain, and another seed draws another label.
        tiny = {"lr": 1e-5, "eps": 1e-2}
        self.terms = EditableTerms(
            editor="rmsprop", layers="chain3", c_edit=0.01, c_loc=0.01, max_steps=k, hyperparameters=tiny
        )
        self.model = network(width, device)
        self.objective = EditableObjective(self.terms, compiled=compiled).to(device)
        data = dataset(batch + 1)  # the last one is edited
        inputs, labels = data.inputs(data.test.images.to(device)), data.test.labels.to(device)
        for seed in itertools.count():
            self.step = Step(inputs[:batch], labels[:batch], seed, lambda count: inputs[batch : batch + count])
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
