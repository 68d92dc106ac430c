"""Editors on a GPU: what they do on a CPU, in as few launches as there are steps, and one wait for each."""

from __future__ import annotations

import copy
import warnings
from functools import partial

import pytest
import torch
from torch import nn

import editors
from benchmarks.networks.folding import fold
from benchmarks.networks.model_split import activations, split
from editors.constraints import predicts

NAMES = [name for name in editors.available() if name not in ("condition_vector", "flip_labels")]
"""These two edit networks of their own, which the stages train."""
DESCENDING = [name for name in NAMES if isinstance(editors.build(name), editors.DescentEditor)]
LAYERS = dict.fromkeys(("rank_one", "grace", "minimal_repair"), "head")
STEPS = 4
SHORT = {name: {"longest": 1e-3} for name in ("polyak", "covariance", "fisher")}
"""Steps so short that none is the last, of editors that go as far as the constraint asks for."""
AT_FIRST = {"fisher": 1}
"""Waits before the first step, of editors that look whether their statistics are of any use."""


class Case:
    """The part of a network that an editor changes, on one device, and requests that it gets wrong."""

    def __init__(self, network: nn.Module, device: torch.device | str, name: str) -> None:
        source = torch.Generator().manual_seed(0)
        images, training = (torch.randn(count, 3, 16, 16, generator=source) for count in (20, 40))
        labels = torch.randint(10, (40,), generator=source)
        self.layers = LAYERS.get(name, "chain3")
        self.device = torch.device(device)
        with torch.no_grad():
            prefix, self.model = split(fold(copy.deepcopy(network).to(device), self.layers), self.layers)
        self.inputs = activations(prefix, images.to(device))
        ranked = network(images).argsort(dim=1, descending=True)
        self.wrong = [int(ranked[row, 1 + row % 9]) for row in range(len(images))]  # some are near, some far off
        self._training, self._labels = activations(prefix, training.to(device)), labels.to(device)

    def editor(self, name: str, **values: object) -> editors.Editor:
        built = editors.build(name, **values)
        known = built.statistics(self.model, self._training, self._labels, self.layers)
        return built.informed(known) if built.needs_statistics else built

    def requests(self, count: int, margin: float = 0.0) -> list[editors.Request]:
        return [
            editors.Request(self.inputs[row : row + 1], predicts(self.wrong[row], margin=margin))
            for row in range(count)
        ]


