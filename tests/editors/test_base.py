"""What every registered editor promises of one edit; a new editor is tested by being registered."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from editors.constraints import predicts
from tests.editors.conftest import CHANGING, CountingConstraint, answer, assert_same, impossible, wrong_answer

# The model


def test_edits_leave_the_model_bit_identical_with_its_modes_and_flags(editor, model, images, graphs):
    before = copy.deepcopy(model.state_dict())
    objects = {name: id(value) for name, value in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    flags = [value.requires_grad for value in model.parameters()]
    assert any(modes)
    assert not all(modes)
    assert len(set(flags)) == 2

    requests = [(one, predicts(label % 5)) for label, one in enumerate(images)]
    edits = [*editor.edit_many(model, requests), editor.edit(model, *requests[0], differentiable=graphs)]
    edits.append(editor.edit(model, images[0], impossible, layers="chain1"))
    assert max(edit.steps for edit in edits) > 0
    for edit in edits:
        edit.predict(images[1])
        edit.apply(model)

    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {name: id(value) for name, value in model.named_parameters()} == objects
    assert [module.training for module in model.modules()] == modes
    assert [value.requires_grad for value in model.parameters()] == flags
    assert all(value.grad is None for value in model.parameters())


def test_model_keeps_its_modes_when_the_constraint_raises(editor, model, images):
    modes = [module.training for module in model.modules()]
    with pytest.raises(KeyError, match="mine"):
        editor.edit(model, images[0], lambda outputs: {}["mine"])
    assert [module.training for module in model.modules()] == modes


def test_edit_is_made_in_evaluation_mode(editor, model, images):
    label = wrong_answer(model, images[0])
    in_training = editor.edit(model, images[0], predicts(label))
    in_evaluation = editor.edit(copy.deepcopy(model).eval(), images[0], predicts(label))
    assert_same([in_training], [in_evaluation], atol=0)


# Steps, success and loss


def test_edit_takes_no_step_when_the_model_already_answers_so(editor, model, images):
    edit = editor.edit(model, images[0], predicts(answer(model, images[0])))
    assert edit.succeeded is True
    assert edit.steps == 0
    assert edit.unchanged
    assert edit.loss.item() == 0
    assert all(torch.equal(edit.parameters[name], value) for name, value in model.named_parameters())


def test_a_tie_satisfies_the_constraint(editor):
    model = nn.Linear(3, 4)
    with torch.no_grad():
        model.weight.fill_(0.5)
        model.bias.fill_(1.0)
    edits = [editor.edit(model, torch.ones(1, 3), predicts(label)) for label in range(4)]
    assert [(edit.succeeded, edit.steps) for edit in edits] == [(True, 0)] * 4


def test_steps_are_the_fewest_that_satisfy_the_constraint(build, model, images):
    constraint = predicts(wrong_answer(model, images[0]))
    full = build(max_steps=50).edit(model, images[0], constraint)
    assert full.succeeded is True
    assert 1 < full.steps < 50
    assert full.loss <= 0
    early = build(max_steps=full.steps - 1).edit(model, images[0], constraint)
    assert early.succeeded is False
    assert early.steps == full.steps - 1
    assert early.loss > 0
    exact = build(max_steps=full.steps).edit(model, images[0], constraint)
    assert_same([exact], [full], atol=0)


@pytest.mark.parametrize("most", [0, 1, 5])
def test_failed_edit_counts_k_steps_and_evaluates_the_constraint_once_more(build, model, images, most):
    constraint = CountingConstraint(0, limit=-1.0)
    edit = build(max_steps=most).edit(model, images[0], constraint)
    assert edit.succeeded is False
    assert edit.steps == most
    assert constraint.calls == most + 1


def test_successful_edit_evaluates_the_constraint_once_more_than_it_steps(build, model, images, passes):
    constraint = CountingConstraint(wrong_answer(model, images[0]), limit=0.8)
    edit = build(max_steps=100).edit(model, images[0], constraint)
    assert edit.succeeded is True
    assert edit.steps > 1
    assert constraint.calls == edit.steps + 1


def test_loss_is_the_constraint_of_the_edited_model(editor, model, images):
    edit = editor.edit(model, images[0], impossible)
    patched = edit.apply(model).eval()
    assert edit.loss.shape == ()
    torch.testing.assert_close(edit.loss, impossible(patched(images[0])), rtol=0, atol=1e-12)
    assert edit.loss != impossible(copy.deepcopy(model).eval()(images[0]))


# What may change


SELECTIONS: list[tuple[Any, set[str]]] = [
    (None, set()),  # the whole model
    ("chain1", {"chain1.0.weight", "chain1.0.bias", "chain1.1.weight", "chain1.1.bias"}),
    ("*.bias", {"stem.0.bias", "stem.1.bias", "chain1.0.bias", "chain1.1.bias", "head.bias"}),
    ("head", {"head.weight", "head.bias"}),
    (["stem", "head"], {"stem.0.weight", "stem.0.bias", "stem.1.weight", "stem.1.bias", "head.weight", "head.bias"}),
    (("head", "chain1.0"), {"head.weight", "head.bias", "chain1.0.weight", "chain1.0.bias"}),
    ("chain1.0", {"chain1.0.weight", "chain1.0.bias"}),
    ("*.1", {"stem.1.weight", "stem.1.bias", "chain1.1.weight", "chain1.1.bias"}),
    ("chain[12]", {"chain1.0.weight", "chain1.0.bias", "chain1.1.weight", "chain1.1.bias"}),
    ("head.weight", {"head.weight"}),
]
"""One function selects for all editors, and only covariance joins what was selected of a layer: the others are tried
with the first three."""


@pytest.mark.parametrize(
    ("changing", "layers", "expected"),
    [
        pytest.param(name, layers, expected, id=f"{name}-{layers}")  # a set has another order in every process
        for name in CHANGING
        for layers, expected in SELECTIONS[: None if name in ("rmsprop", "covariance") else 3]
    ],
)
def test_only_what_was_selected_changes(editor, model, images, layers, expected):
    edit = editor.edit(model, images[0], impossible, layers=layers)
    expected = expected or {name for name, _ in model.named_parameters()}
    assert set(edit.parameters) == expected
    patched = edit.apply(model)
    for name, value in model.named_parameters():
        assert torch.equal(dict(patched.named_parameters())[name], value) == (name not in expected), name
        if name in expected:
            assert torch.equal(dict(patched.named_parameters())[name], edit.parameters[name])


def test_apply_gives_a_new_module_that_answers_like_predict(editor, model, images):
    edit = editor.edit(model, images[0], impossible)
    patched = edit.apply(model)
    assert patched is not model
    assert type(patched) is type(model)
    assert {value.data_ptr() for value in patched.parameters()}.isdisjoint(
        value.data_ptr() for value in (*model.parameters(), *edit.parameters.values())
    )
    assert [module.training for module in patched.modules()] == [module.training for module in model.modules()]
    buffers = dict(patched.named_buffers())
    assert all(torch.equal(buffers[name], value) for name, value in model.named_buffers())
    batch = images.flatten(0, 1)
    torch.testing.assert_close(patched.eval()(batch), edit.predict(batch), rtol=0, atol=1e-12)


def test_results_can_be_pickled_and_compared(editor, model, images):
    edit = editor.edit(copy.deepcopy(model).eval(), images[0], predicts(1))
    read = pickle.loads(pickle.dumps(edit))
    assert (read.succeeded, read.steps, read.loss) == (edit.succeeded, edit.steps, edit.loss)
    assert torch.equal(read.predict(images[1]), edit.predict(images[1]))
    assert edit in [read, edit]
    assert edit not in [read]


def test_result_holds_no_memory_but_its_own_parameters(editor, model, images):
    edits = editor.edit_many(model, [(one, impossible) for one in images], layers="head")
    for edit in edits:
        wanted = sum(value.numel() * value.element_size() for value in edit.parameters.values())
        held = {
            value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in edit.parameters.values()
        }
        assert sum(held.values()) == wanted
