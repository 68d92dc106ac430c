"""The covariance-preconditioned edit: against the least-squares problem that it should solve, and what it refuses."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import editors
from editors import EditError
from editors.constraints import predicts
from editors.covariance import Covariances, covariances, multiplied
from tests.editors.conftest import wrong_answer

DAMPING = 0.3
LABELS = torch.zeros(40, dtype=torch.int64)


def smooth(outputs: Tensor) -> Tensor:
    return outputs.flatten(1).logsumexp(dim=1).sum() + 2


def one_step(model: nn.Module, data: Tensor, inputs: Tensor, layers: str | None = None) -> editors.EditResult:
    editor = editors.build("covariance", damping=DAMPING, overshoot=1.0, longest=1e9, max_steps=1)
    return editor.informed(editor.statistics(model, data, LABELS, layers)).edit(model, inputs, smooth, layers)


def smallest_change(model: nn.Module, data: Tensor, inputs: Tensor, width: int) -> np.ndarray:
    """The minimiser x of mean ‖ΔW h‖² + λ · tr(A)/d ‖x‖² subject to l_e + ⟨g, x⟩ = 0, all entries of ΔW in one vector.

    The outputs' derivative with respect to the parameters says what ΔW h is: nothing here knows of h, unfold or A.
    """
    parameters = dict(model.named_parameters())

    def outputs(*values: Tensor) -> Tensor:
        return torch.func.functional_call(model, dict(zip(parameters, values, strict=True)), (data,))

    parts = torch.autograd.functional.jacobian(outputs, tuple(value.detach() for value in parameters.values()))
    moves = torch.cat([part.reshape(outputs(*parameters.values()).numel(), -1) for part in parts], dim=1)
    metric = (moves.T @ moves / len(data)).detach().numpy()
    outs = len(metric) // width  # A is repeated for every output, so that its trace is the metric's over the outputs
    metric += DAMPING * np.trace(metric) / outs / width * np.eye(len(metric))
    loss = smooth(model(inputs))
    gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(parameters.values()))]).numpy()
    system = np.block([[2 * metric, gradient[:, None]], [gradient[None, :], np.zeros((1, 1))]])
    return np.linalg.solve(system, np.append(np.zeros(len(metric)), -loss.item()))[:-1]


def change(edit: editors.EditResult, model: nn.Module) -> np.ndarray:
    return np.concatenate(
        [(edit.parameters[name] - value).detach().flatten() for name, value in model.named_parameters()]
    )


@pytest.mark.parametrize("bias", [True, False])
def test_a_step_on_a_linear_layer_solves_the_constrained_least_squares_problem(generator, bias):
    torch.manual_seed(1)
    model = nn.Linear(4, 3, bias=bias).double()
    data = (
        torch.randn(40, 4, generator=generator, dtype=torch.float64)
        @ torch.diag(torch.tensor([3.0, 1, 0.3, 0.1])).double()
    )
    inputs = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    expected = smallest_change(model, data, inputs, width=4 + bias)
    np.testing.assert_allclose(change(one_step(model, data, inputs), model), expected, rtol=0, atol=1e-10)
    plain = editors.build("polyak", overshoot=1.0, max_steps=1).edit(model, inputs, smooth)
    assert np.abs(change(plain, model) - expected).max() > 1e-2


@pytest.mark.parametrize(
    "shape",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0), "bias": False},
        {"kernel_size": 2, "dilation": 2},
        {"kernel_size": 1, "stride": 2, "bias": False},
    ],
    ids=str,
)
def test_a_step_on_a_convolution_is_that_of_the_dense_layer_with_shared_weights(generator, shape):
    torch.manual_seed(2)
    model = nn.Conv2d(2, 3, **shape).double()
    data = torch.randn(15, 2, 5, 5, generator=generator, dtype=torch.float64).cumsum(dim=3)
    inputs = torch.randn(1, 2, 5, 5, generator=generator, dtype=torch.float64)
    expected = smallest_change(model, data, inputs, model.weight[0].numel() + (model.bias is not None))
    np.testing.assert_allclose(change(one_step(model, data, inputs), model), expected, rtol=0, atol=1e-10)


def test_other_parameters_are_divided_by_the_mean_eigenvalue_of_the_layers(model, images):
    data = images.flatten(0, 1)
    editor = editors.build("covariance", damping=DAMPING, max_steps=1)
    known = editor.statistics(model, data, LABELS, "chain1")
    assert known.moments.keys() == {"chain1.0.weight"}
    eigenvalues = torch.linalg.eigvalsh(known.moments["chain1.0.weight"])
    edit = editor.informed(known).edit(model, images[0], smooth, layers="chain1")
    parameters = {name: value.detach().requires_grad_() for name, value in model.named_parameters()}
    loss = smooth(torch.func.functional_call(copy.deepcopy(model).eval(), parameters, (images[0],)))
    gradients = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
    moved = {name: value - model.get_parameter(name) for name, value in edit.parameters.items()}
    wide = eigenvalues.mean() * (1 + DAMPING)
    ratios = [moved[name] * wide / gradients[name] for name in ("chain1.1.weight", "chain1.1.bias")]
    length = ratios[0][0].item()
    assert length < 0
    for ratio in ratios:
        torch.testing.assert_close(ratio, torch.full_like(ratio, length))
    joined = torch.cat([gradients["chain1.0.weight"].flatten(1), gradients["chain1.0.bias"][:, None]], dim=1)
    damped = known.moments["chain1.0.weight"] + DAMPING * eigenvalues.mean() * torch.eye(37).double()
    expected = length * torch.linalg.solve(damped, joined.T).T
    torch.testing.assert_close(moved["chain1.0.weight"].flatten(1).detach(), expected[:, :-1], rtol=1e-9, atol=0)
    torch.testing.assert_close(moved["chain1.0.bias"].detach(), expected[:, -1], rtol=1e-9, atol=0)


def test_statistics_of_examples_one_by_one_are_those_of_all_together(model, images):
    inputs = images.flatten(0, 1)
    together = covariances(model, inputs).moments
    one_by_one = covariances(model, iter(inputs.split(1))).moments
    as_tuples = covariances(model, [(one,) for one in inputs.split(1)]).moments
    for name, expected in together.items():
        torch.testing.assert_close(one_by_one[name], expected)
        assert torch.equal(as_tuples[name], one_by_one[name])
    torch.testing.assert_close(
        covariances(model, (inputs[:1],)).moments[name], covariances(model, inputs[:1]).moments[name]
    )
    with pytest.raises(EditError, match="covariances need at least one input"):
        covariances(model, iter([]))


def test_statistics_look_at_inputs_spread_over_all_of_them():
    model = nn.Linear(1, 1, bias=False).double()
    inputs = torch.arange(100, dtype=torch.float64)[:, None]
    few = covariances(model, inputs, examples=4).moments["weight"]
    assert few.item() == pytest.approx(np.mean(np.square([0, 33, 66, 99])))
    every = covariances(model, inputs, examples=200).moments["weight"]
    assert every.item() == pytest.approx((inputs**2).mean().item())


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(EditError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_statistics_of_another_model_or_part_are_refused(model, images):
    editor, data = editors.build("covariance"), images.flatten(0, 1)
    elsewhere = editor.informed(editor.statistics(model, data, LABELS, "chain1"))
    message = refused(lambda: elsewhere.edit(model, images[0], smooth, layers="head"))
    assert message.startswith("the covariance was not computed for 'head.weight' with 37 inputs; compute the editor's")
    other = copy.deepcopy(model)
    other.head = nn.Linear(36, 5, bias=False).double()
    foreign = editor.informed(editor.statistics(other, data, LABELS, "head"))
    assert "not computed for 'head.weight'" in refused(lambda: foreign.edit(model, images[0], smooth, layers="head"))


def test_layers_without_a_weight_of_a_linear_or_convolution_layer_are_refused(model, images):
    message = refused(lambda: editors.build("covariance").statistics(model, images.flatten(0, 1), LABELS, "chain1.1"))
    assert message == ("layers 'chain1.1' hold no weight of a linear or convolution layer, so there is no covariance")


class WithAuxiliary(nn.Module):
    """Has a head that only training uses, as GoogLeNet has."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.auxiliary = nn.Linear(6, 8), nn.Linear(8, 5), nn.Linear(8, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.tanh(self.body(inputs.flatten(1)[:, :6]))
        return self.head(hidden) + self.auxiliary(hidden) if self.training else self.head(hidden)


