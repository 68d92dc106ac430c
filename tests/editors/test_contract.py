"""What every registered editor promises; a new editor is tested by being registered."""

import copy
import pickle
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import editors
from editors.constraints import predicts

Build = Callable[..., editors.Editor]


@pytest.fixture
def name(changing: str) -> str:
    """Only editors that change weights are asked about them here."""
    return changing


def impossible(outputs: Tensor) -> Tensor:
    """Depends smoothly on the outputs and is never satisfied."""
    return torch.tanh(outputs).square().sum() + 1


def calls_of(model: nn.Module) -> list[None]:
    """A list that grows by one entry with every forward pass of ``model``, vectorised or not."""
    calls: list[None] = []
    model.register_forward_pre_hook(lambda *_: calls.append(None))
    return calls


def assert_same(found: Sequence[editors.EditResult], expected: Sequence[editors.EditResult], atol: float) -> None:
    assert [(edit.succeeded, edit.steps) for edit in found] == [(edit.succeeded, edit.steps) for edit in expected]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.loss, other.loss, rtol=0, atol=atol)
        torch.testing.assert_close(dict(one.parameters), dict(other.parameters), rtol=0, atol=atol)


def one_by_one(editor: editors.Editor, model: nn.Module, requests: Sequence[Any], **options: Any) -> list[Any]:
    return [editor.edit(model, inputs, constraint, **options) for inputs, constraint in requests]


def answer(model: nn.Module, inputs: Tensor) -> int:
    """The label that ``model`` in evaluation mode assigns to one input."""
    return int(copy.deepcopy(model).eval()(inputs).argmax())


def wrong_answer(model: nn.Module, inputs: Tensor) -> int:
    return int(copy.deepcopy(model).eval()(inputs).argmin())


# The model


def test_edits_leave_the_model_bit_identical_with_its_modes_and_flags(
    editor: editors.Editor, model: nn.Module, images: Tensor, graphs: bool
) -> None:
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


def test_model_keeps_its_modes_when_the_constraint_raises(
    editor: editors.Editor, model: nn.Module, images: Tensor
) -> None:
    modes = [module.training for module in model.modules()]
    with pytest.raises(KeyError, match="mine"):
        editor.edit(model, images[0], lambda outputs: {}["mine"])
    assert [module.training for module in model.modules()] == modes


def test_statistics_of_batch_norm_are_those_of_the_model_in_every_result(
    editor: editors.Editor, model: nn.Module, images: Tensor
) -> None:
    patched = editor.edit(model, images[0], predicts(wrong_answer(model, images[0]))).apply(model)
    for name, value in model.named_buffers():
        assert torch.equal(dict(patched.named_buffers())[name], value)


def test_a_model_that_counts_in_its_forward_pass_is_left_as_it_was(build: Build, graphs: bool) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("passes", torch.zeros(()))
            self.layer = nn.Linear(3, 2)

        def forward(self, inputs: Tensor) -> Tensor:
            self.passes += 1
            return self.layer(inputs)

    model, inputs = Counting(), torch.eye(3)
    build(max_steps=2).edit_many(model, [(inputs, impossible)] * 3)
    build(max_steps=2).edit(model, inputs, impossible, differentiable=graphs)
    assert model.passes == 0


def test_edit_is_made_in_evaluation_mode(editor: editors.Editor, model: nn.Module, images: Tensor) -> None:
    label = wrong_answer(model, images[0])
    in_training = editor.edit(model, images[0], predicts(label))
    in_evaluation = editor.edit(copy.deepcopy(model).eval(), images[0], predicts(label))
    assert_same([in_training], [in_evaluation], atol=0)


# Steps, success and loss


def test_edit_takes_no_step_when_the_model_already_answers_so(
    editor: editors.Editor, model: nn.Module, images: Tensor
) -> None:
    edit = editor.edit(model, images[0], predicts(answer(model, images[0])))
    assert edit.succeeded is True
    assert edit.steps == 0
    assert edit.unchanged
    assert edit.loss.item() == 0
    assert all(torch.equal(edit.parameters[name], value) for name, value in model.named_parameters())


def test_a_tie_satisfies_the_constraint(editor: editors.Editor) -> None:
    model = nn.Linear(3, 4)
    with torch.no_grad():
        model.weight.fill_(0.5)
        model.bias.fill_(1.0)
    edits = [editor.edit(model, torch.ones(1, 3), predicts(label)) for label in range(4)]
    assert [(edit.succeeded, edit.steps) for edit in edits] == [(True, 0)] * 4


