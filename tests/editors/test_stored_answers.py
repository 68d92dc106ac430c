"""Answers beside the weights, a codebook of features and a cache: what is near a key changes, nothing else does."""

import pytest
import torch
from torch import Tensor, nn

import editors
from editors import EditError
from editors.constraints import predicts

both = pytest.mark.parametrize("name", ["grace", "lookup_cache"])


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
    return torch.tensor([[1.5, 2.0, 0.0]], dtype=torch.float64)  # of length 2.5, its features 5; answered with 1


def test_the_value_of_a_codebook_satisfies_the_constraint_and_starts_from_the_key(model, mistake):
    edit = editors.build("grace").edit(model, mistake, predicts(0))
    assert (edit.succeeded, edit.steps, edit.unchanged, edit.loss.item()) == (True, 1, False, 0.0)
    assert torch.equal(edit.keys, 2 * mistake)
    # Polyak's step on the margin of 1, a twentieth too long: both logits go half of the way.
    expected = torch.tensor([[3 + 0.525, 4 - 0.525, 0]], dtype=torch.float64)
    torch.testing.assert_close(edit.values, expected)


@both
def test_inputs_within_the_radius_get_the_stored_answer_and_no_others(name, model, mistake):
    edit = editors.build(name, epsilon=0.1).edit(model, mistake, predicts(2))
    assert (edit.succeeded, edit.unchanged, edit.loss.item()) == (True, False, 0.0)
    shifts = torch.tensor([[0, 0, 0.0], [0, 0.24, 0], [0, 0, -0.24], [0, 0.26, 0], [0, 0, 40]], dtype=torch.float64)
    found, before = edit.predict(mistake + shifts), model(mistake + shifts)
    # A hit of the cache swaps the logits of its answer, 1, and of the target, 2.
    expected = edit.values.expand(3, 3) if name == "grace" else before[:3][:, [0, 2, 1]]
    torch.testing.assert_close(found[:3], expected)
    assert (found[:3].argmax(dim=1) == 2).all()
    assert torch.equal(found[3:], before[3:])


@both
def test_the_nearest_of_several_keys_answers(name, model):
    stored = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]], dtype=torch.float64)
    edit = editors.build(name, epsilon=1.0, max_steps=50).edit(model, stored, predicts([1, 2]))
    assert edit.succeeded
    between = torch.tensor([[0.6, 0.4, 0], [0.4, 0.6, 0]], dtype=torch.float64)
    assert edit.predict(between).argmax(dim=1).tolist() == [1, 2]


@both
def test_what_holds_already_is_not_stored_and_no_steps_only_check(name, model, mistake):
    edit = editors.build(name, epsilon=2.0).edit(model, mistake, predicts(1))
    assert (edit.succeeded, edit.steps, edit.unchanged) == (True, 0, True)
    near = torch.tensor([[4.0, 3.0, 0.0]], dtype=torch.float64)
    assert torch.equal(edit.predict(near), model(near))
    checked = editors.build(name, max_steps=0).edit(model, mistake, predicts(2))
    assert (checked.succeeded, checked.steps, checked.unchanged, checked.loss.item()) == (False, 0, True, 4.0)


@both
def test_what_neither_can_do_is_said_in_one_sentence(name, model, mistake):
    editor = editors.build(name)
    with pytest.raises(EditError, match="needs the constraint predicts"):
        editor.edit(model, mistake, lambda outputs: outputs.sum())
    with pytest.raises(EditError, match="not differentiable"):
        editor.edit(model, mistake, predicts(0), differentiable=True)
    with pytest.raises(EditError, match="is nan before the first step"):
        editor.edit(model, mistake * torch.nan, predicts(0))


def test_so_is_what_one_of_them_cannot_do(model, mistake):
    codebook, cache = editors.build("grace"), editors.build("lookup_cache")
    with pytest.raises(EditError, match="^layers None hold no linear layer$"):
        codebook.edit(nn.Conv1d(3, 3, 1).double(), mistake[:, :, None], predicts(0))
    with pytest.raises(EditError, match=r"needs one row of features for each input, not shape \(1, 1, 3\)"):
        codebook.edit(model, mistake[None], predicts(0))
    with pytest.raises(EditError, match="needs one tensor as input, not tuple"):
        cache.edit(model, (mistake,), predicts(0))
    with pytest.raises(EditError, match="unknown layer 'chain9'"):
        cache.edit(model, mistake, predicts(0), layers="chain9")
    with pytest.raises(EditError, match="label 7 is outside the model's 3 classes"):
        cache.edit(model, mistake, predicts(7))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@both
def test_models_of_half_precision_are_answered_for(name, dtype, model, mistake):
    edit = editors.build(name, epsilon=0.1).edit(model.to(dtype), mistake.to(dtype), predicts(2))
    assert edit.succeeded
    assert edit.predict(torch.cat([mistake, mistake + 2]).to(dtype)).argmax(dim=1).tolist() == [2, 1]
