"""Edits that follow each other: what an edited model keeps of earlier edits, and what an editor remembers of them."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import editors
from editors import Edit, EditError
from editors.constraints import predicts
from editors.gradient_free import Edited
from tests.editors.conftest import answer, wrong_answer

STORING = ("grace", "lookup_cache")
LABELS = torch.zeros(40, dtype=torch.int64)


@pytest.fixture
def model() -> nn.Module:
    """Features to logits, as `grace` needs them, with parts to name."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 5)).double().train()


@pytest.mark.parametrize("name", STORING)
def test_each_of_several_stored_inputs_is_answered_with_its_own_label(name, model, images):
    editor, wanted = editors.build(name, epsilon=1e-3, max_steps=20), [wrong_answer(model, one) for one in images]
    before, current = copy.deepcopy(model.state_dict()), model
    plain = copy.deepcopy(model).eval()(images.flatten(0, 1))
    for number, (one, label) in enumerate(zip(images, wanted, strict=True), start=1):
        edit = editor.edit(current, one, predicts(label), layers="3")
        assert edit.succeeded
        assert len(edit.keys) == number
        kept, current = current, edit.apply(current)
        assert current is not kept
        everything = current(images.flatten(0, 1))
        assert everything[:number].argmax(dim=1).tolist() == wanted[:number]
        assert torch.equal(everything, edit.predict(images.flatten(0, 1)))
        torch.testing.assert_close(everything[number:], plain[number:], rtol=0, atol=1e-12)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())
    read = pickle.loads(pickle.dumps(current))
    assert torch.equal(read(images.flatten(0, 1)), current(images.flatten(0, 1)))


def test_each_key_of_a_codebook_has_the_value_that_an_edit_of_the_bare_model_finds(model, images):
    """Keys are added, not replaced, and one far from all others is not influenced by them."""
    editor, current = editors.build("grace", epsilon=1e-3, max_steps=20), model
    wanted = [wrong_answer(model, one) for one in images]
    for one, label in zip(images, wanted, strict=True):
        current = editor.edit(current, one, predicts(label)).apply(current)
    alone = [editor.edit(model, one, predicts(label)) for one, label in zip(images, wanted, strict=True)]
    book = current.edit
    assert torch.equal(book.keys, torch.cat([edit.keys for edit in reversed(alone)]))
    torch.testing.assert_close(book.values, torch.cat([edit.values for edit in reversed(alone)]), rtol=0, atol=1e-12)
    assert isinstance(book.model, nn.Sequential)


@pytest.mark.parametrize("name", STORING)
def test_a_later_edit_of_the_same_input_takes_the_place_of_the_earlier(name, model, images):
    editor, first = editors.build(name, epsilon=1e-3, max_steps=50), int(answer(model, images[0]))
    other, third = (label for label in range(5) if label != first and label > 2)
    once = editor.edit(model, images[0], predicts(other)).apply(model)
    again = editor.edit(once, images[0], predicts(third))
    assert again.succeeded
    assert answer(again.apply(once), images[0]) == third
    back = editor.edit(again.apply(once), images[0], predicts(first))
    assert back.succeeded
    assert back.predict(images[0]).argmax() == first


@pytest.mark.parametrize("name", STORING)
def test_what_an_earlier_edit_answers_already_is_not_stored_again(name, model, images):
    editor, (label, *_) = editors.build(name, epsilon=1e-3, max_steps=50), [wrong_answer(model, one) for one in images]
    once = editor.edit(model, images[0], predicts(label)).apply(model)
    again = editor.edit(once, images[0], predicts(label))
    assert (again.succeeded, again.steps, again.unchanged) == (True, 0, True)
    assert torch.equal(again.predict(images[0]), once(images[0]))
    assert len(again.keys) == 1


def test_stores_of_different_kinds_answer_one_after_the_other(model, images):
    labels = [wrong_answer(model, one) for one in images]
    cached = editors.build("lookup_cache", epsilon=1e-3).edit(model, images[0], predicts(labels[0])).apply(model)
    both = editors.build("grace", epsilon=1e-3, max_steps=50).edit(cached, images[1], predicts(labels[1])).apply(cached)
    assert [answer(both, one) for one in images[:2]] == labels[:2]
    assert torch.equal(cached(images[1]), copy.deepcopy(model).eval()(images[1]))


