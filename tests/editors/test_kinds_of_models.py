"""What every registered editor promises of models, inputs and surroundings of all kinds."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

import editors
from editors.constraints import predicts
from tests.editors.conftest import assert_same, impossible, one_by_one, wrong_answer


def test_results_have_the_dtype_of_the_model(editor, model, images):
    """Those of all other tests have float64."""
    model, images = model.float(), images.float()
    requests = [(one, predicts(wrong_answer(model, one))) for one in images]
    many = editor.edit_many(model, requests)
    assert {value.dtype for edit in many for value in (*edit.parameters.values(), edit.loss)} == {torch.float32}
    assert_same(many, one_by_one(editor, model, requests), atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_is_edited_by_rules_that_count_in_float32(build, model, images, dtype):
    """Adam's 0.999 is 1 in bfloat16, so that its first steps would be none, and the later ones 0 / 0."""
    model, images = model.to(dtype), images.to(dtype)
    edit = build(max_steps=30).edit(model, images[0], predicts(wrong_answer(model, images[0])))
    assert edit.succeeded
    assert edit.steps <= 20
    assert {value.dtype for value in edit.parameters.values()} <= {dtype}


def test_a_model_of_several_dtypes_keeps_each(editor):
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.single, self.precise = nn.Linear(3, 4), nn.Linear(4, 2).double()

        def forward(self, inputs: Tensor) -> Tensor:
            return self.precise(torch.tanh(self.single(inputs)).double())

    edit = editor.edit(Mixed(), torch.eye(3), impossible)
    assert edit.steps == 6
    assert edit.parameters["single.weight"].dtype == torch.float32
    assert edit.parameters["precise.weight"].dtype == torch.float64


class TiedNet(nn.Module):
    """The output layer shares the embedding's weight."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.middle = nn.Linear(4, 4)
        self.output = nn.Linear(4, 6, bias=False)
        self.output.weight = self.embedding.weight
        self.double()
        with torch.no_grad():
            for value in self.parameters():
                value.copy_(torch.randn(value.shape, generator=generator, dtype=torch.float64))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.output(torch.tanh(self.middle(self.embedding(tokens))))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (None, ["embedding.weight", "middle.weight", "middle.bias"]),
        ("embedding", ["embedding.weight"]),
        ("output", ["output.weight"]),
        (["embedding", "output"], ["embedding.weight"]),
        ("middle", ["middle.weight", "middle.bias"]),
    ],
    ids=str,
)
def test_tied_parameters_are_edited_once_and_stay_tied(editor, generator, layers, expected):
    model = TiedNet(generator)
    requests = [(torch.tensor([token]), predicts((token + 3) % 6)) for token in range(6)]
    many = editor.edit_many(model, requests, layers=layers)
    assert max(edit.steps for edit in many) > 0
    assert_same(many, one_by_one(editor, model, requests, layers=layers), atol=1e-12)
    for edit, (tokens, _) in zip(many, requests, strict=True):
        assert list(edit.parameters) == expected
        patched = edit.apply(model)
        assert patched.output.weight is patched.embedding.weight
        torch.testing.assert_close(patched(tokens), edit.predict(tokens), rtol=0, atol=1e-12)


def test_recurrent_and_reparametrised_layers_are_edited(editor, generator):
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent = nn.LSTM(3, 4, batch_first=True)
            self.head = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
            self.double()

        def forward(self, inputs: Tensor) -> Tensor:
            return self.head(self.recurrent(inputs)[0][:, -1])

    model = Reader()
    inputs = torch.randn(4, 1, 5, 3, generator=generator, dtype=torch.float64)
    requests = [(one, impossible) for one in inputs]
    for layers in ("recurrent", "head"):
        many = editor.edit_many(model, requests, layers=layers)
        assert_same(many, one_by_one(editor, model, requests, layers=layers), atol=1e-12)
        patched = many[0].apply(model)
        torch.testing.assert_close(patched(inputs[0]), many[0].predict(inputs[0]), rtol=0, atol=1e-12)
        assert not torch.equal(patched(inputs[0]), model(inputs[0]))


class Pair(NamedTuple):
    left: Tensor
    right: Tensor


class TwoInputs(nn.Module):
    """Takes two tensors and an option, and answers with a named tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4).double()

    def forward(self, left: Tensor, right: Tensor, scale: float = 1.0) -> Pair:
        return Pair(scale * self.layer(left), self.layer(right).tanh())


