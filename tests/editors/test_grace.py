"""The codebook of features: what is near a key is answered from its value, nothing else changes."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

import editors
from editors import EditError
from editors.constraints import predicts


@pytest.fixture
def model() -> nn.Module:
    """Three features, doubled on their way to the last layer, which makes them logits."""
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3)).double()
    with torch.no_grad():
        net[0].weight.copy_(2 * torch.eye(3))
        net[1].weight.copy_(torch.eye(3))
        net[1].bias.zero_()
    return net.train()


@pytest.fixture
def mistake() -> Tensor:
    return torch.tensor([[1.5, 2.0, 0.0]], dtype=torch.float64)  # features of length 5, answered with 1


def test_the_value_satisfies_the_constraint_and_starts_from_the_key(model, mistake):
    edit = editors.build("grace").edit(model, mistake, predicts(0))
    assert (edit.succeeded, edit.steps, edit.unchanged, edit.loss.item()) == (True, 1, False, 0.0)
    assert torch.equal(edit.keys, 2 * mistake)
    # Polyak's step on the margin of 1, a twentieth too long: both logits go half of the way.
    expected = torch.tensor([[3 + 0.525, 4 - 0.525, 0]], dtype=torch.float64)
    torch.testing.assert_close(edit.values, expected)


def test_features_within_the_radius_get_the_value_and_no_others(model, mistake):
    edit = editors.build("grace", epsilon=0.1).edit(model, mistake, predicts(2))
    shifts = torch.tensor([[0, 0, 0.0], [0, 0.24, 0], [0, 0, -0.24], [0, 0.26, 0], [0, 0, 40]], dtype=torch.float64)
    found, before = edit.predict(mistake + shifts), model(mistake + shifts)
    torch.testing.assert_close(found[:3], edit.values.expand(3, 3))
    assert (found[:3].argmax(dim=1) == 2).all()
    assert torch.equal(found[3:], before[3:])


def test_the_nearest_of_several_keys_answers(model):
    stored = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]], dtype=torch.float64)
    edit = editors.build("grace", epsilon=1.0, max_steps=50).edit(model, stored, predicts([1, 2]))
    assert edit.succeeded
    between = torch.tensor([[0.6, 0.4, 0], [0.4, 0.6, 0]], dtype=torch.float64)
    assert edit.predict(between).argmax(dim=1).tolist() == [1, 2]


def test_what_holds_already_is_not_stored(model, mistake):
    edit = editors.build("grace", epsilon=2.0).edit(model, mistake, predicts(1))
    assert (edit.succeeded, edit.steps, edit.unchanged) == (True, 0, True)
    near = torch.tensor([[4.0, 3.0, 0.0]], dtype=torch.float64)
    assert torch.equal(edit.predict(near), model(near))
    checked = editors.build("grace", max_steps=0).edit(model, mistake, predicts(2))
    assert (checked.succeeded, checked.steps, checked.unchanged) == (False, 0, True)


def test_edits_leave_the_model_as_it_was_and_are_independent(images):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 5)).double().train()
    before = copy.deepcopy(net.state_dict())
    editor = editors.build("grace", epsilon=0.01)
    requests = [(one, predicts(row % 5)) for row, one in enumerate(images)]
    edits = editor.edit_many(net, requests)
    with torch.inference_mode():
        again = [editor.edit(net, one.clone(), constraint) for one, constraint in requests]
    inputs = images.flatten(0, 1)
    plain = copy.deepcopy(net).eval()(inputs)
    for row, (edit, other) in enumerate(zip(edits, again, strict=True)):
        found = edit.predict(inputs)
        assert edit.succeeded
        assert found[row].argmax() == row % 5
        others = torch.arange(len(inputs)) != row
        torch.testing.assert_close(found[others], plain[others], rtol=0, atol=1e-12)
        assert torch.equal(found, other.predict(inputs))
        assert torch.equal(pickle.loads(pickle.dumps(edit)).predict(inputs), found)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_what_it_cannot_do_is_said_in_one_sentence(model, mistake):
    editor = editors.build("grace")
    with pytest.raises(EditError, match="^layers None hold no linear layer$"):
        editor.edit(nn.Conv1d(3, 3, 1).double(), mistake[:, :, None], predicts(0))
    with pytest.raises(EditError, match=r"needs one row of features for each input, not shape \(1, 1, 3\)"):
        editor.edit(model, mistake[None], predicts(0))
    with pytest.raises(EditError, match="needs the constraint predicts"):
        editor.edit(model, mistake, lambda outputs: outputs.sum())
    with pytest.raises(EditError, match="not differentiable"):
        editor.edit(model, mistake, predicts(0), differentiable=True)
    with pytest.raises(EditError, match="is nan before the first step"):
        editor.edit(model, mistake * torch.nan, predicts(0))