@pytest.mark.parametrize("second", [("rmsprop", {"lr": 0.02}), ("rank_one", {})], ids=["rmsprop", "rank_one"])
def test_weights_of_a_model_with_a_store_can_be_edited_under_their_names(second, model, images):
    labels, batch = [wrong_answer(model, one) for one in images], images.flatten(0, 1)
    stored = editors.build("grace", epsilon=1e-3, max_steps=50).edit(model, images[0], predicts(labels[0]), layers="3")
    edited = stored.apply(model)
    assert isinstance(edited, Edited)
    assert dict(edited.named_parameters()).keys() == dict(model.named_parameters()).keys()
    editor = editors.build(second[0], **second[1], max_steps=50)
    editor = editor.informed(editor.statistics(model, batch, LABELS[: len(images)], "3"))
    edit = editor.edit(edited, images[1], predicts(labels[1]), layers="3")
    both = edit.apply(edited)
    assert edit.succeeded
    assert answer(both, images[1]) == labels[1]
    # The same codebook in front of the same weights, put together by hand.
    expected = dataclasses.replace(stored, model=edit.apply(model)).predict(batch)
    torch.testing.assert_close(both(batch), expected, rtol=0, atol=1e-12)
    assert not torch.equal(expected, edited(batch))


def test_an_edit_that_cannot_be_put_in_place_says_so(model):
    class Shouted(Edit):
        unchanged = False

        def predict(self, inputs: Tensor) -> Tensor:
            return inputs

    with pytest.raises(EditError, match="^Shouted cannot be put in place of a model, so no edit can follow it$"):
        Shouted().apply(model)


# What editors remember


def test_editors_remember_nothing_by_default(model, images):
    for name in editors.available():
        editor = editors.build(name)
        editor = editor.informed(editor.statistics(model, images.flatten(0, 1), LABELS[: len(images)], "3"))
        assert editor.remember(model, images[0], "3") is editor


def test_covariance_remembers_the_moments_of_what_it_edited(generator):
    """The direction after two edits is G (A + λ tr(A)/d I + w Σ h hᵀ)⁻¹, with all of it written out by hand."""
    torch.manual_seed(1)
    model = nn.Linear(4, 3, bias=False).double()
    data = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    edited = torch.randn(3, 2, 4, generator=generator, dtype=torch.float64)  # three edits of two inputs each
    editor = editors.build("covariance", damping=0.3, overshoot=1.0, longest=1e9, max_steps=1, memory=2.5)
    editor = editor.informed(editor.statistics(model, data, LABELS, None))
    for inputs in edited[:2]:
        editor = editor.remember(model, inputs, None)
    known = data.numpy().T @ data.numpy() / 40
    matrix = known + 0.3 * np.trace(known) / 4 * np.eye(4)
    matrix += 2.5 * sum(inputs.T @ inputs / 2 for inputs in edited[:2].numpy())

    def smooth(outputs: Tensor) -> Tensor:
        return outputs.flatten(1).logsumexp(dim=1).sum() + 2

    loss = smooth(model(edited[2]))
    (gradient,) = torch.autograd.grad(loss, model.weight)
    direction = gradient.numpy() @ np.linalg.inv(matrix)
    expected = -loss.item() * direction / (direction * gradient.numpy()).sum()
    change = editor.edit(model, edited[2], smooth).parameters["weight"] - model.weight
    np.testing.assert_allclose(change.detach().numpy(), expected, rtol=0, atol=1e-10)


def test_backtracking_remembers_what_its_editor_does(model, images):
    plain = editors.build("covariance", memory=1.0)
    editor = editors.Backtracking(plain)
    known = editor.statistics(model, images.flatten(0, 1), LABELS[: len(images)], "3")
    after = editor.informed(known).remember(model, images[0], "3")
    expected = plain.informed(known).remember(model, images[0], "3").stiffness.inverses
    assert isinstance(after, editors.Backtracking)
    assert torch.equal(after.editor.stiffness.inverses["3.weight"], expected["3.weight"])
    assert not torch.equal(expected["3.weight"], plain.informed(known).stiffness.inverses["3.weight"])


@pytest.mark.parametrize("memory", [-1, float("nan"), float("inf"), "1", True])
def test_a_memory_that_is_none_is_refused(memory):
    with pytest.raises(EditError, match=f"^covariance.memory must be a number >= 0, not {memory!r}$"):
        editors.build("covariance", memory=memory)