def left_is_small(outputs: Pair) -> Tensor:
    return outputs.left.square().sum() * outputs.right.square().sum() + 0.01


@pytest.mark.parametrize(
    "arrange",
    [
        lambda left, right: (left, right),
        lambda left, right: {"right": right, "left": left},
        lambda left, right: (left, right, 2.0),
        lambda left, right: {"left": left, "right": right, "scale": 2.0},
    ],
    ids=["tuple", "dict", "tuple with a number", "dict with a number"],
)
def test_inputs_may_be_tuples_and_mappings(editor, generator, arrange):
    torch.manual_seed(0)
    model = TwoInputs()
    left, right = torch.randn(2, 4, 2, 3, generator=generator, dtype=torch.float64)
    requests = [(arrange(one, other), left_is_small) for one, other in zip(left, right, strict=True)]
    many = editor.edit_many(model, requests)
    assert_same(many, one_by_one(editor, model, requests), atol=1e-12)
    scale = 2.0 if len(arrange(left, right)) == 3 else 1.0
    patched = many[2].apply(model)
    torch.testing.assert_close(many[2].loss, left_is_small(patched(left[2], right[2], scale)), rtol=0, atol=1e-12)
    assert many[2].loss != left_is_small(model(left[2], right[2], scale))


@pytest.mark.parametrize("shape", [(1, 3), (3,)], ids=["one row", "no batch dimension"])
def test_predicts_holds_for_a_batch_as_for_one_whatever_its_labels_shape(editor, generator, shape):
    model = nn.Linear(3, 4).double()
    inputs = torch.randn(8, *shape, generator=generator, dtype=torch.float64)
    requests = [(one, predicts(row % 4 if row % 2 else [row % 4])) for row, one in enumerate(inputs)]
    many = editor.edit_many(model, requests)
    assert_same(many, one_by_one(editor, model, requests), atol=1e-12)


@pytest.mark.parametrize("surroundings", [torch.no_grad, torch.inference_mode])
def test_edits_work_where_gradients_are_switched_off(editor, model, images, surroundings):
    images = images[:4]
    labels = [wrong_answer(model, one) for one in images]
    expected = editor.edit_many(model, [(one, predicts(label)) for one, label in zip(images, labels, strict=True)])
    with surroundings():
        requests = [(one.clone(), predicts(label)) for one, label in zip(images, labels, strict=True)]
        within = editor.edit_many(model, requests)
        patched = within[0].apply(model)
    assert_same(within, expected, atol=0)
    assert_same(editor.edit_many(model, requests), expected, atol=0)
    assert_same(one_by_one(editor, model, requests), expected, atol=1e-12)
    assert not any(value.is_inference() for value in (*patched.parameters(), *within[0].parameters.values()))


def test_integer_parameters_are_left_alone(editor):
    model = nn.Linear(3, 2)
    model.register_parameter("code", nn.Parameter(torch.tensor([1, 2]), requires_grad=False))
    edit = editor.edit(model, torch.eye(3), impossible)
    assert edit.steps == 6
    assert set(edit.parameters) == {"weight", "bias"}
    assert torch.equal(edit.apply(model).code, model.code)


def test_hyperparameters_may_be_tensors_in_plain_edits(changing, build, model, images):
    requests = [(one, impossible) for one in images[:4]]
    plain = build(max_steps=3)
    values = {one.name: getattr(plain, one.name) for one in editors.describe(changing).hyperparameters}
    tensors = {key: torch.tensor([value], dtype=torch.float64, requires_grad=True) for key, value in values.items()}
    edits = build(max_steps=3, **tensors).edit_many(model, requests)
    assert_same(edits, plain.edit_many(model, requests), atol=1e-12)
    assert not any(value.requires_grad for edit in edits for value in edit.parameters.values())
