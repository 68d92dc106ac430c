"""Editable+CNP: the conditioned network, its editor and its training."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

import editors
from baselines.cnp import CnpObjective, CnpTerms
from baselines.objectives import Step
from benchmarks import models
from benchmarks.data.augmentation import Augmentation
from benchmarks.data.dataset import Dataset, Split
from benchmarks.scoring.requests import draw_requests
from benchmarks.scoring.scorer import Scorer
from editors import EditError
from editors.constraints import predicts

CLASSES = 5


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.randn(8, 1, 8, 8, generator=generator)


@pytest.fixture
def model(generator: torch.Generator, images: Tensor) -> nn.Sequential:
    """With running statistics of its own, and an encoder that does something already."""
    made = models.make("cnp_resnet18", channels=1, classes=CLASSES, width=4)
    with torch.no_grad():
        for value in made.parameters():
            if value.dim() > 1:
                value.copy_(torch.randn(value.shape, generator=generator) * math.sqrt(2 / value[0].numel()))
        for _ in range(20):
            made(images)
    return made.eval()


def plain_twin(model: nn.Sequential) -> nn.Module:
    """The ordinary ResNet-18 with the same weights."""
    twin = models.make("resnet18", channels=1, classes=CLASSES, width=4)
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("condition.")}
    twin.load_state_dict(weights)
    return twin.train(model.training)


def nontrivial(model: nn.Module, images: Tensor) -> int:
    """A label that the model does not give to the first image."""
    return (int(model(images[:1]).argmax()) + 1) % CLASSES


@pytest.mark.parametrize("training", [False, True])
def test_without_an_edit_the_network_is_the_plain_one_bit_by_bit(model, images, training):
    model.train(training)
    twin = plain_twin(model)
    assert torch.equal(model(images), twin(images))
    for name, value in twin.named_buffers():
        assert torch.equal(value, dict(model.named_buffers())[name])


def test_untrained_encoder_makes_the_zero_vector(images):
    fresh = models.make("cnp_resnet18", channels=1, classes=CLASSES, width=4).eval()
    edit = editors.build("condition_vector").edit(fresh, images[:1], predicts(nontrivial(fresh, images)))
    assert not edit.succeeded
    assert not edit.unchanged
    assert torch.equal(edit.vector, torch.zeros(16, 1, 1))


def test_edit_adds_the_encoded_vector_to_chain_3_of_every_later_input(model, images):
    label = nontrivial(model, images)
    edit = editors.build("condition_vector").edit(model, images[:1], predicts(label))
    front = nn.Sequential(model.stem, model.chain1, model.chain2, model.chain3)
    part = model.condition
    hidden = front(images[:1]) + part.embedding.weight[label].view(1, -1, 1, 1)
    block = torch.relu(hidden + part.conv2(torch.relu(part.conv1(hidden))))
    vector = part.project(block.mean(dim=(2, 3))).view(1, -1, 1, 1)
    expected = model.head(model.chain4(front(images) + vector))
    torch.testing.assert_close(edit.predict(images), expected)
    assert not torch.allclose(expected, model(images), atol=1e-3)
    others = expected[0].clone()
    others[label] = -math.inf
    assert edit.loss.item() == pytest.approx(max(0.0, float(others.max() - expected[0, label])), rel=1e-4, abs=1e-6)
    assert edit.succeeded == (edit.loss.item() <= 0)
    assert edit.steps == 0
    assert not edit.unchanged


def test_the_wanted_label_is_the_constraints(model, images):
    predicted = int(model(images[:1]).argmax())
    editor = editors.build("condition_vector")
    vectors = [editor.edit(model, images[:1], predicts(label)).vector for label in range(CLASSES) if label != predicted]
    assert all(not torch.allclose(one, vectors[0]) for one in vectors[1:])


def test_nothing_happens_where_the_model_answers_so_already(model, images):
    edit = editors.build("condition_vector").edit(model, images[:1], predicts(int(model(images[:1]).argmax())))
    assert edit.succeeded
    assert edit.unchanged
    assert torch.equal(edit.predict(images), model(images))


def test_zero_steps_only_check_the_constraint(model, images):
    editor = editors.build("condition_vector", max_steps=0)
    edit = editor.edit(model, images[:1], predicts(nontrivial(model, images)))
    assert not edit.succeeded
    assert edit.unchanged
    with pytest.raises(EditError, match="max_steps must be a whole number >= 0, not 1.5"):
        editors.build("condition_vector", max_steps=1.5)


@pytest.mark.parametrize("layers", [None, "chain3", "chain1", "condition"])
def test_edit_leaves_the_model_bit_identical_whatever_the_layers(model, images, layers):
    model.train()
    before = copy.deepcopy(model.state_dict())
    edit = editors.build("condition_vector").edit(model, images[:1], predicts(2), layers)
    edit.predict(images)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    patched = edit.apply(model).eval()
    torch.testing.assert_close(patched(images), edit.predict(images))
    assert torch.equal(patched.state_dict()["condition.vector"], edit.vector)


def test_several_inputs_share_the_mean_of_their_vectors(model, images):
    editor = editors.build("condition_vector")
    labels = [(int(label) + 1) % CLASSES for label in model(images[:2]).argmax(dim=1)]
    alone = [editor.edit(model, images[row : row + 1], predicts(labels[row])).vector for row in range(2)]
    together = editor.edit(model, images[:2], predicts(labels))
    torch.testing.assert_close(together.vector, (alone[0] + alone[1]) / 2)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("chain4", "no part 'condition' with an encoder, or layers 'chain4' come after it"),
        ("chain5", "unknown layer 'chain5'; the model has: stem, chain1, chain2, chain3, condition, chain4, head"),
    ],
)
def test_layers_that_hold_no_encoder_are_refused(model, images, layers, message):
    suffix = model if layers == "chain5" else model[5:]
    inputs = images[:1] if layers == "chain5" else torch.zeros(1, 16, 2, 2)
    with pytest.raises(EditError, match=message):
        editors.build("condition_vector").edit(suffix, inputs, predicts(0), layers)


def test_a_model_without_an_encoder_and_a_constraint_without_labels_are_refused(model, images):
    editor = editors.build("condition_vector")
    with pytest.raises(EditError, match="the model has no part 'condition' with an encoder"):
        editor.edit(plain_twin(model), images[:1], predicts(0))
    with pytest.raises(EditError, match="the constraint must be constraints.predicts"):
        editor.edit(model, images[:1], lambda outputs: outputs.sum())
    with pytest.raises(EditError, match="nan before the first step"):
        editor.edit(model, images[:1] * math.nan, predicts(0))


@pytest.fixture
def dataset(generator: torch.Generator) -> Dataset:
    def split(count: int) -> Split:
        labels = torch.randint(CLASSES, (count,), generator=generator)
        noise = torch.randint(50, (count, 1, 8, 8), generator=generator)
        return Split((noise + 50 * labels[:, None, None, None]).to(torch.uint8), labels)

    names = tuple("abcde")
    return Dataset("bright", names, split(40), split(30), split(20), (125.0,), (72.0,), Augmentation(1, False), "test")


def test_the_scorer_runs_it_on_any_part_that_holds_the_encoder(model, dataset):
    requests = draw_requests(dataset.tuning, CLASSES, 12, 0, "cnp")
    tables = []
    for layers in ("all", "chain3"):
        scorer = Scorer(model, layers, dataset, dataset.tuning, requests)
        edits, _ = scorer.edit(editors.build("condition_vector"), range(12))
        tables.append([scorer.record(row, edit) for row, edit in enumerate(edits)])
    for one, other in zip(*tables, strict=True):
        assert (one.succeeded, one.flips, one.wrong_after) == (other.succeeded, other.flips, other.wrong_after)
        assert one.kl == pytest.approx(other.kl, rel=1e-4, abs=1e-6)
        assert one.steps == 0
    assert all(record.kl == 0 for record in tables[0] if record.trivial)
    assert any(record.kl > 0 for record in tables[0])


@pytest.mark.parametrize("margin", [0.0, 2.0])
def test_gradient_of_the_objective_equals_finite_differences(model, images, generator, margin):
    model = model.double().train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    made = CnpObjective(CnpTerms(c_edit=0.7, c_loc=1.3, margin=margin, detach_reference=False))
    labels = torch.randint(CLASSES, (8,), generator=generator)
    steps = (Step(images.double(), labels, seed) for seed in range(50))
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
        step = Step(images, labels, seed)
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
