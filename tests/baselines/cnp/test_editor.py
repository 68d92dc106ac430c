"""Editable+CNP: the conditioned network and its editor."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

import editors
from benchmarks import models
from benchmarks.errors import InputError
from benchmarks.models.resnet18 import BasicBlock
from benchmarks.scoring.requests import draw_requests
from benchmarks.scoring.scorer import Scorer
from editors import EditError
from editors.constraints import predicts
from tests.baselines.cnp.conftest import CLASSES


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


def test_untrained_pooled_encoder_makes_the_zero_vector(images: Tensor) -> None:
    fresh = models.make("cnp_resnet18", channels=1, classes=CLASSES, width=4, encoder="pooled").eval()
    edit = editors.build("condition_vector").edit(fresh, images[:1], predicts(nontrivial(fresh, images)))
    assert not edit.succeeded
    assert not edit.unchanged
    assert torch.equal(edit.vector, torch.zeros(16, 1, 1))


def test_the_papers_encoder_is_a_residual_block_of_the_network_place_by_place(
    model: nn.Sequential, images: Tensor
) -> None:
    """Against the block that chain 3 is made of; its normalisation is left at a factor of 1, and shifts by the bias."""
    part = models.make("cnp_resnet18", channels=1, classes=CLASSES, width=4).condition  # with no option: the paper's
    part.load_state_dict(model.condition.state_dict())
    block = BasicBlock(16, 16).eval()
    with torch.no_grad():
        for convolution, normalisation, given in (
            (block.conv1, block.bn1, part.conv1),
            (block.conv2, block.bn2, part.conv2),
        ):
            convolution.weight.copy_(given.weight)
            normalisation.bias.copy_(given.bias.normal_(generator=torch.Generator().manual_seed(1)))
            normalisation.running_var.fill_(1 - normalisation.eps)
    activations = torch.randn(3, 16, 4, 4, generator=torch.Generator().manual_seed(2))
    labels = torch.tensor([0, 3, 3])
    expected = block(activations + part.embedding.weight[labels][:, :, None, None])
    found = part.encode_each(activations, labels)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert found.shape == (3, 16, 4, 4)
    assert float(found.detach().std(dim=(2, 3)).max()) > 0.1  # not one number per channel


@pytest.mark.parametrize("encoder", ["block", "pooled"])
def test_edit_adds_the_encoded_vector_to_chain_3_of_every_later_input(
    model: nn.Sequential, images: Tensor, encoder: str
) -> None:
    label = nontrivial(model, images)
    edit = editors.build("condition_vector").edit(model, images[:1], predicts(label))
    front = nn.Sequential(model.stem, model.chain1, model.chain2, model.chain3)
    part = model.condition
    hidden = front(images[:1]) + part.embedding.weight[label].view(1, -1, 1, 1)
    vector = torch.relu(hidden + part.conv2(torch.relu(part.conv1(hidden))))
    if encoder == "pooled":
        vector = part.project(vector.mean(dim=(2, 3))).view(1, -1, 1, 1)
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
    again = models.make("cnp_resnet18", channels=1, classes=CLASSES, width=4)
    again.load_state_dict(patched.state_dict())
    assert torch.equal(again.eval()(images), patched(images))


def test_several_inputs_share_the_mean_of_their_vectors(model, images):
    editor = editors.build("condition_vector")
    labels = [(int(label) + 1) % CLASSES for label in model(images[:2]).argmax(dim=1)]
    alone = [editor.edit(model, images[row : row + 1], predicts(labels[row])).vector for row in range(2)]
    together = editor.edit(model, images[:2], predicts(labels))
    torch.testing.assert_close(together.vector, (alone[0] + alone[1]) / 2)


def test_a_model_of_other_channels_is_not_patched(model: nn.Sequential, images: Tensor) -> None:
    edit = editors.build("condition_vector").edit(model, images[:1], predicts(nontrivial(model, images)))
    other = models.make("cnp_resnet18", channels=1, classes=CLASSES, width=2)
    with pytest.raises(EditError, match="the model to patch has no 'condition.vector' of 16 channels"):
        edit.apply(other)


def test_an_unknown_encoder_is_answered_with_what_there_is() -> None:
    with pytest.raises(InputError, match="encoder must be one of block, pooled, not 'mean'"):
        models.make("cnp_resnet18", channels=1, classes=CLASSES, width=2, encoder="mean")


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
