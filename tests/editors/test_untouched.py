"""Every registered editor leaves models and inputs bit-identical, whatever a forward pass does to them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import editors
from editors import EditError
from editors.constraints import predicts
from editors.forward import untouched
from editors.voting import Votes, one_hot
from tests.editors.conftest import LEARNING_RATES, RULES, assert_same, impossible

CLASSES, EXAMPLES = 4, 9
LABELS = torch.arange(20) % CLASSES


class Condition(nn.Module):
    """What ``condition_vector`` needs: a buffer that is added, and an encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("vector", torch.zeros(6))
        self.encoder = nn.Linear(6 + CLASSES, 6)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.vector

    def encode(self, hidden: Tensor, labels: Tensor) -> Tensor:
        wanted = one_hot(labels.expand(len(hidden)), CLASSES).to(hidden)
        return self.encoder(torch.cat([hidden, wanted], dim=1)).mean(dim=0)


class Neighbours(nn.Module):
    """What ``flip_labels`` needs: the two nearest of some examples, with their distances, for the votes behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("examples", torch.randn(EXAMPLES, 6))

    def forward(self, hidden: Tensor) -> Tensor:
        distances, positions = torch.cdist(hidden, self.examples).topk(2, largest=False)
        return torch.stack([positions.to(distances), distances], dim=1)


class Network(nn.Module):
    """Normalises its inputs, as a copy or, if ``rough``, in place; then it also counts and keeps whatever it can."""

    def __init__(self, rough: bool, voting: bool) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.rough, self.calls, self.seen, self.kept = rough, 0, None, {}
        self.body, self.condition = nn.Linear(5, 6), Condition()
        self.head = nn.Sequential(Neighbours(), Votes(EXAMPLES, CLASSES)) if voting else nn.Linear(6, CLASSES)
        self.register_buffer("passes", torch.zeros(()))
        self.register_buffer("largest", torch.zeros(()))
        if voting:
            self.head[1].cast.data = one_hot(torch.arange(EXAMPLES) % CLASSES, CLASSES)
        self.double()

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = inputs.sub_(0.5).div_(0.25) if self.rough else (inputs - 0.5) / 0.25
        hidden = self.condition(torch.tanh(self.body(inputs)))
        if self.rough:
            hidden = hidden * (1 + 0.1 * self.calls + 0.1 * self.passes)  # a second pass would see the first
            self.calls, self.seen, self.new = self.calls + 1, hidden, [hidden]
            self.passes += 1
            self.largest = torch.maximum(self.largest, self.passes)
        return self.head(hidden)


def informed(name: str, model: nn.Module, inputs: Tensor) -> editors.Editor:
    values = {"lr": LEARNING_RATES[name]} if name in LEARNING_RATES else {}
    editor = editors.build(name, **values, max_steps=8)
    return editor.informed(editor.statistics(model, inputs, LABELS, None)) if editor.needs_statistics else editor


def traces(model: nn.Module) -> list[Any]:
    """All that a model holds: parameters and buffers as copies, everything else as it is."""
    held = [value.clone() for value in model.state_dict().values()]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    return held + [dict(vars(module)) for module in model.modules()]


def assert_untouched(model: nn.Module, before: list[Any]) -> None:
    for now, then in zip(traces(model), before, strict=True):
        assert torch.equal(now, then) if isinstance(now, Tensor) else all(now[key] is then[key] for key in then | now)


@pytest.fixture
def inputs() -> Tensor:
    return torch.rand(20, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_a_model_that_writes_to_all_it_can_reach_is_edited_like_one_that_does_not(name, inputs):
    tidy, rough = (Network(rough, voting=name == "flip_labels").train() for rough in (False, True))
    rough.body.eval()
    given, before = inputs.clone(), traces(rough)
    found, expected = [], []
    for model, edits in ((rough, found), (tidy, expected)):
        editor = informed(name, model, inputs)
        requests = [(one, predicts(row % CLASSES)) for row, one in enumerate(inputs.split(1))]
        edits += editor.edit_many(model, requests)
        edits += [editor.edit(model, *request) for request in requests[:6]]
        if name in RULES:
            edits += editor.edit_many(model, requests[:3], differentiable=True)
        assert any(not edit.unchanged for edit in edits)
        outputs = [edit.predict(inputs) for edit in edits]
        patched = [edit.apply(model) for edit in edits]
        assert torch.equal(inputs, given)
        if model is rough:
            assert_untouched(rough, before)
            answers = outputs
    assert [(edit.succeeded, edit.steps) for edit in found] == [(edit.succeeded, edit.steps) for edit in expected]
    for one, other in zip(answers, outputs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    for one, edit in zip(patched, found, strict=True):
        one.rough = False
        torch.testing.assert_close(one.eval()(inputs), edit.predict(inputs), rtol=0, atol=1e-10)


def test_edits_that_are_asked_for_again_by_themselves_leave_the_inputs_as_they_are(inputs):
    model, given = Network(rough=True, voting=False), inputs.clone()
    request = editors.Request(inputs[:1], predicts(2, margin=5.0))
    edit = editors.Backtracking(editors.build("rmsprop", lr=0.02, max_steps=30)).edit(model, *request)
    assert edit.succeeded
    assert edit.loss.item() == predicts(2, margin=5.0)(edit.predict(inputs[:1])).item()
    assert torch.equal(inputs, given)


def test_a_model_that_writes_to_nothing_is_run_on_the_inputs_themselves(inputs):
    model, seen = nn.Linear(5, 3).double(), []
    model.register_forward_pre_hook(lambda module, given: seen.append(given[0].data_ptr()))
    edit = editors.build("gd").edit(model, inputs[:1], impossible)
    for _ in range(3):
        edit.predict(inputs)
    assert seen[-3:] == [inputs.data_ptr()] * 3


@pytest.mark.parametrize(
    "arrange",
    [lambda value: value, lambda value: value[:, ::2], lambda value: value[:1].expand(4, 6), lambda value: value.T],
)
def test_the_first_pass_of_a_model_is_on_copies_of_the_same_strides(arrange):
    inputs, seen = arrange(torch.randn(4, 6)), []
    untouched(nn.ReLU(), lambda own, buffers: seen.append(own), inputs)
    assert torch.equal(seen[0], inputs)
    assert seen[0].stride() == inputs.stride()
    assert seen[0].data_ptr() != inputs.data_ptr()


# Copies of what users write


class Keeping(nn.Module):
    """Keeps activations, as tools that explain answers do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.seen, self.all = nn.Linear(5, 6), nn.Linear(6, CLASSES), None, {}

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen = torch.tanh(self.first(inputs))
        self.all["scale"] = [self.last.weight.norm()]
        return self.last(self.seen) / self.all["scale"][0]