def test_layers_that_no_input_reaches_are_left_as_they_are(images):
    torch.manual_seed(0)
    model, data = WithAuxiliary().double(), images.flatten(0, 1)
    built = editors.build("covariance", max_steps=50)
    edits = []
    for layers in (None, ["body", "head"]):
        editor = built.informed(built.statistics(model, data, LABELS, layers))
        edits.append(editor.edit(model, images[0], predicts(wrong_answer(model, images[0])), layers=layers))
    whole, reached = edits
    assert whole.succeeded
    assert whole.steps == reached.steps > 0
    for name, value in whole.parameters.items():
        expected = reached.parameters.get(name, model.get_parameter(name))
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)
    message = refused(lambda: built.statistics(model, data, LABELS, "auxiliary"))
    assert message == "no input reaches auxiliary.weight: name layers that the model uses to answer"


def test_a_singular_covariance_is_refused_with_the_layer_and_the_damping():
    nothing = Covariances({"head.weight": torch.zeros(3, 3)})
    message = refused(lambda: editors.build("covariance", damping=0.5).informed(nothing))
    assert message.startswith(
        "the covariance of what reaches 'head.weight' is singular at damping 0.5: use a larger one"
    )


@pytest.mark.parametrize("rank", [1, 40, 200])
def test_gradients_of_low_rank_take_less_work_and_are_multiplied_as_exactly(generator, rank):
    left, right = (torch.randn(3, size, rank, generator=generator, dtype=torch.float64) for size in (256, 700))
    rows, root = left @ right.mT, torch.randn(700, 700, generator=generator, dtype=torch.float64)
    matrix = root @ root.T + 0.1 * torch.eye(700)
    with FlopCounterMode(display=False) as counter:
        found = multiplied(rows, matrix, exact=False)
    expected = rows @ matrix
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9 * float(expected.abs().max()))
    whole = 2 * 3 * 256 * 700 * 700
    assert (counter.get_total_flops() < 0.75 * whole) == (rank < 200)


def test_a_gradient_of_high_rank_is_multiplied_exactly_where_neighbouring_inputs_are_zero(generator):
    rows, matrix = torch.randn(1, 256, 700, generator=generator).double(), torch.randn(700, 700).double()
    rows[..., :300] = 0.0  # channels that a rectifier has switched off
    expected = rows @ matrix
    found = multiplied(rows, matrix, exact=False)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9 * float(expected.abs().max()))


def test_an_edit_of_high_rank_is_multiplied_exactly_beside_one_of_low_rank_and_far_larger_gradients(generator):
    low, high = torch.ones(256, 700, dtype=torch.float64), torch.randn(256, 700, generator=generator).double()
    rows, matrix = torch.stack([1e13 * low, high]), torch.eye(700, dtype=torch.float64)
    found = multiplied(rows, matrix, exact=False)
    torch.testing.assert_close(found[1], high, rtol=0, atol=1e-9)