def test_steps_are_the_fewest_that_satisfy_the_constraint(build: Build, model: nn.Module, images: Tensor) -> None:
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
def test_failed_edit_counts_k_steps_and_evaluates_the_constraint_once_more(
    build: Build, model: nn.Module, images: Tensor, counting: type, most: int
) -> None:
    constraint = counting(0, limit=-1.0)
    edit = build(max_steps=most).edit(model, images[0], constraint)
    assert edit.succeeded is False
    assert edit.steps == most
    assert constraint.calls == most + 1


def test_successful_edit_evaluates_the_constraint_once_more_than_it_steps(
    build: Build, model: nn.Module, images: Tensor, counting: type, passes: int
) -> None:
    constraint = counting(wrong_answer(model, images[0]), limit=0.8)
    edit = build(max_steps=100).edit(model, images[0], constraint)
    assert edit.succeeded is True
    assert edit.steps > 1
    assert constraint.calls == edit.steps + 1


def test_loss_is_the_constraint_of_the_edited_model(editor: editors.Editor, model: nn.Module, images: Tensor) -> None:
    edit = editor.edit(model, images[0], impossible)
    patched = edit.apply(model).eval()
    assert edit.loss.shape == ()
    torch.testing.assert_close(edit.loss, impossible(patched(images[0])), rtol=0, atol=1e-12)
    assert edit.loss != impossible(copy.deepcopy(model).eval()(images[0]))


def test_the_edited_model_gives_the_wanted_answer(build: Build, model: nn.Module, images: Tensor) -> None:
    label = wrong_answer(model, images[0])
    edit = build(max_steps=50).edit(model, images[0], predicts(label))
    assert answer(edit.apply(model), images[0]) == label
    assert edit.predict(images[0]).argmax() == label


# What may change


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("head", {"head.weight", "head.bias"}),
        (
            ["stem", "head"],
            {"stem.0.weight", "stem.0.bias", "stem.1.weight", "stem.1.bias", "head.weight", "head.bias"},
        ),
        (("head", "chain1.0"), {"head.weight", "head.bias", "chain1.0.weight", "chain1.0.bias"}),
        ("chain1.0", {"chain1.0.weight", "chain1.0.bias"}),
        ("chain1", {"chain1.0.weight", "chain1.0.bias", "chain1.1.weight", "chain1.1.bias"}),
        ("*.1", {"stem.1.weight", "stem.1.bias", "chain1.1.weight", "chain1.1.bias"}),
        ("chain[12]", {"chain1.0.weight", "chain1.0.bias", "chain1.1.weight", "chain1.1.bias"}),
        ("head.weight", {"head.weight"}),
        ("*.bias", {"stem.0.bias", "stem.1.bias", "chain1.0.bias", "chain1.1.bias", "head.bias"}),
    ],
    ids=lambda value: "" if isinstance(value, set) else str(value),  # a set has another order in every process
)
def test_only_what_was_selected_changes(
    editor: editors.Editor, model: nn.Module, images: Tensor, layers: Any, expected: set[str]
) -> None:
    edit = editor.edit(model, images[0], impossible, layers=layers)
    assert set(edit.parameters) == expected
    patched = edit.apply(model)
    for name, value in model.named_parameters():
        assert torch.equal(dict(patched.named_parameters())[name], value) == (name not in expected), name
        if name in expected:
            assert torch.equal(dict(patched.named_parameters())[name], edit.parameters[name])


def test_no_layers_means_the_whole_model(editor: editors.Editor, model: nn.Module, images: Tensor) -> None:
    edit = editor.edit(model, images[0], impossible, layers=None)
    assert list(edit.parameters) == [name for name, _ in model.named_parameters()]
    assert editor.edit(model, images[0], impossible).parameters.keys() == edit.parameters.keys()


def test_apply_gives_a_new_module_that_answers_like_predict(
    editor: editors.Editor, model: nn.Module, images: Tensor
) -> None:
    edit = editor.edit(model, images[0], impossible)
    patched = edit.apply(model)
    assert patched is not model
    assert type(patched) is type(model)
    assert {value.data_ptr() for value in patched.parameters()}.isdisjoint(
        value.data_ptr() for value in (*model.parameters(), *edit.parameters.values())
    )
    assert [module.training for module in patched.modules()] == [module.training for module in model.modules()]
    batch = images.flatten(0, 1)
    torch.testing.assert_close(patched.eval()(batch), edit.predict(batch), rtol=0, atol=1e-12)