def sequence(first: nn.Module) -> nn.Module:
    return nn.Sequential(first, nn.Tanh(), nn.Linear(6, CLASSES))


MODELS = {
    "weight_norm": lambda: sequence(nn.utils.weight_norm(nn.Linear(5, 6))),
    "spectral_norm": lambda: sequence(nn.utils.spectral_norm(nn.Linear(5, 6))),
    "pruned": lambda: sequence(prune.l1_unstructured(nn.Linear(5, 6), "weight", amount=0.3)),
    "keeping": Keeping,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("name", ["adam", "lookup_cache"])
@pytest.mark.parametrize("kind", MODELS)
def test_models_that_hold_tensors_with_a_graph_are_edited_and_patched(kind, name, inputs):
    torch.manual_seed(0)
    model = MODELS[kind]().double().eval()
    wanted = int(model(inputs[:1]).argmin())  # leaves the graph in the model
    before = model(inputs).detach()
    edit = editors.build(name, max_steps=300).edit(model, inputs[:1], predicts(wanted))
    patched = edit.apply(model)
    assert edit.steps > 0
    assert patched(inputs[:1]).argmax() == wanted
    torch.testing.assert_close(patched(inputs), edit.predict(inputs), rtol=0, atol=1e-12)
    assert torch.equal(model(inputs), before)


def test_a_model_that_cannot_be_copied_is_named_with_what_to_do(inputs):
    model = nn.Linear(5, 3).double()
    edit = editors.build("gd").edit(model, inputs[:1], impossible)
    model.source = (one for one in ())
    with pytest.raises(EditError, match=r"^Linear cannot be copied \(cannot pickle 'generator' object\): make another"):
        edit.apply(model)


# Where gradients are switched off


def test_edits_made_in_inference_mode_equal_others(name, inputs):
    def edits() -> list[editors.Edit]:
        model, own = Network(rough=False, voting=name == "flip_labels"), inputs.clone()
        editor = informed(name, model, own)
        requests = [(one, predicts(torch.tensor(row % CLASSES))) for row, one in enumerate(own.split(1))]
        return [*editor.edit_many(model, requests), *(editor.edit(model, *request) for request in requests)]

    expected = edits()
    with torch.inference_mode():
        found = edits()
        patched = [edit.apply(edit.model) for edit in found]
    assert [(edit.succeeded, edit.steps) for edit in found] == [(edit.succeeded, edit.steps) for edit in expected]
    with torch.no_grad():  # a model made in inference mode has no others
        for one, other, model in zip(found, expected, patched, strict=True):
            torch.testing.assert_close(one.predict(inputs), other.predict(inputs), rtol=0, atol=1e-12)
            torch.testing.assert_close(model.eval()(inputs), other.predict(inputs), rtol=0, atol=1e-12)
    if hasattr(found[0], "parameters"):
        assert_same(found, expected, atol=0)


def test_inputs_that_carry_a_graph_are_given_to_the_model_themselves_once_it_is_known() -> None:
    """A copy would be one more node of their graph, and gradients that are summed in another order round otherwise."""
    seen = []

    class Recorded(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            seen.append(inputs is features)
            return super().forward(inputs)

    features = torch.randn(1, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    editor = editors.build("gd", lr=1e-2, max_steps=2)
    edit = editor.edit(Recorded(4, 3), features, editors.constraints.predicts(2), differentiable=True)
    edit.loss.backward()
    assert not seen[0]
    assert len(seen) > 1
    assert all(seen[1:])
    assert features.grad is not None


def test_inputs_that_carry_a_graph_stay_as_they_are_in_models_that_work_in_place() -> None:
    """The gradient of the edit's loss by what the inputs were made of, compared with that of a model that copies."""
    found = []
    for rough in (False, True):
        source = torch.rand(1, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
        features = 2 * source
        given = features.detach().clone()
        editor = editors.build("gd", lr=1e-2, max_steps=2)
        edit = editor.edit(Network(rough, voting=False), features, predicts(1, margin=5.0), differentiable=True)
        assert torch.equal(features, given)
        edit.loss.backward()
        found.append(source.grad)
    assert found[0].abs().max() > 0
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-12)
