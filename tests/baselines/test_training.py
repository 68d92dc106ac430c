"""Training: what it learns from, how far each step goes, and which epoch is kept."""

import math
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.images import ImageBatches, ImagePlan, evaluate
from baselines.objectives import CrossEntropy, Step
from baselines.training import Epoch, Losses, Objective
from benchmarks.data.augmentation import Augmentation
from benchmarks.data.dataset import Dataset, Split
from benchmarks.errors import InputError
from tests.baselines.conftest import AXES, Scaled, assert_same, assert_same_weights, with_misleading_tuning


class Recorded(CrossEntropy):
    """Keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []

    def forward(self, model: nn.Module, step: Step) -> Losses:
        assert all(module.training for module in model.modules())
        self.steps.append(step)
        return super().forward(model, step)


def test_training_returns_the_model_it_was_given_in_evaluation_mode(fit, make_model):
    model = make_model()
    assert fit(model=model, epochs=1).model is model
    assert not any(module.training for module in model.modules())


def test_one_epoch_equals_adam_written_out(fit, make_model):
    recorded = Recorded()
    model = fit(recorded, epochs=1, lr=3e-3).model
    plain = make_model().train()
    values = list(plain.parameters())
    means, squares = ([torch.zeros_like(value) for value in values] for _ in range(2))
    losses = []
    for done, step in enumerate(recorded.steps):
        loss = F.cross_entropy(plain(step.inputs), step.labels)
        losses.append(float(loss.detach()))
        lr = 3e-3 * (1 + math.cos(math.pi * done / len(recorded.steps))) / 2
        with torch.no_grad():
            for place, gradient in enumerate(torch.autograd.grad(loss, values)):
                means[place] = 0.9 * means[place] + 0.1 * gradient
                squares[place] = 0.999 * squares[place] + 0.001 * gradient**2
                mean, square = means[place] / (1 - 0.9 ** (done + 1)), squares[place] / (1 - 0.999 ** (done + 1))
                values[place] -= lr * mean / (square.sqrt() + 1e-8)
    found, expected = dict(model.named_parameters()), dict(plain.named_parameters())
    # A bias before batch normalisation has no gradient but rounding, of which Adam makes steps of some length.
    for name in expected.keys() - {"0.bias"}:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-4)
    assert len(losses) == 3


def test_every_epoch_sees_each_training_image_once_in_another_order(fit, dataset, plan):
    still = replace(dataset, augmentation=replace(dataset.augmentation, crop_padding=0))
    recorded = Recorded()
    fit(recorded, data=still, epochs=2)
    first, second = recorded.steps[:3], recorded.steps[3:]
    expected = sorted(image.numpy().tobytes() for image in still.inputs(still.train.images))
    orders = []
    for steps in (first, second):
        orders.append([image.numpy().tobytes() for step in steps for image in step.inputs])
        assert sorted(orders[-1]) == expected
        assert all(1 < len(step.labels) <= plan.batch_size for step in steps)
    assert orders[0] != orders[1]
    assert len({step.seed for step in recorded.steps}) == 6


def test_labels_stay_with_their_images_and_augmentation_is_fresh(fit, dataset):
    images = dataset.train.labels[:, None, None, None].to(torch.uint8).expand(-1, 1, 8, 8) + 100
    recorded = Recorded()
    fit(recorded, data=replace(dataset, train=Split(images, dataset.train.labels)), epochs=2)
    for step in recorded.steps:
        centres = (step.inputs[:, 0, 4, 4] * 55 + 130 - 100).round().to(torch.int64)
        assert torch.equal(centres, step.labels)
    crops = torch.cat([step.inputs[:, 0, 0, 0] * 55 + 130 < 1 for step in recorded.steps])
    assert 0.2 < crops.double().mean() < 0.9  # a crop at an edge shows the padding: 5 of 9 do in this corner


@pytest.mark.parametrize("batch_size", [2, 3, 41, 42, 100])
def test_no_batch_of_one_image_is_left_over(fit, batch_size):
    recorded = Recorded()
    fit(recorded, epochs=1, batch_size=batch_size)
    sizes = [len(step.labels) for step in recorded.steps]
    assert (sum(sizes), len(sizes)) == (42, math.ceil(42 / batch_size))
    assert 1 < min(sizes) <= max(sizes) <= batch_size


def test_the_epoch_to_keep_is_chosen_on_the_tuning_split(fit, dataset, plan):
    misleading = with_misleading_tuning(dataset)
    trained = fit(data=misleading)
    kept, errors = trained.kept, [epoch.scores["tuning_error"] for epoch in trained.history]
    assert kept != min(trained.history, key=lambda epoch: epoch.scores["train_error"])
    assert kept.epoch < plan.epochs
    loss, error = evaluate(trained.model, misleading, misleading.tuning)
    assert (loss, error) == (kept.scores["tuning_loss"], kept.scores["tuning_error"])
    assert min(errors) <= error < min(errors[kept.epoch :])


def kept_of(dataset: Dataset, masks: list[Tensor]) -> int:
    return ImageBatches(dataset).kept([Epoch(place + 1, 0.0, answers=mask) for place, mask in enumerate(masks)])


@pytest.mark.parametrize(
    ("wrong", "kept"),
    [
        ([9, 4, 3, 2, 4], 4),
        ([9, 0, 5, 30, 40], 2),  # five images right before and wrong now: p = 0.0625
        ([9, 0, 6, 30, 40], 1),  # six: p = 0.03
        ([40, 38, 4, 30, 20], 2),
        ([4, 4, 4], 2),
        ([1], 0),
    ],
)
def test_the_last_epoch_that_is_not_significantly_worse_than_the_best_is_kept(dataset, wrong, kept):
    assert kept_of(dataset, [torch.arange(300) < count for count in wrong]) == kept


def test_the_same_number_of_errors_on_other_images_is_weaker_evidence(dataset):
    best = torch.arange(300) < 10
    nested, apart = torch.arange(300) < 18, (torch.arange(300) >= 100) & (torch.arange(300) < 118)
    assert kept_of(dataset, [best, nested]) == 0  # 8 against 0
    assert kept_of(dataset, [best, apart]) == 1  # 18 against 10


def test_kept_weights_are_those_of_a_training_that_ended_at_that_epoch(fit, dataset, plan):
    long, short = Scaled(), Scaled()
    common = {"data": with_misleading_tuning(dataset), "schedule": "constant"}
    trained = fit(long, folder="long", **common)
    assert trained.kept.epoch < plan.epochs
    ended = fit(short, folder="short", epochs=trained.kept.epoch, **common)
    assert trained.history[: len(ended.history)] == ended.history
    assert_same_weights(trained.model, ended.model)
    assert torch.equal(long.scale, short.scale)


def test_test_split_is_not_even_read(fit, dataset):
    class WithoutTest:
        def __getattr__(self, name: str) -> Any:
            assert name != "test"
            return (lambda: "a fingerprint") if name == "fingerprint" else getattr(dataset, name)

    assert_same(fit(data=WithoutTest(), folder="second"), fit(folder="first"))


def test_evaluate_counts_errors_and_averages_loss(make_model, dataset):
    model = make_model().eval()
    with torch.no_grad():
        probabilities = model(dataset.inputs(dataset.tuning.images)).double().softmax(dim=1)
    labels = dataset.tuning.labels.tolist()
    losses = [-math.log(row[label]) for row, label in zip(probabilities.tolist(), labels, strict=True)]
    wrong = [int(row.argmax()) != label for row, label in zip(probabilities, labels, strict=True)]
    loss, error = evaluate(model.train(), dataset, dataset.tuning, chunk=5)
    assert loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert error == pytest.approx(100 * sum(wrong) / len(wrong))
    assert model.training


def test_training_averages_over_images_not_batches(fit, dataset):
    still = replace(dataset, train=dataset.train.select(torch.arange(17)))
    (epoch,) = fit(Scaled(), data=still, epochs=1, lr=1e-12).history
    assert epoch.parts == {"scale": pytest.approx(0.5), "size": pytest.approx((9 * 9 + 8 * 8) / 17)}
    wrong = epoch.scores["train_error"] * 17 / 100
    assert wrong == pytest.approx(round(wrong))
    columns = ["epoch", "train_loss", "train_error", "tuning_loss", "tuning_error", "scale", "size"]
    assert list(epoch.numbers) == columns


def test_clipping_takes_model_and_objective_together(fit, make_model):
    moved = {}
    for clip_norm in (None, 1e-13):  # far below Adam's own epsilon, so that hardly anything moves
        objective, start = Scaled(), make_model().state_dict()["0.weight"]
        model = fit(objective, folder=str(clip_norm), epochs=1, clip_norm=clip_norm).model
        moved[clip_norm] = [
            float((model.state_dict()["0.weight"] - start).abs().max()),
            abs(float(objective.scale) - 0.5),
        ]
    assert min(moved[None]) > 1e-3
    assert max(moved[1e-13]) < 1e-5


def test_training_neither_reads_nor_changes_global_random_state(fit, make_model):
    dropping = [nn.Sequential(*make_model()[:-1], nn.Dropout(0.5), make_model()[-1]) for _ in range(2)]
    torch.manual_seed(1)
    before = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())
    first = fit(model=dropping[0], folder="first")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]
    torch.manual_seed(2)
    assert_same(fit(model=dropping[1], folder="second"), first)


def test_other_axes_give_another_training(fit):
    assert fit(folder="first").history != fit(folder="second", axes=(*AXES[:-1], 1)).history


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", {0: 1, 0.5: 1, 1: 1}),
        ("cosine", {0: 1, 1 / 3: 0.75, 0.5: 0.5, 2 / 3: 0.25, 1: 0}),
        ("triangular", {0: 0, 0.075: 0.5, 0.15: 1, 0.575: 0.5, 0.83: 0.2, 1: 0}),
    ],
)
def test_schedules_run_over_all_steps(schedule, factors):
    plan = ImagePlan(epochs=2, batch_size=1, lr=1.0, schedule=schedule)
    for progress, factor in factors.items():
        assert plan.factor(40 * progress, steps=20) == pytest.approx(factor, abs=1e-15)


def test_cutout_zeroes_a_square_of_every_image_and_changes_no_other_draw(dataset, plan):
    bright = replace(dataset, augmentation=Augmentation(crop_padding=0, flip=False), mean=(-500.0,))  # no pixel is zero
    source = ImageBatches(bright)
    whole, cut = (
        [step for number in (1, 2) for step in source.epoch(replace(plan, cutout=side), (number,)).batches()]
        for side in (None, 3)
    )
    places = set()
    for before, after in zip(whole, cut, strict=True):
        assert torch.equal(before.labels, after.labels)
        for image, found in zip(before.inputs[:, 0], after.inputs[:, 0], strict=True):
            top, left = (int(places.min()) for places in (found == 0).nonzero(as_tuple=True))
            image[top : top + 3, left : left + 3] = 0
            assert torch.equal(found, image)
            places.add((top, left))
    assert {top for top, _ in places} == {left for _, left in places} == set(range(6))


def test_cutout_larger_than_the_images_is_refused(fit):
    with pytest.raises(InputError, match="cutout must be at most 8, the side of the images, not 9"):
        fit(cutout=9)


def test_schedule_runs_over_the_steps_of_all_epochs(fit, monkeypatch):
    rates = []
    original = torch.optim.Adam.step

    def spying(self: torch.optim.Adam, *args: Any, **kwargs: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", spying)
    fit()
    assert rates == pytest.approx([0.5e-2 * (1 + math.cos(math.pi * done / 12)) for done in range(12)])


class Linear(Objective):
    """Has a gradient of one everywhere, and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.zeros(3))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)

    def forward(self, model: nn.Module, step: Step) -> Losses:
        total = self.own.sum() + self.frozen.sum() + sum(value.sum() for value in model.parameters())
        return Losses(total, model(step.inputs))