def test_results_can_be_pickled_and_compared(editor: editors.Editor, model: nn.Module, images: Tensor) -> None:
    edit = editor.edit(copy.deepcopy(model).eval(), images[0], predicts(1))
    read = pickle.loads(pickle.dumps(edit))
    assert (read.succeeded, read.steps, read.loss) == (edit.succeeded, edit.steps, edit.loss)
    assert torch.equal(read.predict(images[1]), edit.predict(images[1]))
    assert edit in [read, edit]
    assert edit not in [read]


def test_result_holds_no_memory_but_its_own_parameters(
    editor: editors.Editor, model: nn.Module, images: Tensor
) -> None:
    edits = editor.edit_many(model, [(one, impossible) for one in images], layers="head")
    for edit in edits:
        wanted = sum(value.numel() * value.element_size() for value in edit.parameters.values())
        held = {
            value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in edit.parameters.values()
        }
        assert sum(held.values()) == wanted


# Many edits


def varied_requests(model: nn.Module, images: Tensor, counting: type) -> list[tuple[Any, Any]]:
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
            requests.append((one, counting(row % 5, limit=1.0)))
    return requests


@pytest.mark.parametrize("layers", [None, "chain1"])
def test_many_edits_equal_single_ones_in_order(
    editor: editors.Editor, model: nn.Module, images: Tensor, counting: type, layers: Any
) -> None:
    requests = varied_requests(model, images, counting)
    many = editor.edit_many(model, requests, layers=layers)
    assert {0, 6} < {edit.steps for edit in many}
    assert {edit.succeeded for edit in many} == {True, False}
    assert_same(many, one_by_one(editor, model, requests, layers=layers), atol=1e-12)


def test_alike_requests_share_their_forward_passes(build: Build, model: nn.Module, images: Tensor, passes: int) -> None:
    calls = calls_of(model)
    build(max_steps=3).edit_many(model, [(one, impossible) for one in images])
    assert len(calls) == 3 * passes + 1


def test_finished_edits_are_dropped_from_their_batch(
    build: Build, model: nn.Module, images: Tensor, counting: type, passes: int
) -> None:
    # Several must go on after the first have finished: then the rule's state has lost rows as well.
    limits = [10.0, 0.3, -1.0, 10.0, -1.0, 1.5, 0.9, -1.0]
    constraints = [counting(wrong_answer(model, one), limit) for one, limit in zip(images, limits, strict=False)]
    calls = calls_of(model)
    edits = build(max_steps=20).edit_many(model, list(zip(images, constraints, strict=False)))
    assert [edit.steps for edit in edits].count(0) == 2
    assert [edit.steps for edit in edits].count(20) >= 3
    assert len({edit.steps for edit in edits} - {0, 20}) > 1
    assert [constraint.calls for constraint in constraints] == [edit.steps + 1 for edit in edits]
    assert len(calls) == 20 * passes + 1


def test_more_requests_than_a_batch_holds_are_edited_in_several(
    build: Build, model: nn.Module, images: Tensor, generator: torch.Generator, passes: int
) -> None:
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
        self.patience = patience

    def forward(self, inputs: Tensor) -> Tensor:
        self.patience -= 1
        outputs = self.layer(inputs)
        return outputs * (2 if self.patience >= 0 or outputs.sum().item() > 0 else 2.0)


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
def test_models_that_cannot_be_vectorised_are_edited_just_as_well(
    editor: editors.Editor, unruly: Callable[[], nn.Module], generator: torch.Generator
) -> None:
    torch.manual_seed(0)
    model = unruly()
    inputs = torch.randn(6, 1, 4, generator=generator, dtype=torch.float64)
    requests = [(one, predicts(row % 3)) for row, one in enumerate(inputs)] + [(inputs[0], impossible)] * 2
    calls = calls_of(model)
    many = editor.edit_many(model, requests)
    assert max(edit.steps for edit in many) > 2
    assert len(calls) > sum(edit.steps + 1 for edit in many)
    model.patience = 10**6
    assert_same(many, one_by_one(editor, model, requests), atol=1e-12)


def test_a_constraint_that_raises_in_a_batch_raises_its_own_error(
    editor: editors.Editor, model: nn.Module, images: Tensor
) -> None:
    def broken(outputs: Tensor) -> Tensor:
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        editor.edit_many(model, [(images[0], impossible), (images[1], broken)])


