"""Parameters that are changed in place, in pieces, take the values that a rule gives them on the whole vector."""

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import editors
from editors import parameter_buffers
from editors.constraints import predicts
from editors.descent import DescentEditor, elementwise
from tests.editors.conftest import assert_same, one_by_one


@pytest.fixture
def changing(rule: str) -> str:
    """Only editors that follow an update rule, and can carry a graph, are built here."""
    return rule


@pytest.fixture(params=[True, False], ids=["pieces", "as it is"])
def small_pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Sizes so small that the models of these tests have vectors of their own for some layers, of several pieces."""
    if request.param:
        for name, value in (("_TILE", 48), ("_NARROWEST", 5), ("_SMALL", 12)):
            monkeypatch.setattr(parameter_buffers, name, value)
    return request.param


def test_edits_in_place_equal_those_that_carry_a_graph(build, model, images, small_pieces):
    editor = build(max_steps=5)
    requests = [(one, predicts(row % 5)) for row, one in enumerate(images)]
    together = editor.edit_many(model, requests, layers=["chain1", "head"])
    graph = one_by_one(editor, model, requests, layers=["chain1", "head"], differentiable=True)
    assert {0, 1} < {edit.steps for edit in graph}
    assert_same(together, graph, atol=1e-12)
    assert_same(one_by_one(editor, model, requests, layers=["chain1", "head"]), graph, atol=1e-12)


def test_rules_that_say_so_treat_every_parameter_on_its_own(build):
    editor = build(max_steps=3)
    if not editor.by_parameter:
        pytest.skip("it looks at all parameters of an edit")
    values = torch.randn(3, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pieces = [slice(0, 7), slice(7, 8), slice(8, 40)]
    whole, parts = editor.init(values), [editor.init(values[:, piece]) for piece in pieces]
    for step in range(3):
        gradients = values.sin() * (step + 1)
        updates, whole = editor.update(gradients, whole)
        for place, piece in enumerate(pieces):
            found, parts[place] = editor.update(gradients[:, piece], parts[place])
            torch.testing.assert_close(found, updates[:, piece], rtol=1e-14, atol=0)


@dataclass(frozen=True, kw_only=True)
class Remembering(DescentEditor):
    """Keeps what it was shown: the parameters at first, and then the last gradient. Both must stay as they were."""

    lr: float = 0.05

    def init(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return parameters, parameters

    @elementwise
    def update(self, gradients: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        start, last = state
        return -self.lr * (gradients + 0.1 * last.tanh() + 0.01 * start), (start, gradients)


def test_a_rule_may_keep_what_it_is_shown(model, images, small_pieces):
    requests = [(one, predicts(row % 5)) for row, one in enumerate(images)]
    before = copy.deepcopy(model.state_dict())
    editor = Remembering(max_steps=8)
    assert editor.by_parameter
    graph = one_by_one(editor, model, requests, differentiable=True)
    assert len({edit.steps for edit in graph}) > 2
    passes = []
    model.stem.register_forward_hook(lambda *_: passes.append(1))
    assert_same(editor.edit_many(model, requests), graph, atol=1e-12)
    assert len(passes) == 1 + max(edit.steps for edit in graph)  # together, not one by one
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_update_that_replaces_one_does_not_inherit_what_it_said_of_itself():
    class Normed(type(editors.build("gd"))):
        def update(self, gradients: Tensor, state: None) -> tuple[Tensor, None]:
            return -gradients / gradients.norm(dim=-1, keepdim=True), state

    assert editors.build("gd").by_parameter
    assert not Normed().by_parameter


def test_edits_do_not_share_memory(model, images, small_pieces):
    edits = editors.build("rmsprop", lr=0.02).edit_many(
        model, [(one, predicts(row % 5)) for row, one in enumerate(images)]
    )
    kept = [{name: value.clone() for name, value in edit.parameters.items()} for edit in edits]
    for value in edits[0].parameters.values():
        value.zero_()
    for edit, values in zip(edits[1:], kept[1:], strict=True):
        assert all(torch.equal(value, values[name]) for name, value in edit.parameters.items())
    assert not any(bool((value == 0).all()) for value in model.parameters())
