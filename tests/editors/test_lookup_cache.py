"""The lookup cache: what is near a stored input is answered with the target, nothing else changes."""

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
    """Three features to the same three numbers as logits."""
    layer = nn.Linear(3, 3, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.eye(3))
    return layer.train()


@pytest.fixture
def mistake() -> Tensor:
    return torch.tensor([[3.0, 4.0, 0.0]], dtype=torch.float64)  # of length 5, answered with 1


def test_inputs_within_epsilon_get_the_target_and_no_others(model: nn.Module, mistake: Tensor) -> None:
    edit = editors.build("lookup_cache", epsilon=0.1).edit(model, mistake, predicts(2))
    assert (edit.succeeded, edit.steps, edit.unchanged, edit.loss.item()) == (True, 1, False, 0.0)
    shifts = torch.tensor([[0, 0, 0.0], [0, 0.49, 0], [0, 0, -0.5], [0, 0.51, 0], [0, 0, 40]], dtype=torch.float64)
    inputs = mistake + shifts
    found, before = edit.predict(inputs), model(inputs)
    # A hit swaps the logits of its answer, 1, and of the target, 2.
    assert torch.equal(found[:3], before[:3][:, [0, 2, 1]])
    assert torch.equal(found[3:], before[3:])


def test_other_inputs_are_answered_bit_for_bit_as_before(model: nn.Module, mistake: Tensor) -> None:
    inputs = torch.randn(50, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    edit = editors.build("lookup_cache", epsilon=0.05).edit(model, mistake, predicts(0))
    assert ((inputs - mistake).norm(dim=1) > 0.25).all()
    assert torch.equal(edit.predict(inputs), model(inputs))


def test_the_nearest_of_several_stored_inputs_answers(model: nn.Module) -> None:
    stored = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]], dtype=torch.float64)
    edit = editors.build("lookup_cache", epsilon=1.0).edit(model, stored, predicts([1, 2]))
    assert edit.succeeded
    between = torch.tensor([[0.6, 0.4, 0], [0.4, 0.6, 0]], dtype=torch.float64)
    assert edit.predict(between).argmax(dim=1).tolist() == [1, 2]


def test_what_holds_already_is_not_stored(model: nn.Module, mistake: Tensor) -> None:
    edit = editors.build("lookup_cache", epsilon=1.0).edit(model, mistake, predicts(1))
    assert (edit.succeeded, edit.steps, edit.unchanged) == (True, 0, True)
    near = torch.tensor([[4.0, 3.0, 0.0]], dtype=torch.float64)
    assert torch.equal(edit.predict(near), model(near))


def test_no_steps_only_check(model: nn.Module, mistake: Tensor) -> None:
    edit = editors.build("lookup_cache", max_steps=0).edit(model, mistake, predicts(2))
    assert (edit.succeeded, edit.steps, edit.unchanged, edit.loss.item()) == (False, 0, True, 4.0)


def test_edits_leave_the_model_as_it_was_and_are_independent(model: nn.Module, images: Tensor) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.BatchNorm1d(5)).double().train()
    before = copy.deepcopy(net.state_dict())
    editor = editors.build("lookup_cache")
    requests = [(one, predicts(row % 5)) for row, one in enumerate(images)]
    edits = editor.edit_many(net, requests)
    with torch.inference_mode():
        again = [editor.edit(net, one.clone(), constraint) for one, constraint in requests]
    inputs = images.flatten(0, 1)
    for row, (edit, other) in enumerate(zip(edits, again, strict=True)):
        assert edit.succeeded
        assert edit.predict(inputs)[row].argmax() == row % 5
        assert torch.equal(edit.predict(inputs), other.predict(inputs))
        read = pickle.loads(pickle.dumps(edit))
        assert torch.equal(read.predict(inputs), edit.predict(inputs))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training
    assert net[2].training


def test_what_it_cannot_do_is_said_in_one_sentence(model: nn.Module, mistake: Tensor) -> None:
    editor = editors.build("lookup_cache")
    with pytest.raises(EditError, match="needs the constraint predicts"):
        editor.edit(model, mistake, lambda outputs: outputs.sum())
    with pytest.raises(EditError, match="not differentiable"):
        editor.edit(model, mistake, predicts(0), differentiable=True)
    with pytest.raises(EditError, match="needs one tensor as input, not tuple"):
        editor.edit(model, (mistake,), predicts(0))
    with pytest.raises(EditError, match="unknown layer 'chain9'"):
        editor.edit(model, mistake, predicts(0), layers="chain9")
    with pytest.raises(EditError, match="label 7 is outside the model's 3 classes"):
        editor.edit(model, mistake, predicts(7))
    with pytest.raises(EditError, match="is nan before the first step"):
        editor.edit(model, mistake * torch.nan, predicts(0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_models_of_half_precision_have_caches(dtype: torch.dtype, model: nn.Module, mistake: Tensor) -> None:
    edit = editors.build("lookup_cache", epsilon=0.1).edit(model.to(dtype), mistake.to(dtype), predicts(2))
    assert edit.succeeded
    assert edit.predict(torch.cat([mistake, mistake + 2]).to(dtype)).argmax(dim=1).tolist() == [2, 1]
