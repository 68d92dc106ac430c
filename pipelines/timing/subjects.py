"""What the report on speed edits, evaluates and trains: a random network that answers like a trained one."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