SGD = {"epochs": 1, "schedule": "constant", "optimizer": "sgd"}


def test_sgd_has_momentum_and_new_parameters_a_learning_rate_of_their_own(fit, make_model):
    objective = Linear()
    before = {name: value.detach().clone() for name, value in make_model().named_parameters()}
    trained = fit(objective, new=["4.weight"], batch_size=21, lr=1e-4, lr_new=1e-2, **SGD)  # two steps
    moved = 1.0 + 1.9  # of a gradient of 1, in two steps with momentum 0.9
    for name, value in trained.model.named_parameters():
        rate = 1e-2 if name == "4.weight" else 1e-4
        expected = (before[name].double() - rate * moved).float()
        torch.testing.assert_close(value.detach(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(objective.own.detach(), torch.full((3,), -1e-2 * moved))
    assert objective.frozen.tolist() == [1, 1]


class Late(Objective):
    """Has a parameter that enters the loss from the second step on, as an editor's after a trivial first edit."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.zeros(3))
        self.steps = 0

    def forward(self, model: nn.Module, step: Step) -> Losses:
        logits, self.steps = model(step.inputs), self.steps + 1
        total = F.cross_entropy(logits, step.labels)
        return Losses(total + self.own.sum() if self.steps > 1 else total, logits)


def test_sgd_takes_a_parameter_whose_first_gradient_comes_late(fit):
    objective = Late()
    fit(objective, batch_size=14, lr=1e-2, **SGD)  # three steps
    torch.testing.assert_close(objective.own.detach(), torch.full((3,), -1e-2 * (1.0 + 1.9)))