@pytest.fixture
def case(network, device):
    return partial(Case, network, device)


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("name", NAMES)
def test_edits_are_those_of_a_cpu(name, network, case):
    found = []
    for one in (Case(network, "cpu", name), case(name)):
        edits = one.editor(name, max_steps=STEPS).edit_many(one.model, one.requests(4), one.layers)
        assert {value.device.type for edit in edits for value in getattr(edit, "parameters", {}).values()} <= {
            one.device.type
        }
        answers = [edit.predict(one.inputs).cpu() for edit in edits]
        found.append(([(edit.succeeded, edit.steps) for edit in edits], answers))
    (expected, answers), (ours, on_gpu) = found
    assert ours == expected
    torch.testing.assert_close(on_gpu, answers, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("differentiable", [False, True])
@pytest.mark.parametrize("name", DESCENDING)
def test_a_step_of_an_edit_waits_once(name, differentiable, case, counting):
    one = case(name)
    editor, (request,) = one.editor(name, max_steps=STEPS, **SHORT.get(name, {})), one.requests(1, margin=1e3)
    run = partial(editor.edit, one.model, *request, layers=one.layers, differentiable=differentiable)
    run()
    with counting() as found:
        edit = run()
    assert edit.steps == STEPS
    assert found.counts.synchronised == AT_FIRST.get(name, 0) + STEPS + 1, found.places
    assert found.counts.undetermined == {}


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("name", DESCENDING)
def test_a_step_of_many_edits_waits_once_and_launches_as_much_as_that_of_few(name, case, counting):
    one, counts = case(name), []
    editor = one.editor(name, max_steps=STEPS, **SHORT.get(name, {}))
    for many in (5, 15):
        requests = one.requests(many, margin=1e3)
        editor.edit_many(one.model, requests, one.layers)
        with counting() as found:
            edits = editor.edit_many(one.model, requests, one.layers)
        assert {edit.steps for edit in edits} == {STEPS}
        assert found.counts.synchronised == AT_FIRST.get(name, 0) + STEPS + 1, found.places
        # Beside them each edit's result is copied out of the batch.
        counts.append((found.counts.launched - many * (len(edits[0].parameters) + 1)) / STEPS)
    if name not in ("rehearsal", "retrain"):  # whose training batches go through the network 16 edits at a time
        assert counts[1] < 1.1 * counts[0] < 400


def test_edits_that_leave_a_batch_cost_no_wait(case, counting):
    one = case("rmsprop")
    editor = one.editor("rmsprop", lr=1e-2, max_steps=10)
    requests = one.requests(15)
    editor.edit_many(one.model, requests, one.layers)
    with counting() as found:
        edits = editor.edit_many(one.model, requests, one.layers)
    steps = {edit.steps for edit in edits}
    assert len(steps) > 2
    assert found.counts.synchronised == max(steps) + 1, found.places
    alone = [editor.edit(one.model, *request, one.layers) for request in requests]
    assert [edit.steps for edit in alone] == [edit.steps for edit in edits]


def test_a_batch_that_does_not_fit_is_halved_and_that_is_said_once(case, emulation):
    one = case("rmsprop")
    editor, requests = one.editor("rmsprop", max_steps=2), one.requests(16, margin=1e3)
    editor.edit_many(one.model, requests, one.layers)
    with emulation.counting() as whole:
        before = torch.cuda.memory_allocated()
        expected = editor.edit_many(one.model, requests, one.layers)
    # What is kept of all edits is needed; of what they need while they are made, there is for a few only.
    kept = sum(value.nbytes for edit in expected for value in edit.parameters.values())
    with (
        emulation.memory_of(kept + (whole.counts.peak - before - kept) // 3),
        warnings.catch_warnings(record=True) as said,
    ):
        warnings.simplefilter("default")
        edits = editor.edit_many(one.model, requests, one.layers)
    assert [str(one.message) for one in said] == [
        "edits are made in smaller batches, because so many at once do not fit into the GPU's memory"
    ]
    for edit, other in zip(edits, expected, strict=True):
        torch.testing.assert_close(dict(edit.parameters), dict(other.parameters), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_on_another_device_are_an_error_in_one_sentence(name, network, case):
    one = case(name)
    editor, request = one.editor(name), one.requests(1)[0]
    with pytest.raises(editors.EditError, match="the inputs are on cpu, the model is on cuda"):
        editor.edit(one.model, request.inputs.cpu(), request.constraint, one.layers)


@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_labels_may_be_on_either_device(where, case):
    one = case("rmsprop")
    (request,) = one.requests(1)
    expected = one.editor("rmsprop").edit(one.model, *request, one.layers)
    constraint = predicts(torch.tensor(one.wrong[0], device=where))
    edit = one.editor("rmsprop").edit(one.model, request.inputs, constraint, one.layers)
    assert torch.equal(edit.loss, expected.loss)


def test_hyperparameters_on_either_device_get_their_gradients(case):
    one, found = case("rmsprop"), []
    (request,) = one.requests(1, margin=1e3)
    for where in ("cpu", "cuda"):
        lr = torch.tensor(1e-3, device=where, requires_grad=True)
        edit = editors.build("rmsprop", lr=lr, max_steps=3).edit(one.model, *request, one.layers, differentiable=True)
        (gradient,) = torch.autograd.grad(edit.loss, lr)
        assert gradient.device.type == where
        found.append(gradient.item())
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[0] != 0
