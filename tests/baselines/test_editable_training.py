"""Editable Training from its first step to its last: what it lowers, clips and resumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import editors
from baselines.editable import EditableObjective, EditableTerms
from baselines.images import ImageBatches, ImagePlan
from baselines.objectives import Step
from baselines.training import Losses, train
from benchmarks import models
from benchmarks.data.augmentation import Augmentation
from benchmarks.data.dataset import Dataset, Split

CLASSES = 4
TERMS = EditableTerms(editor="rmsprop", layers="chain3", c_edit=0.1, c_loc=0.1, max_steps=2)


@pytest.fixture
def digits(generator: torch.Generator) -> Dataset:
    """Small random images whose class is their brightness."""

    def images(count: int) -> Split:
        labels = torch.randint(CLASSES, (count,), generator=generator)
        noise = torch.randint(60, (count, 1, 6, 6), generator=generator)
        return Split((noise + 60 * labels[:, None, None, None]).to(torch.uint8), labels)

    return Dataset(
        name="bright",
        classes=("a", "b", "c", "d"),
        train=images(48),
        tuning=images(16),
        test=images(16),
        mean=(110.0,),
        std=(70.0,),
        augmentation=Augmentation(crop_padding=1, flip=False),
        source="made for this test",
    )


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return models.make("resnet18", channels=1, classes=CLASSES, width=4)


def trained_with(digits: Dataset, folder: Path, plan: ImagePlan, **options: Any) -> tuple[dict[str, Tensor], Any]:
    net, made = network(), EditableObjective(TERMS)
    train(net, made, ImageBatches(digits), plan, folder, (0, "bright", "editable"), **options)
    return net.state_dict() | {f"objective.{name}": value for name, value in made.state_dict().items()}, made


def test_resumed_training_gives_the_same_bytes(digits: Dataset, tmp_path: Path) -> None:
    plan = ImagePlan(epochs=3, batch_size=16, lr=2e-3, schedule="cosine", clip_norm=10.0)

    def interrupt(epoch: Any) -> None:
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained_with(digits, tmp_path / "broken", plan, on_epoch=interrupt)
    resumed, objective_resumed = trained_with(digits, tmp_path / "broken", plan)
    unbroken, objective_unbroken = trained_with(digits, tmp_path / "unbroken", plan)
    assert all(torch.equal(value, resumed[name]) for name, value in unbroken.items())
    assert objective_resumed.editor_parameters() == objective_unbroken.editor_parameters()
    start = editors.describe("rmsprop").hyperparameters[0].default
    assert objective_unbroken.editor_parameters()["lr"] != pytest.approx(start, rel=1e-4)


def test_clipping_takes_model_and_editor_parameters_together(digits: Dataset, tmp_path: Path) -> None:
    moved = {}
    for clip_norm in (None, 1e-13):  # far below Adam's own epsilon, so that hardly anything moves
        plan = ImagePlan(epochs=1, batch_size=24, lr=1e-2, clip_norm=clip_norm)
        net = network().state_dict()
        weights, made = trained_with(digits, tmp_path / str(clip_norm), plan)
        beginning = EditableObjective(TERMS).state_dict()
        moved[clip_norm] = [
            float((weights["stem.conv.weight"] - net["stem.conv.weight"]).abs().max()),
            float((made.state_dict()["raw.lr"] - beginning["raw.lr"]).abs()),
        ]
    assert min(moved[None]) > 1e-3
    assert max(moved[1e-13]) < 1e-5


def test_a_step_down_the_gradient_lowers_edit_and_locality_loss(generator: torch.Generator) -> None:
    net = network()
    with torch.no_grad():  # away from the start, where nearly every class is as likely
        net.head.linear.weight.mul_(8)
    inputs, others = torch.randn(28, 1, 6, 6, generator=generator).split([12, 16])
    labels = torch.randint(CLASSES, (12,), generator=generator)
    made = EditableObjective(
        EditableTerms(
            editor="rmsprop", layers="chain3", c_edit=1.0, c_loc=1.0, max_steps=3, hyperparameters={"lr": 2e-3}
        )
    )

    def mean_losses() -> tuple[Tensor, Losses]:
        net.load_state_dict(buffers, strict=False)
        steps = [Step(inputs, labels, seed, lambda count, one=seed: others[one : one + count]) for seed in range(16)]
        every = [made(net, step) for step in steps]
        terms = [losses.parts["edit_loss"] + losses.parts["locality_loss"] for losses in every]
        return torch.stack(terms).mean(), every

    net(inputs)
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    parameters = [*net.parameters(), *made.parameters()]
    before, every = mean_losses()
    gradients = torch.autograd.grad(before, parameters)
    assert {bool(losses.parts["edit_success"]) for losses in every} == {True, False}
    with torch.no_grad():
        length = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
        for value, gradient in zip(parameters, gradients, strict=True):
            value -= 0.01 * gradient / length
    after, _ = mean_losses()
    assert float(after) < float(before) - 0.2 * 0.01 * float(length)
