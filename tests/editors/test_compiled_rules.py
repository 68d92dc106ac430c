"""Compiled steps are those of the plain rules, and are compiled once."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

import editors
from editors.compiling import CompilationError
from editors.constraints import predicts
from editors.descent import DescentEditor
from tests.editors.conftest import RULES, Build, ConvNet, assert_same, impossible
from tests.editors.test_parameter_buffers import Remembering
from tests.optional import compiles

pytestmark = compiles

QUICK = ("rmsprop",)  # each rule takes seconds to compile


@pytest.fixture(params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in RULES])
def changing(request: pytest.FixtureRequest) -> str:
    return request.param


def requests_of(images: Tensor) -> list[editors.Request]:
    return [editors.Request(one, predicts(row % 5)) for row, one in enumerate(images)]


@contextmanager
def nothing_compiled_anew() -> Iterator[None]:
    with torch._dynamo.config.patch(error_on_recompile=True):
        yield


def test_equal_plain_ones(build, model, images):
    plain = build(max_steps=6).edit_many(model, requests_of(images))
    assert len({edit.steps for edit in plain}) > 2  # rows leave the batch one after the other
    compiled = build(max_steps=6, compiled=True)
    assert_same(compiled.edit_many(model, requests_of(images)), plain, atol=1e-12)
    assert_same([compiled.edit(model, *requests_of(images)[-1])], plain[-1:], atol=1e-12)


def test_equal_plain_ones_in_float32(model, images):
    model, images = model.float(), images.float()
    found, expected = (
        editors.build("adam", lr=0.02, max_steps=3, compiled=flag).edit_many(model, requests_of(images))
        for flag in (True, False)
    )
    assert_same(found, expected, atol=1e-5)
    assert all(value.dtype == torch.float32 for value in found[0].parameters.values())


def test_one_that_keeps_what_it_is_shown_equals_the_plain_one(model, images):
    plain = Remembering(max_steps=8).edit_many(model, requests_of(images))
    assert_same(Remembering(max_steps=8, compiled=True).edit_many(model, requests_of(images)), plain, atol=1e-12)


def test_backtracking_from_compiled_steps_ends_where_it_does_from_plain_ones(model, images):
    found, expected = (
        editors.Backtracking(editors.build("rmsprop", lr=0.02, compiled=flag)).edit_many(model, requests_of(images))
        for flag in (True, False)
    )
    assert_same(found, expected, atol=1e-10)


def test_other_hyperparameters_and_numbers_of_edits_are_not_compiled_anew(model, images):
    requests = requests_of(images)
    for count in (1, 12):
        editors.build("rmsprop", lr=0.02, compiled=True).edit_many(model, requests[:count])
    with nothing_compiled_anew():
        for count in (1, 2, 5, 12):
            found = editors.build("rmsprop", lr=0.01, beta=0.9, compiled=True).edit_many(model, requests[:count])
            expected = editors.build("rmsprop", lr=0.01, beta=0.9).edit_many(model, requests[:count])
            assert_same(found, expected, atol=1e-12)


def gradients_of(build: Build, model: nn.Module, request: editors.Request, **options: object) -> tuple:
    """The edit, and the derivatives of its loss and parameters by the model's."""
    edit = build(**options).edit(model, *request, layers="head", differentiable=True)
    outcome = edit.loss + sum(value.square().sum() for value in edit.parameters.values())
    values = [value for value in model.parameters() if value.requires_grad]
    return edit, torch.autograd.grad(outcome, values, allow_unused=True)


class Small(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(OrderedDict(flat=nn.Flatten(), body=nn.Linear(36, 8), tanh=nn.Tanh(), head=nn.Linear(8, 5)))


@pytest.mark.parametrize("network", [Small, pytest.param(ConvNet, marks=pytest.mark.slow)])
def test_graphs_equal_plain_ones(build, network, images):
    torch.manual_seed(2)
    model, stopped = network().double(), set()
    for max_steps in (0, 1, 6):
        for request in requests_of(images)[:6]:
            found, derivatives = gradients_of(build, model, request, max_steps=max_steps, compiled=True)
            expected, wanted = gradients_of(build, model, request, max_steps=max_steps)
            assert_same([found], [expected], atol=1e-12)
            torch.testing.assert_close(derivatives, wanted, rtol=1e-9, atol=1e-12)
            stopped.add(expected.steps)
    assert {0, 1} <= stopped
    assert max(stopped) >= 2


def test_other_labels_rates_and_steps_of_a_graph_are_not_compiled_anew(images):
    torch.manual_seed(2)
    model = Small().double()

    class Fresh(type(editors.build("rmsprop"))):
        """Not compiled before."""

    def edit(row: int, label: int, lr: float) -> editors.Edit:
        rate = torch.tensor(lr, dtype=torch.float64, requires_grad=True)
        editor = Fresh(lr=rate, max_steps=4, compiled=True)
        return editor.edit(model, images[row], predicts(label), layers="head", differentiable=True)

    answers = model.eval()(images.flatten(0, 1)).argmax(dim=1).tolist()
    with nothing_compiled_anew():
        taken = {
            (label, edit(row, label, 1e-3 + row * 1e-4).steps)
            for row, answer in enumerate(answers)
            for label in range(5)
            if label != answer
        }
    assert len({label for label, steps in taken if steps > 1}) > 2


def test_constraints_are_checked_as_without_compiling(model, images):
    editor = editors.build("rmsprop", compiled=True)
    for constraint, message in (
        (lambda outputs: outputs[0], "must return one number as a tensor"),
        (lambda outputs: torch.ones(()), "does not depend on the edited parameters"),
        (predicts(7), "label 7 is outside the model's 5 classes"),
    ):
        for differentiable in (False, True):
            with pytest.raises(editors.EditError, match=message):
                editor.edit(model, images[0], constraint, differentiable=differentiable)


def test_what_cannot_be_compiled_whole_is_refused(model, images):
    class Breaking(type(editors.build("gd"))):
        def update(self, gradients: Tensor, state: None) -> tuple[Tensor, None]:
            torch._dynamo.graph_break()  # as whatever else the compiler cannot look through
            return -self.lr * gradients, state

    with pytest.raises(CompilationError, match="steps of Breaking cannot be compiled: .*Use compiled=False"):
        Breaking(lr=0.05, compiled=True).edit(model, images[0], impossible)


def test_without_a_compiler_the_error_says_what_it_takes(model, images, tmp_path, monkeypatch):
    from torch._inductor import config

    class Other(type(editors.build("gd"))):
        """Not compiled before."""

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    with config.patch({"cpp.cxx": ("no-such-compiler",)}), pytest.raises(CompilationError) as raised:
        Other(lr=0.05, compiled=True).edit_many(model, requests_of(images))
    assert "steps of Other cannot be compiled" in str(raised.value)
    assert "It takes a C++ compiler and Python's headers (python3-dev). Use compiled=False" in str(raised.value)


def test_the_flag_must_be_one():
    with pytest.raises(editors.EditError, match="compiled must be true or false, not 'yes'"):
        editors.build("rmsprop", compiled="yes")


def test_a_state_without_a_row_for_each_edit_is_refused(model, images):
    class Counting(DescentEditor):
        def init(self, parameters: Tensor) -> Tensor:
            return torch.zeros(())

        def update(self, gradients: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            return -0.05 * gradients, state + 1

    with pytest.raises(editors.EditError, match=r"state of Counting must have a row for each of 12 edits, .* \(\)"):
        Counting(max_steps=8).edit_many(model, requests_of(images))
