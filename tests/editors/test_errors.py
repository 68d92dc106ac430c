"""Bad input gets one clear sentence that names the thing and what is allowed."""

import itertools
import re
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import editors
from editors import EditError
from editors.backtracking import mixed_back
from editors.constraints import predicts
from editors.voting import Votes
from tests.editors.conftest import ConvNet, answer, wrong_answer


def message_of(action: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    with pytest.raises(EditError) as caught:
        action(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def network(name: str) -> nn.Module:
    """Three numbers to two classes, with the parts that ``name`` asks for."""
    if name == "flip_labels":
        return nn.Sequential(OrderedDict(first=nn.Linear(3, 2), votes=Votes(4, 2)))
    if name == "condition_vector":
        condition = nn.Identity()
        condition.encode, condition.vector = None, torch.zeros(2)
        return nn.Sequential(OrderedDict(first=nn.Linear(3, 2), condition=condition))
    return nn.Linear(3, 2)


def impossible(outputs: Tensor) -> Tensor:
    return outputs.square().sum() + 1


def test_unknown_editor_is_named_with_those_there_are():
    message = message_of(lambda: editors.build("rmsprob"))
    assert message == f"unknown editor 'rmsprob'; available: {', '.join(editors.available())}"
    assert message_of(lambda: editors.describe("rmsprob")) == message


def test_unknown_hyperparameter_is_named_with_those_there_are(name):
    message = message_of(lambda: editors.build(name, learning_rate=1.0))
    assert f"{name!r} has no hyperparameter 'learning_rate'" in message
    for parameter in editors.describe(name).hyperparameters:
        assert parameter.name in message
    assert "max_steps" in message


@pytest.mark.parametrize(
    ("name", "key", "value", "allowed"),
    [
        ("gd", "lr", 0.0, "a number > 0, not 0"),
        ("gd", "lr", -1e-3, "a number > 0, not -0.001"),
        ("gd", "lr", float("nan"), "a number > 0, not nan"),
        ("gd", "lr", float("inf"), "a number > 0, not inf"),
        ("gd", "lr", torch.tensor(-2.0), "a number > 0, not -2"),
        ("gd", "lr", "0.1", "a number > 0, not '0.1'"),
        ("gd", "lr", None, "a number > 0, not None"),
        ("gd", "lr", True, "a number > 0, not True"),
        ("gd", "lr", torch.ones(2), "one number, not a tensor of shape (2,)"),
        ("gd", "lr", torch.ones(1, 1, 1), "one number, not a tensor of shape (1, 1, 1)"),
        ("rmsprop", "beta", 1.0, "a number >= 0 and < 1, not 1"),
        ("rmsprop", "eps", 0, "a number > 0, not 0"),
        ("momentum", "mu", -0.1, "a number >= 0 and < 1, not -0.1"),
        ("adam", "beta1", 0.05, "a number >= 0.1 and < 1, not 0.05"),
        ("adam", "beta2", 1.5, "a number >= 0 and < 1, not 1.5"),
    ],
)
def test_hyperparameter_out_of_its_domain_is_named_with_the_domain(name, key, value, allowed):
    message = message_of(lambda: editors.build(name, **{key: value}))
    assert message.startswith(f"{name}.{key} must ")
    assert message.endswith(allowed)


@pytest.mark.parametrize(
    ("name", "option", "value", "expected"),
    [
        ("retrain", "batch_size", 0, "a whole number >= 1"),
        ("retrain", "batch_size", "a", "a whole number >= 1"),
        ("rehearsal", "samples", -1, "a whole number >= 1"),
        ("rehearsal", "seed", "x", "a whole number >= 0"),
        ("polyak", "longest", -1.0, "a number above 0"),
        ("polyak", "longest", float("nan"), "a number above 0"),
        ("polyak", "longest", "x", "a number above 0"),
    ],
)
def test_an_option_out_of_its_range_is_named(name, option, value, expected):
    assert message_of(editors.build, name, **{option: value}) == f"{option} must be {expected}, not {value!r}"


def test_max_steps_must_be_a_whole_number(name):
    for steps in (-1, 2.0, "3", True, None):
        message = message_of(editors.build, name, max_steps=steps)
        assert message == f"max_steps must be a whole number >= 0, not {steps!r}"


def test_unknown_layer_is_named_with_those_there_are(editor, model, images):
    for layers in ("chain9", ["head", "chain9"], "chain9.*"):
        for message in (
            message_of(editor.edit, model, images[0], impossible, layers=layers),
            message_of(editor.edit_many, model, [(images[0], impossible)], layers=layers),
        ):
            assert "unknown layer 'chain9" in message
            assert "stem, chain1, head" in message


def test_unknown_layer_of_a_single_layer_is_answered_with_its_parameters(editor):
    message = message_of(lambda: editor.edit(nn.Linear(2, 2), torch.eye(2), impossible, layers="head"))
    assert "unknown layer 'head'; the model has: weight, bias" in message


def test_layer_without_parameters_is_named(editor, model, images):
    message = message_of(lambda: editor.edit(model, images[0], impossible, layers="dropout"))
    assert message == "layers 'dropout' hold no parameters that could be edited"


def test_layers_that_name_nothing_are_refused(editor, model, images):
    for layers in ([], ()):
        message = message_of(editor.edit, model, images[0], impossible, layers=layers)
        assert message == "layers is an empty list; name at least one layer, or give None for the whole model"
    for layers in (3, [3], nn.Linear(1, 1), ["head", None]):
        message = message_of(editor.edit, model, images[0], impossible, layers=layers)
        assert message.startswith("layers must be a name, several names or None, not ")


def test_label_outside_the_classes_is_named(editor, model, images):
    requests = [(images[0], predicts(1)), (images[1], predicts(5))]
    expected = "label 5 is outside the model's 5 classes (0 to 4)"
    assert message_of(lambda: editor.edit(model, *requests[1])) == expected
    assert message_of(lambda: editor.edit_many(model, requests)) == expected


def test_nan_input_among_many_is_named_by_its_place_in_the_list(editor, model, images):
    images[4, 0, 0, 2, 2] = torch.nan
    other_shape = (images[:2].flatten(0, 1), predicts(1))
    requests = [other_shape, *((one, predicts(1)) for one in images[:3]), other_shape, (images[4], predicts(1))]
    assert "of request 5 is nan" in message_of(lambda: editor.edit_many(model, requests))
    assert "of request 1 is nan" in message_of(lambda: editor.edit_many(model, [requests[0], (images[4], impossible)]))


def test_constraint_that_returns_no_number_is_refused(editor, model, images):
    for constraint, found in (
        (lambda outputs: outputs, r"(1, 5)"),
        (lambda outputs: outputs[0], r"(5,)"),
        (lambda outputs: 1.0, "float"),
        (lambda outputs: None, "NoneType"),
    ):
        expected = f"a constraint must return one number as a tensor, not {found}"
        assert message_of(editor.edit, model, images[0], constraint) == expected
        assert message_of(editor.edit_many, model, [(one, constraint) for one in images[:3]]) == expected


def test_constraint_that_is_no_callable_is_named(editor, model, images):
    message = message_of(lambda: editor.edit(model, images[0], 3))
    assert message == "the constraint of the request must be a callable outputs -> l_e, not 3"
    requests = [(images[0], impossible), (images[1], 3)]
    assert "of request 1 must be" in message_of(lambda: editor.edit_many(model, requests))


def test_constraint_that_no_step_can_change_is_refused(editor, model, images):
    expected = "the constraint does not depend on the edited parameters, so no step can satisfy it"
    for constraint in (lambda outputs: outputs.detach().sum() ** 2, lambda outputs: torch.tensor(1.0)):
        requests = [(images[0], constraint), (images[1], impossible), (images[2], constraint)]
        assert message_of(editor.edit, model, *requests[0]) == expected
        assert message_of(editor.edit_many, model, requests) == expected


def test_layer_that_the_model_does_not_use_is_refused(editor, model, images):
    model.register_module("spare", nn.Linear(2, 2).double())
    for constraint in (impossible, predicts([0]), predicts([1])):
        requests = [(one, constraint) for one in images[:5]]
        if all(editor.edit(model, *request).steps == 0 for request in requests):
            continue
        message = message_of(editor.edit_many, model, requests, layers="spare")
        assert message == "the constraint does not depend on the edited parameters, so no step can satisfy it"


def test_inputs_on_another_device_are_named_with_both_devices(editor, model, images):
    for inputs in (images[0].to("meta"), (images[0].to("meta"),), {"images": images[0].to("meta")}):
        message = message_of(editor.edit, model, inputs, impossible)
        assert message == "the inputs are on meta, the model is on cpu"


def test_inputs_that_the_model_cannot_take_are_named_with_its_own_error(name, network):
    editor = editors.build(name)
    if editor.needs_statistics:
        editor = editor.informed(editor.statistics(network, torch.eye(3), torch.tensor([0, 1, 1]), None))
    for inputs, shape in ((torch.zeros(1, 4), "(1, 4)"), (torch.zeros(2, 1), "(2, 1)")):
        requests = [(inputs, predicts(1))] * 3
        for message in (
            message_of(editor.edit, network, *requests[0]),
            message_of(editor.edit_many, network, requests),
        ):
            assert message.startswith(f"the model fails on inputs of shape {shape}: ")
            assert "cannot be multiplied" in message


@pytest.mark.parametrize(
    ("inputs", "described"),
    [
        ([1, 2], "of type list: linear(): argument 'input'"),
        ((torch.eye(3), torch.eye(2)), "of shape ((3, 3), (2, 2)): "),
        ({"rows": torch.eye(3)}, "of shape {'rows': (3, 3)}: "),
        (torch.eye(3).long(), "of shape (3, 3): "),
    ],
    ids=["no tensor", "too many", "unknown name", "other dtype"],
)
def test_inputs_of_another_kind_are_described(inputs, described):
    editor, model = editors.build("gd"), nn.Linear(3, 2)
    edit = editor.edit(model, torch.eye(3), impossible)
    for message in (message_of(editor.edit, model, inputs, impossible), message_of(edit.predict, inputs)):
        assert message.startswith(f"the model fails on inputs {described}")


def test_errors_that_are_not_of_the_inputs_are_not_hidden(editor):
    class Broken(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return self.no_such_part(inputs)

    for count in (1, 3):
        with pytest.raises(AttributeError, match="no_such_part"):
            editor.edit_many(Broken(3, 2), [(torch.eye(3), impossible)] * count)


SCRIPTED = "a scripted or traced model cannot be edited: edit the module that it was made from"


class Renorming(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(4, 3, max_norm=1.0)


UNFIT = {
    "scripted": (lambda: torch.jit.script(nn.Linear(3, 2)), SCRIPTED),
    "traced": (lambda: torch.jit.trace(nn.Linear(3, 2), torch.eye(3)), SCRIPTED),
    "parallel": (
        lambda: nn.DataParallel(nn.Linear(3, 2)),
        "a model in DataParallel cannot be edited: edit its .module",
    ),
    "lazy": (lambda: nn.LazyLinear(2), "parameter 'weight' has no shape yet: run the model once before it is edited"),
    "meta": (lambda: nn.Linear(3, 2, device="meta"), "parameter 'weight' is on the meta device, without numbers: load"),
    "parameterless": (nn.ReLU, "the model holds no parameters that could be edited"),
    "max_norm": (Renorming, "embedding 'words' has a max_norm and so changes its weights: set that to None"),
    "function": (lambda: torch.relu, "the model must be a torch.nn.Module, not builtin_function_or_method"),
    "weights": (lambda: nn.Linear(3, 2).state_dict(), "the model must be a torch.nn.Module, not OrderedDict"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_models_that_cannot_be_edited_are_refused_with_what_to_do(name):
    editor = editors.build(name)
    for make, expected in UNFIT.values():
        model = make()
        assert message_of(editor.edit, model, torch.eye(3), predicts(1)).startswith(expected)
        assert message_of(editor.edit_many, model, [(torch.eye(3), predicts(1))] * 2).startswith(expected)


KNOWING = [name for name in editors.available() if editors.build(name).needs_statistics]


@pytest.mark.parametrize("name", [name for name in KNOWING if name != "retrain"])  # which keeps them as they are
def test_statistics_of_inputs_that_the_model_cannot_take_are_refused(name):
    editor, model = editors.build(name), nn.Linear(3, 2)
    message = message_of(editor.statistics, model, torch.zeros(2, 4), torch.tensor([0, 1]), None)
    assert message.startswith("the model fails on inputs of shape (")
    message = message_of(editor.statistics, model, torch.zeros(2, 3, device="meta"), torch.tensor([0, 1]), None)
    assert message == "the inputs are on meta, the model is on cpu"


@pytest.mark.parametrize("name", KNOWING)
def test_without_its_statistics_an_editor_says_what_it_needs(name):
    editor = editors.build(name)
    for one in (editor, editor.informed(None)):
        for action in (one.edit, lambda *given, many=one.edit_many: many(given[0], [given[1:]])):
            message = message_of(action, nn.Linear(3, 2), torch.eye(3), predicts(1))
            assert re.match(r"[\w ]+ needs .*the training data: use editor\.informed\(", message)


def test_statistics_of_another_editor_are_refused(name):
    editor, other = editors.build(name), editors.build("gd")
    if editor.needs_statistics:
        message = message_of(editor.informed, other)
        assert "takes statistics of the kind" in message
        assert "not GradientDescent: use what its own statistics(" in message
        assert editor.informed(None) == editor
    else:
        assert editor.informed(other) is editor


def test_a_request_that_is_no_pair_is_named(name):
    for wrong in (torch.zeros(2, 3), (torch.eye(3),), (torch.eye(3), predicts(1), "head"), None):
        message = message_of(editors.build(name).edit_many, nn.Linear(3, 2), [(torch.eye(3), predicts(1)), wrong])
        assert message == f"request 1 must be a pair (inputs, constraint), not {type(wrong).__name__}"


def test_a_constraint_that_is_not_finite_is_refused_or_fails_but_never_succeeds(build, model, images, graphs):
    editor = build(max_steps=3)
    for value in (torch.inf, -torch.inf, torch.nan):
        wild = partial(wild_from, 1, value)
        expected = f"is {value} before the first step; check its inputs and the model"
        assert message_of(editor.edit, model, images[0], wild()).endswith(expected)
        assert message_of(editor.edit_many, model, [(one, wild()) for one in images]).endswith(expected)
        later = partial(wild_from, 2, value)
        edits = [editor.edit(model, images[0], later())]
        edits += editor.edit_many(model, [(one, later()) for one in images[:3]])
        if graphs:
            edits.append(editor.edit(model, images[0], later(), differentiable=True))
        assert [(edit.succeeded, edit.steps) for edit in edits] == [(False, 3)] * len(edits)


def wild_from(call: int, value: float) -> Callable[[Tensor], Tensor]:
    """A constraint that is usual until it is called so many times, and then ``value``."""
    calls = itertools.count(1)
    return lambda outputs: outputs.sum() * 0 + value if next(calls) >= call else impossible(outputs)


class Overflowing(ConvNet):
    """Images to logits, of which that of class 1 is infinite where it is the largest."""

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        overflowed = (torch.arange(5) == 1) & (logits >= logits.amax(dim=-1, keepdim=True))
        return logits.masked_fill(overflowed, torch.inf)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_label_that_wins_by_an_overflow_is_never_a_success(build, model, images, graphs, dtype):
    overflowing = Overflowing().to(dtype).eval()
    overflowing.load_state_dict(model.state_dict())
    images = [one.to(dtype) for one in images if answer(overflowing, one.to(dtype)) != 1]
    editor, request = build(max_steps=20), predicts(1)
    edits = [editor.edit(overflowing, images[0], request)]
    edits += editor.edit_many(overflowing, [(one, request) for one in images])
    if graphs:
        edits.append(editor.edit(overflowing, images[0], request, differentiable=True))
    assert len(edits) > 3
    assert not any(edit.succeeded for edit in edits)
    assert edits[0].loss.isnan()


def test_bisection_ends_at_no_loss_that_is_not_finite(model, images):
    edit = editors.build("rmsprop", lr=0.02, max_steps=20).edit(
        model, images[0], predicts(wrong_answer(model, images[0]))
    )
    assert edit.steps > 0
    start = dict(model.named_parameters())
    for value in (-torch.inf, torch.nan):
        request = editors.Request(images[0], lambda outputs, value=value: outputs.sum() * 0 + value)
        assert mixed_back(edit, start, request) is edit


def test_edit_of_another_model_cannot_be_applied(editor, model, images):
    edit = editor.edit(model, images[0], impossible, layers="head")
    assert "no parameter 'head.weight'" in message_of(lambda: edit.apply(nn.Linear(2, 2)))
    model.head = nn.Linear(36, 7)
    message = message_of(lambda: edit.apply(model))
    assert "'head.weight'" in message
    assert "(7, 36)" in message
    assert "(5, 36)" in message