def test_no_requests_give_no_edits(editor: editors.Editor, model: nn.Module) -> None:
    assert editor.edit_many(model, []) == []


# Models, inputs and surroundings of all kinds


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_results_have_the_dtype_of_the_model(
    editor: editors.Editor, model: nn.Module, images: Tensor, dtype: torch.dtype
) -> None:
    model, images = model.to(dtype), images.to(dtype)
    requests = [(one, predicts(wrong_answer(model, one))) for one in images]
    many = editor.edit_many(model, requests)
    assert {value.dtype for edit in many for value in (*edit.parameters.values(), edit.loss)} == {dtype}
    assert_same(many, one_by_one(editor, model, requests), atol=1e-3 if dtype == torch.float32 else 1e-12)


def test_a_model_of_several_dtypes_keeps_each(editor: editors.Editor) -> None:
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
def test_tied_parameters_are_edited_once_and_stay_tied(
    editor: editors.Editor, generator: torch.Generator, layers: Any, expected: list[str]
) -> None:
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


def test_recurrent_and_reparametrised_layers_are_edited(editor: editors.Editor, generator: torch.Generator) -> None:
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
def test_inputs_may_be_tuples_and_mappings(
    editor: editors.Editor, generator: torch.Generator, arrange: Callable[[Tensor, Tensor], Any]
) -> None:
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
def test_predicts_holds_for_a_batch_as_for_one_whatever_its_labels_shape(
    editor: editors.Editor, generator: torch.Generator, shape: tuple[int, ...]
) -> None:
    model = nn.Linear(3, 4).double()
    inputs = torch.randn(8, *shape, generator=generator, dtype=torch.float64)
    requests = [(one, predicts(row % 4 if row % 2 else [row % 4])) for row, one in enumerate(inputs)]
    many = editor.edit_many(model, requests)
    assert_same(many, one_by_one(editor, model, requests), atol=1e-12)


@pytest.mark.parametrize("surroundings", [torch.no_grad, torch.inference_mode])
def test_edits_work_where_gradients_are_switched_off(
    editor: editors.Editor, model: nn.Module, images: Tensor, surroundings: Callable[[], Any]
) -> None:
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


def test_a_model_made_in_inference_mode_is_edited(editor: editors.Editor, model: nn.Module, images: Tensor) -> None:
    with torch.inference_mode():
        inference = copy.deepcopy(model)
    assert inference.head.weight.is_inference()
    for layers in (None, "stem", "head"):
        expected = editor.edit(model, images[0], impossible, layers=layers)
        assert_same([editor.edit(inference, images[0], impossible, layers=layers)], [expected], atol=0)


def test_integer_parameters_are_left_alone(editor: editors.Editor) -> None:
    model = nn.Linear(3, 2)
    model.register_parameter("code", nn.Parameter(torch.tensor([1, 2]), requires_grad=False))
    edit = editor.edit(model, torch.eye(3), impossible)
    assert edit.steps == 6
    assert set(edit.parameters) == {"weight", "bias"}
    assert torch.equal(edit.apply(model).code, model.code)


def test_hyperparameters_may_be_tensors_in_plain_edits(
    name: str, build: Build, model: nn.Module, images: Tensor
) -> None:
    requests = [(one, impossible) for one in images[:4]]
    plain = build(max_steps=3)
    values = {one.name: getattr(plain, one.name) for one in editors.describe(name).hyperparameters}
    tensors = {key: torch.tensor([value], dtype=torch.float64, requires_grad=True) for key, value in values.items()}
    edits = build(max_steps=3, **tensors).edit_many(model, requests)
    assert_same(edits, plain.edit_many(model, requests), atol=1e-12)
    assert not any(value.requires_grad for edit in edits for value in edit.parameters.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_edits_on_cuda_equal_those_on_cpu(editor: editors.Editor, model: nn.Module, images: Tensor) -> None:
    requests = [(one, predicts(wrong_answer(model, one))) for one in images]
    expected = editor.edit_many(model, requests)
    on_device = copy.deepcopy(model).cuda()
    found = editor.edit_many(on_device, [(one.cuda(), constraint) for one, constraint in requests])
    assert {value.device.type for edit in found for value in edit.parameters.values()} == {"cuda"}
    assert [(edit.succeeded, edit.steps) for edit in found] == [(edit.succeeded, edit.steps) for edit in expected]
    for one, other in zip(found, expected, strict=True):
        for key, value in other.parameters.items():
            torch.testing.assert_close(one.parameters[key].cpu(), value, rtol=0, atol=1e-9)
