"""Editable+CNP: its training, with a front that learns or is frozen."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from baselines import cnp
from baselines.cnp import CnpObjective, CnpTerms, FrontBatches, FrozenFrontObjective
from baselines.images import ImageBatches, ImagePlan
from baselines.objectives import Step
from baselines.training import train
from benchmarks import seeds
from benchmarks.data.dataset import Dataset
from benchmarks.errors import InputError
from tests.baselines.cnp.conftest import CLASSES


def apart(images: Tensor, seed: int) -> Callable[[int], Tensor]:
    """Draws images that are unlike those of the batch."""
    return lambda count: -images.roll(seed, 0)[:count]


@pytest.mark.parametrize("margin", [0.0, 2.0])
def test_gradient_of_the_objective_equals_finite_differences(model, images, generator, margin):
    model = model.double().train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    made = CnpObjective(CnpTerms(c_edit=0.7, c_loc=1.3, margin=margin, detach_reference=False))
    labels = torch.randint(CLASSES, (8,), generator=generator)
    steps = (Step(images.double(), labels, seed, apart(images.double(), seed)) for seed in range(50))
    step = next(one for one in steps if made(model, one).parts["edit_loss"] > 0)
    named = dict(model.named_parameters())
    gradients = torch.autograd.grad(made(model, step).total, list(named.values()))
    for (name, value), gradient in zip(named.items(), gradients, strict=True):
        direction = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        ends = []
        for size in (1e-8, -1e-8):  # so small that hardly a rectifier changes sides
            with torch.no_grad():
                value += size * direction
                ends.append(float(made(model, step).total))
                value -= size * direction
        expected = (ends[0] - ends[1]) / 2e-8
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-4, abs=1e-6), name


def test_the_margin_counts_only_where_something_was_edited(model, images):
    labels = torch.zeros(8, dtype=torch.int64)
    met = set()
    for seed in range(12):
        step = Step(images, labels, seed, apart(images, seed))
        fresh = [copy.deepcopy(model).train() for _ in range(2)]
        plain, wide = (
            CnpObjective(CnpTerms(c_edit=1.0, c_loc=1.0, margin=margin))(one, step).parts
            for one, margin in zip(fresh, (0.0, 50.0), strict=True)
        )
        trivial = float(plain["locality_loss"].detach().abs()) < 1e-9
        met.add(trivial)
        if trivial:
            assert float(wide["edit_loss"].detach()) == 0
        elif not plain["edit_success"]:
            assert float((wide["edit_loss"] - plain["edit_loss"]).detach()) == pytest.approx(50, rel=1e-4)
    assert met == {True, False}


def with_places(images: Tensor, margin: float, **options: object) -> tuple[CnpTerms, Step]:
    """Terms, and a step in which some edits are trivial, some succeed and some fail."""
    terms = CnpTerms(c_edit=0.7, c_loc=1.3, margin=margin, edits=12, **options)
    labels = torch.arange(len(images)) % CLASSES
    others = torch.cat([-images, images.flip(2)])
    return terms, Step(images, labels, 3, lambda count: others[:count])


def naive_losses(model: nn.Sequential, terms: CnpTerms, step: Step) -> tuple[Tensor, Tensor, list[bool]]:
    """L_edit and L_loc, one edit and one image at a time, with whole forward passes."""
    front, part = model[:4], model.condition
    answers = [model(one[None])[0] for one in step.inputs]
    source = editors_source(step)
    edit_loss, locality, trivial = torch.zeros(()), torch.zeros(()), []
    for image in step.apart(terms.edits):
        label = int(torch.randint(CLASSES, (), generator=source))
        trivial.append(int(model(image[None])[0].argmax()) == label)
        if trivial[-1]:
            continue
        hidden = front(image[None]) + part.embedding.weight[label].view(1, -1, 1, 1)
        vector = torch.relu(hidden + part.conv2(torch.relu(part.conv1(hidden))))

        def edited(one: Tensor, vector: Tensor = vector) -> Tensor:
            return model.head(model.chain4(front(one[None]) + vector))[0]

        after = edited(image)
        others = torch.cat([after[:label], after[label + 1 :]])
        edit_loss = edit_loss + (others.max() - after[label] + terms.margin).clamp(min=0)
        for one, before in zip(step.inputs, answers, strict=True):
            p = before.softmax(dim=0).detach()
            locality = locality + (p * (p.log() - edited(one).log_softmax(dim=0))).sum() / len(step.inputs)
    return edit_loss / terms.edits, locality / terms.edits, trivial


def editors_source(step: Step) -> torch.Generator:
    return seeds.generator(step.seed, "edit")


@pytest.mark.parametrize("front", ["frozen", "trained"])
@pytest.mark.parametrize("margin", [0.0, 2.0])
def test_losses_and_gradients_are_those_of_the_naive_formulas(
    model: nn.Sequential, images: Tensor, margin: float, front: str
) -> None:
    """In float64. Locality is averaged over the batch, of which no edited image is one."""
    model = model.double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    terms, step = with_places(images.double(), margin, front=front)
    made, behind = cnp.objective(terms), list(model[4:].parameters())
    edit_loss, locality, trivial = naive_losses(model, terms, step)
    expected = torch.autograd.grad(0.7 * edit_loss + 1.3 * locality, behind)
    if front == "frozen":
        made.freeze(model)
        assert not any(value.requires_grad for value in model[:4].parameters())
        features, others = model[:4](step.inputs), model[:4](step.apart(terms.edits))
        step = Step(features, step.labels, step.seed, lambda count: others)
    losses = made(model.train(), step)
    answers = model[4:](features) if front == "frozen" else model(step.inputs)
    torch.testing.assert_close(losses.parts["base_loss"], nn.functional.cross_entropy(answers, step.labels))
    total = losses.total - losses.parts["base_loss"]
    assert 0 < sum(trivial) < terms.edits
    torch.testing.assert_close(losses.parts["edit_loss"], edit_loss.detach().double(), check_dtype=False)
    torch.testing.assert_close(losses.parts["locality_loss"], locality.detach().double(), check_dtype=False)
    for found, gradient in zip(torch.autograd.grad(total, behind), expected, strict=True):
        torch.testing.assert_close(found, gradient, rtol=1e-8, atol=1e-12)


def test_a_step_of_trivial_edits_alone_teaches_nothing(model: nn.Sequential, images: Tensor) -> None:
    step = Step(model[:4](images), torch.zeros(8).long(), 0)
    made = FrozenFrontObjective(CnpTerms(c_edit=1.0, c_loc=1.0, front="frozen"))
    for seed in range(50):
        label = int(torch.randint(CLASSES, (), generator=seeds.generator(seed, "edit")))
        found = (model(images).argmax(dim=1) == label).nonzero()
        if len(found):
            same = step.inputs[found[0]]
            losses = made(model, Step(step.inputs, step.labels, seed, lambda count, same=same: same))
            assert float(losses.total.detach()) == float(losses.parts["base_loss"].detach())
            assert float(losses.parts["edit_success"]) == 1
            gradients = torch.autograd.grad(losses.total, list(model.condition.parameters()))
            assert not any(bool(one.any()) for one in gradients)
            return
    raise AssertionError("no trivial edit")


PLAN = ImagePlan(epochs=3, batch_size=8, lr=1e-2)


@pytest.mark.parametrize("copies", [None, 2])
def test_a_frozen_front_stays_as_it_is_and_the_rest_learns(
    model: nn.Sequential, dataset: Dataset, tmp_path: Path, copies: int | None
) -> None:
    """Bit by bit, running statistics included; the same seed gives the same bytes."""
    trained = []
    for folder in ("one", "other"):
        mine = copy.deepcopy(model)
        options = {"margin": 1.0, "edits": 8, "front": "frozen", "copies": copies}
        made = FrozenFrontObjective(CnpTerms(c_edit=1.0, c_loc=1.0, **options))
        made.freeze(mine)
        source = FrontBatches(dataset, mine, copies, (0, "front"))
        trained.append(train(mine, made, source, PLAN, tmp_path / folder, (0, "bright", "cnp")))
    one, other = (each.model.state_dict() for each in trained)
    for name, value in model.state_dict().items():
        behind = name.startswith(("condition.", "chain4.", "head.")) and name != "condition.vector"
        assert torch.equal(value, one[name]) != behind, name
        assert torch.equal(one[name], other[name]), name
    first, *_, last = (epoch.parts["edit_loss"] + epoch.parts["locality_loss"] for epoch in trained[0].history)
    assert last < 0.8 * first


def test_batches_of_the_front_are_its_activations_of_augmented_images(model: nn.Sequential, dataset: Dataset) -> None:
    axes = (0, "bright", "epoch", 1)
    plain = list(ImageBatches(dataset).epoch(PLAN, axes).batches())
    fresh = list(FrontBatches(dataset, model, None, axes).epoch(PLAN, axes).batches())
    for one, other in zip(plain, fresh, strict=True):
        torch.testing.assert_close(other.inputs, model[:4](one.inputs))
        torch.testing.assert_close(other.apart(3), model[:4](one.apart(3)))
        assert torch.equal(one.labels, other.labels)
    crops = [model[:4](dataset.inputs(one)) for one in every_crop(dataset.train.images)]
    kept = FrontBatches(dataset, model, 2, axes)
    met: dict[int, set[int]] = {}
    for epoch in range(8):
        for batch in kept.epoch(PLAN, (0, "bright", "epoch", epoch)).batches():
            for one in torch.cat([batch.inputs, batch.apart(2)]):
                near = [int(((crop - one).abs().amax(dim=(1, 2, 3))).argmin()) for crop in crops]
                best = min(range(9), key=lambda at: float((crops[at][near[at]] - one).abs().max()))
                torch.testing.assert_close(crops[best][near[best]], one, rtol=1e-4, atol=1e-5)
                met.setdefault(near[best], set()).add(best)
    assert len(met) == len(dataset.train)
    assert {len(found) for found in met.values()} == {1, 2}  # of nine crops: those of the two copies


def every_crop(images: Tensor) -> list[Tensor]:
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    return [padded[:, :, top : top + 8, left : left + 8] for top in range(3) for left in range(3)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"front": "thawed"}, "front must be one of trained, frozen, not 'thawed'"),
        ({"copies": 4}, "copies needs front: frozen"),
        ({"front": "frozen", "copies": 0}, "copies must be a whole number >= 1 or null, not 0"),
    ],
)
def test_settings_that_fit_no_training_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CnpTerms(c_edit=0.1, c_loc=0.1, **options)
