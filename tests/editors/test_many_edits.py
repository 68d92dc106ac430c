"""What every registered editor promises of many edits at once: those of one by one, in fewer forward passes."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from editors.constraints import predicts
from tests.editors.conftest import CountingConstraint, answer, assert_same, impossible, one_by_one, wrong_answer


def calls_of(model: nn.Module) -> list[None]:
    """A list that grows by one entry with every forward pass of ``model``, vectorised or not."""
    calls: list[None] = []
    model.register_forward_pre_hook(lambda *_: calls.append(None))
    return calls


def varied_requests(model: nn.Module, images: Tensor) -> list[tuple[Any, Any]]:
    """Trivial, hard and impossible requests of several shapes and constraints, in mixed order."""
    requests: list[tuple[Any, Any]] = []
    for row, one in enumerate(images):
        requests.append((one, predicts(answer(model, one) if row % 3 == 0 else wrong_answer(model, one))))
        if row % 4 == 0:
            requests.append((one, impossible))
        if row % 4 == 1:
            requests.append((images[row : row + 2].flatten(0, 1), predicts([row % 5, (row + 2) % 5])))
            requests.append((images[row - 1 : row + 1].flatten(0, 1), predicts(2)))
        if row % 4 == 2:
            requests.append((one, CountingConstraint(row % 5, limit=1.0)))
    return requests


@pytest.mark.parametrize("layers", [None, "chain1"])
def test_many_edits_equal_single_ones_in_order(editor, model, images, layers):
    requests = varied_requests(model, images)
    many = editor.edit_many(model, requests, layers=layers)
    assert {0, 6} < {edit.steps for edit in many}
    assert {edit.succeeded for edit in many} == {True, False}
    assert_same(many, one_by_one(editor, model, requests, layers=layers), atol=1e-12)


def test_alike_requests_share_their_forward_passes(build, model, images, passes):
    calls = calls_of(model)
    build(max_steps=3).edit_many(model, [(one, impossible) for one in images])
    assert len(calls) == 3 * passes + 1


def test_finished_edits_are_dropped_from_their_batch(build, model, images, passes):
    # Several must go on after the first have finished: then the rule's state has lost rows as well.
    limits = [10.0, 0.3, -1.0, 10.0, -1.0, 1.5, 0.9, -1.0]
    constraints = [
        CountingConstraint(wrong_answer(model, one), limit) for one, limit in zip(images, limits, strict=False)
    ]
    calls = calls_of(model)
    edits = build(max_steps=20).edit_many(model, list(zip(images, constraints, strict=False)))
    assert [edit.steps for edit in edits].count(0) == 2
    assert [edit.steps for edit in edits].count(20) >= 3
    assert len({edit.steps for edit in edits} - {0, 20}) > 1
    assert [constraint.calls for constraint in constraints] == [edit.steps + 1 for edit in edits]
    assert len(calls) == 20 * passes + 1


def test_more_requests_than_a_batch_holds_are_edited_in_several(build, model, images, generator, passes):
    inputs = torch.randn(70, 1, 1, 6, 6, generator=generator, dtype=torch.float64)
    requests = [(one, predicts(row % 5)) for row, one in enumerate(inputs)]
    editor = build(max_steps=2)
    expected = one_by_one(editor, model, requests, layers="head")
    calls = calls_of(model)
    many = editor.edit_many(model, requests, layers="head")
    assert_same(many, expected, atol=1e-12)
    assert 3 < len(calls) < 20


class DataDependent(nn.Module):
    """Cannot be vectorised from its ``patience``-th forward pass on: a Python number decides what it computes."""

    def __init__(self, patience: int) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3).double()
        self.left = SimpleNamespace(passes=patience)  # in there an edit does not notice what changes

    def forward(self, inputs: Tensor) -> Tensor:
        self.left.passes -= 1
        outputs = self.layer(inputs)
        return outputs * (2 if self.left.passes >= 0 or outputs.sum().item() > 0 else 2.0)


class Encoder(nn.Module):
    """Takes a fused path in evaluation mode that vmap cannot differentiate: it fails in the backward pass only."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.head = nn.Linear(4, 3)
        self.double()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.layer(inputs.unsqueeze(1)).squeeze(1))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize(
    "unruly",
    [lambda: DataDependent(0), lambda: DataDependent(2), Encoder],
    ids=["first pass", "third pass", "backward pass"],
)
def test_models_that_cannot_be_vectorised_are_edited_just_as_well(editor, unruly, generator):
    torch.manual_seed(0)
    model = unruly()
    inputs = torch.randn(6, 1, 4, generator=generator, dtype=torch.float64)
    requests = [(one, predicts(row % 3)) for row, one in enumerate(inputs)] + [(inputs[0], impossible)] * 2
    calls = calls_of(model)
    many = editor.edit_many(model, requests)
    assert max(edit.steps for edit in many) > 2
    assert len(calls) > sum(edit.steps + 1 for edit in many)
    model.left = SimpleNamespace(passes=10**6)
    assert_same(many, one_by_one(editor, model, requests), atol=1e-12)


def test_a_constraint_that_raises_in_a_batch_raises_its_own_error(editor, model, images):
    def broken(outputs: Tensor) -> Tensor:
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        editor.edit_many(model, [(images[0], impossible), (images[1], broken)])


def test_no_requests_give_no_edits(editor, model):
    assert editor.edit_many(model, []) == []
