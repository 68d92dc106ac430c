"""Asking more of an edit: that it holds on other views of the input, or by a margin."""

import copy

import pytest
import torch
from torch import Tensor

import editors
from editors import EditError, Request
from editors.constraints import predicts
from editors.views import with_views


def shaken(inputs: Tensor) -> Tensor:
    return inputs + 3 * torch.randn(inputs.shape, generator=torch.Generator().manual_seed(5), dtype=inputs.dtype)


def test_a_margin_is_how_far_the_label_must_be_ahead():
    logits = torch.tensor([[1.0, 4.0, 2.5]])
    for label, margin, expected in [(1, 0, 0), (1, 1.5, 0), (1, 2.0, 0.5), (0, 0, 3.0), (0, 2.0, 5.0)]:
        assert predicts(label, margin)(logits).item() == expected
    several = predicts([1, 0], margin=2.0)(logits.repeat(2, 1))
    assert several.item() == (0.5 + 5.0) / 2


def test_edits_reach_their_margin(model, images):
    editor = editors.build("polyak", overshoot=1.2, max_steps=50)
    margins = [0.0, 1.0, 1.0, 3.0, 0.0, 3.0]  # some alike, so that batches with and without a stack are met
    requests = [
        (one, predicts(row % 5, margin)) for row, (one, margin) in enumerate(zip(images, margins, strict=False))
    ]
    for row, edit in enumerate(editor.edit_many(model, requests, layers="head")):
        logits = edit.predict(images[row])[0]
        ahead = (logits[row % 5] - logits[torch.arange(5) != row % 5].max()).item()
        assert edit.succeeded
        assert ahead >= margins[row] - 1e-12
        single = editor.edit(model, *requests[row], layers="head")
        torch.testing.assert_close(dict(single.parameters), dict(edit.parameters), rtol=0, atol=1e-12)


@pytest.mark.parametrize("margin", [-1, float("nan"), float("inf"), "1", True, None])
def test_a_margin_that_is_none_is_refused(margin):
    with pytest.raises(EditError, match=f"^margin must be a number >= 0, not {margin!r}$"):
        predicts(1, margin)


def test_views_are_copies_after_the_input_each_augmented_on_its_own(images):
    inputs, _ = with_views(Request(images[0], predicts(1)), shaken, 4)
    assert inputs.shape == (5, 1, 6, 6)
    assert torch.equal(inputs[:1], images[0])
    assert torch.equal(inputs[1:], shaken(images[0].repeat(4, 1, 1, 1)))
    assert len({one.sum().item() for one in inputs}) == 5


def test_the_constraint_holds_exactly_if_it_holds_for_the_input_and_every_view(images):
    smooth = lambda outputs: outputs[:, 0].sum() - 1  # noqa: E731
    for constraint in (predicts(1), predicts([1]), predicts(1, margin=0.5), smooth):
        _, asked = with_views(Request(images[0], constraint), shaken, 2)
        for rows in ([0, 0, 0], [0, 0, 2], [2, 0, 0], [0, 2, 2]):
            outputs = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.5, 1.0]])[rows]
            single = [max(constraint(one[None]).item(), 0) for one in outputs]
            assert asked(outputs).item() == pytest.approx(sum(single) / 3)
    for wild in (-torch.inf, torch.inf, torch.nan):
        _, asked = with_views(Request(images[0], lambda outputs, wild=wild: outputs.sum() * 0 + wild), shaken, 2)
        assert asked(torch.zeros(3, 2)).isnan()
    pair = torch.cat([images[0], images[1]])
    _, asked = with_views(Request(pair, predicts([1])), shaken, 2)  # one label for all inputs
    assert asked(torch.tensor([[0.0, 1.0]]).repeat(6, 1)) == 0
    assert asked(torch.tensor([[2.0, 1.0]]).repeat(6, 1)) == 1
    _, asked = with_views(Request(pair, predicts([0, 1])), shaken, 1)
    right = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    assert asked(right) == 0
    assert asked(right.flip(0)) == 1


@pytest.mark.parametrize("form", [int, lambda label: [label]], ids=["one label", "a list of labels"])
def test_edits_hold_on_all_views_and_batches_equal_single_edits(model, images, form):
    editor = editors.build("polyak", overshoot=1.05, max_steps=100)
    labels = [int(copy.deepcopy(model).eval()(one).argmin()) for one in images]
    plain = [Request(one, predicts(form(label))) for one, label in zip(images, labels, strict=True)]
    requests = [with_views(request, shaken, 3) for request in plain]
    missed = 0
    for row, edit in enumerate(editor.edit_many(model, requests)):
        inputs = requests[row].inputs
        assert edit.succeeded
        assert edit.predict(inputs).argmax(dim=1).tolist() == [labels[row]] * 4
        single = editor.edit(model, *requests[row])
        assert single.steps == edit.steps
        torch.testing.assert_close(dict(single.parameters), dict(edit.parameters), rtol=0, atol=1e-9)
        missed += int((editor.edit(model, *plain[row]).predict(inputs).argmax(dim=1) != labels[row]).sum())
    assert missed > 0  # of the views, when only the input itself was asked for


def test_the_model_and_the_request_stay_as_they_are(images):
    request, before = Request(images[0], predicts([2])), copy.deepcopy(images)
    with_views(request, lambda views: views.mul_(0), 2)
    assert torch.equal(images, before)
    assert request.constraint.labels.tolist() == [2]


@pytest.mark.parametrize("views", [0, -1, 1.0, True, None])
def test_fewer_than_one_view_is_refused(images, views):
    with pytest.raises(EditError, match=f"^views must be a whole number >= 1, not {views!r}$"):
        with_views(Request(images[0], predicts(1)), shaken, views)


def test_views_of_several_inputs_at_once_are_refused(images):
    with pytest.raises(EditError, match="^views need one tensor as input, not tuple$"):
        with_views(Request((images[0],), predicts(1)), shaken, 2)
