"""Going back to where the constraint just holds: after the last update, or all the way from the original weights."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import editors
from editors import Backtracking, EditError
from editors.constraints import predicts

SMALLEST = 2.0**-10  # the last interval of ten bisections


def wrong_answers(model: nn.Module, images: Tensor) -> list[tuple[Tensor, Callable]]:
    copied = copy.deepcopy(model).eval()
    return [(one, predicts(int(copied(one).argmin()))) for one in images]


def between(start: dict[str, Tensor], end: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    return {name: start[name].detach().lerp(value, share) for name, value in end.items()}


def share_of_the_way(start: dict[str, Tensor], end: dict[str, Tensor], found: dict[str, Tensor]) -> float:
    """Where ``found`` lies on the straight line from ``start`` to ``end``; it must lie on it."""
    first, last, middle = (torch.cat([one[name].flatten() for name in end]) for one in (start, end, found))
    share = ((middle - first) @ (last - first) / (last - first).square().sum()).item()
    torch.testing.assert_close(middle, first.lerp(last, share), rtol=0, atol=1e-12)
    return share


def holds(model: nn.Module, parameters: dict[str, Tensor], request: tuple[Tensor, Callable]) -> bool:
    inputs, constraint = request
    outputs = torch.func.functional_call(copy.deepcopy(model).eval(), parameters, (inputs,))
    return bool(constraint(outputs) <= 0)


@pytest.mark.parametrize(("name", "lr"), [("gd", 0.5), ("rmsprop", 0.05), ("adam", 0.05)])
def test_the_last_update_is_scaled_back_to_where_the_constraint_just_holds(model, images, name, lr):
    plain = editors.build(name, lr=lr, max_steps=30)
    requests = wrong_answers(model, images)
    ends, edits = plain.edit_many(model, requests), Backtracking(plain).edit_many(model, requests)
    shares = []
    for end, edit, request in zip(ends, edits, requests, strict=True):
        assert (edit.succeeded, edit.steps) == (True, end.steps)
        start = editors.build(name, lr=lr, max_steps=end.steps - 1).edit(model, *request).parameters
        share = share_of_the_way(start, end.parameters, edit.parameters)
        assert holds(model, edit.parameters, request)
        assert not holds(model, between(start, end.parameters, share - 1.01 * SMALLEST), request)
        assert edit.loss == 0
        shares.append(share)
    assert min(shares) < 0.5


def test_weights_are_mixed_as_little_as_the_constraint_needs(model, images):
    requests = wrong_answers(model, images)
    ends = editors.build("rmsprop", lr=0.05).edit_many(model, requests)
    edits = editors.build("interpolate", lr=0.05).edit_many(model, requests)
    original = dict(model.named_parameters())
    for end, edit, request in zip(ends, edits, requests, strict=True):
        assert (edit.succeeded, edit.steps) == (True, end.steps)
        share = share_of_the_way(original, end.parameters, edit.parameters)
        assert 0 < share <= 1
        assert holds(model, edit.parameters, request)
        assert not holds(model, between(original, end.parameters, share - 1.01 * SMALLEST), request)


@pytest.mark.parametrize(
    "make", [lambda: Backtracking(editors.build("gd", lr=0.3)), lambda: editors.build("interpolate", lr=0.1)]
)
def test_a_constraint_that_holds_is_never_broken_whatever_its_shape(make, generator):
    model = nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        model.weight.fill_(0.0)
    succeeded = 0
    for number in range(60):
        inputs = torch.randn(1, 3, generator=generator, dtype=torch.float64)
        wave = 3 + 20 * torch.rand((), generator=generator).item()

        def wild(outputs: Tensor, wave: float = wave) -> Tensor:
            return (torch.sin(wave * outputs) + outputs * 0.2 + 0.7).sum()

        edit = make().edit(model, inputs, wild)
        loss = wild(edit.predict(inputs))
        assert edit.succeeded == bool(loss <= 0), number
        torch.testing.assert_close(edit.loss, loss.detach(), rtol=0, atol=0)
        succeeded += edit.succeeded
    assert 5 < succeeded < 60


def test_edits_that_fail_or_take_no_step_are_left_as_they_are(model, images):
    trivial = int(copy.deepcopy(model).eval()(images[0]).argmax())
    requests = [(images[0], predicts(trivial)), (images[1], lambda outputs: outputs.square().sum() + 1)]
    plain = editors.build("gd", lr=0.01, max_steps=3)
    for one, other in zip(
        plain.edit_many(model, requests), Backtracking(plain).edit_many(model, requests), strict=True
    ):
        assert (one.succeeded, one.steps, one.loss) == (other.succeeded, other.steps, other.loss)
        assert all(torch.equal(value, other.parameters[name]) for name, value in one.parameters.items())


def test_single_edits_equal_those_of_a_list_and_leave_the_model(model, images):
    editor, before = Backtracking(editors.build("rmsprop", lr=0.05)), copy.deepcopy(model.state_dict())
    requests = wrong_answers(model, images)
    many = editor.edit_many(model, requests, layers="chain1")
    for one, request in zip(many, requests, strict=True):
        single = editor.edit(model, *request, layers="chain1")
        assert (single.succeeded, single.steps) == (one.succeeded, one.steps)
        torch.testing.assert_close(dict(single.parameters), dict(one.parameters), rtol=0, atol=1e-12)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training


def test_what_the_editor_must_know_reaches_it(model, images):
    plain = editors.build("covariance", overshoot=2.0)
    labels = torch.zeros(12, dtype=torch.int64)
    known = Backtracking(plain).statistics(model, images.flatten(0, 1), labels, "chain1")
    request = wrong_answers(model, images)[0]
    edit = Backtracking(plain).informed(known).edit(model, *request, layers="chain1")
    longer = plain.informed(known).edit(model, *request, layers="chain1")
    original = dict(model.named_parameters())
    lengths = [
        math.sqrt(sum((value - original[name]).square().sum().item() for name, value in one.parameters.items()))
        for one in (edit, longer)
    ]
    assert edit.succeeded
    assert lengths[0] < lengths[1]


def test_what_cannot_be_mixed_is_said_in_one_sentence(model, images):
    request = wrong_answers(model, images)[0]
    with pytest.raises(EditError, match="^backtracking needs an editor of parameters, which LookupCache is not$"):
        Backtracking(editors.build("lookup_cache")).edit(model, *request)
    for name, editor in (
        ("backtracking", Backtracking(editors.build("gd"))),
        ("interpolate", editors.build("interpolate")),
    ):
        with pytest.raises(EditError, match=f"^{name} searches .* by bisection, so its edits are not differentiable$"):
            editor.edit(model, *request, differentiable=True)
        with pytest.raises(EditError, match="not differentiable"):
            editor.edit_many(model, [request], differentiable=True)
