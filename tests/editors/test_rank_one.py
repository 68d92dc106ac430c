"""The rank-one edit of the last layer: against SciPy's optimum, and what it leaves alone."""

import copy

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

import editors
from editors import EditError
from editors.constraints import predicts

LABELS = torch.zeros(12, dtype=torch.int64)
DAMPING = 0.05


@pytest.fixture
def editor(model: nn.Module, images: Tensor) -> editors.Editor:
    built = editors.build("rank_one", damping=DAMPING)
    return built.informed(built.statistics(model, images.flatten(0, 1), LABELS, "head"))


def features_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """What reaches the head, a 1 for the bias at the end."""
    seen = []
    copied = copy.deepcopy(model).eval()
    copied.head.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    copied(inputs)
    return torch.cat([seen[0], torch.ones_like(seen[0][:, :1])], dim=1).detach()


def _metric(model: nn.Module, images: Tensor) -> np.ndarray:
    ordinary = features_of(model, images.flatten(0, 1))
    moment = (ordinary.T @ ordinary / len(ordinary)).numpy()
    return moment + DAMPING * np.trace(moment) / len(moment) * np.eye(len(moment))


def optimum(
    metric: np.ndarray, weight: np.ndarray, features: np.ndarray, labels: list[int], margin: float
) -> np.ndarray:
    """The change ``(C, d)`` with the smallest ``tr(Δ A Δᵀ)`` that puts the labels ahead, by a general solver.

    :param features: what reaches the layer, ``(N, d)``.
    """
    root = np.linalg.cholesky(metric)  # in whitened coordinates, where the solver finds its way
    whitened, logits = np.linalg.solve(root, features.T), weight @ features.T
    wanted = np.arange(len(weight))[:, None] == np.array(labels)

    def margins(flat: np.ndarray) -> np.ndarray:
        moved = logits + flat.reshape(weight.shape) @ whitened
        return (moved[labels, range(len(labels))] - moved - margin)[~wanted]

    found = minimize(
        lambda flat: flat @ flat,
        np.zeros(weight.size),
        jac=lambda flat: 2 * flat,
        constraints={"type": "ineq", "fun": margins},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert margins(found.x).min() > -1e-7  # it also stops, and says so, where rounding hides any further progress
    return np.linalg.solve(root.T, found.x.reshape(weight.shape).T).T


@pytest.mark.parametrize("margin", [0.0, 1.5])
def test_it_is_the_smallest_change_that_satisfies_the_constraint(
    model: nn.Module, images: Tensor, editor: editors.Editor, margin: float
) -> None:
    metric = _metric(model, images)
    weight = torch.cat([model.head.weight, model.head.bias[:, None]], dim=1).detach().numpy()
    moved_classes = set()
    features = features_of(model, images[0]).numpy()
    for label in range(5):
        edit = editor.edit(model, images[0], predicts(label, margin), layers="head")
        expected = optimum(metric, weight, features, [label], margin)
        found = torch.cat([edit.parameters["head.weight"], edit.parameters["head.bias"][:, None]], dim=1).numpy()
        np.testing.assert_allclose(found - weight, expected, rtol=0, atol=1e-6)
        moved_classes.add(int((np.abs(expected).max(axis=1) > 1e-6).sum()))
    assert {2, 3} <= moved_classes  # more than the runner-up came down at times


def test_every_edit_succeeds_in_one_step_and_to_the_last_digit(model, images, editor):
    for dtype in (torch.float32, torch.float64):
        net = model.to(dtype)
        requests = [(one.to(dtype), predicts(label)) for one in images for label in range(5)]
        edits = editor.edit_many(net, requests, layers="head")
        assert all(edit.succeeded and edit.loss == 0 for edit in edits)
        assert {edit.steps for edit in edits} == {0, 1}
        assert sum(edit.unchanged for edit in edits) == len(images)
        together = images.flatten(0, 1).to(dtype)
        for number, edit in enumerate(edits):  # in a batch, where sums run in another order
            assert edit.predict(together)[number // 5].argmax() == number % 5
            assert edit.apply(net).eval()(requests[number][0]).argmax() == number % 5


def test_only_the_last_layer_changes_and_the_model_stays(model, images, editor):
    before = copy.deepcopy(model.state_dict())
    edit = editor.edit(model, images[0], predicts(3), layers="head")
    assert set(edit.parameters) == {"head.weight", "head.bias"}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    built = editors.build("rank_one")
    whole = built.informed(built.statistics(model, images.flatten(0, 1), LABELS, None))
    assert set(whole.edit(model, images[0], predicts(3)).parameters) == {"head.weight", "head.bias"}


def test_without_its_bias_the_weight_alone_is_edited(model, images):
    built = editors.build("rank_one")
    informed = built.informed(built.statistics(model, images.flatten(0, 1), LABELS, "head.weight"))
    edit = informed.edit(model, images[0], predicts(3), layers="head.weight")
    assert set(edit.parameters) == {"head.weight"}
    assert edit.predict(images[0]).argmax() == 3


def test_several_inputs_get_their_labels_by_the_smallest_change_for_all_of_them(
    model: nn.Module, images: Tensor, editor: editors.Editor
) -> None:
    inputs, labels = images[:4].flatten(0, 1), [3, 0, 3, 1]
    edit = editor.edit(model, inputs, predicts(labels), layers="head")
    assert (edit.succeeded, edit.steps) == (True, 1)
    assert edit.predict(inputs).argmax(dim=1).tolist() == labels
    metric = _metric(model, images)
    weight = torch.cat([model.head.weight, model.head.bias[:, None]], dim=1).detach().numpy()
    expected = optimum(metric, weight, features_of(model, inputs).numpy(), labels, 0.0)
    found = torch.cat([edit.parameters["head.weight"], edit.parameters["head.bias"][:, None]], dim=1).numpy()
    np.testing.assert_allclose(found - weight, expected, rtol=0, atol=1e-5)


def test_if_no_change_mends_all_inputs_nothing_changes(
    model: nn.Module, images: Tensor, editor: editors.Editor
) -> None:
    twice = images[[0, 0]].flatten(0, 1)
    edit = editor.edit(model, twice, predicts([1, 2], margin=0.5), layers="head")
    assert not edit.succeeded
    assert torch.equal(edit.parameters["head.weight"], model.head.weight)


def test_no_steps_only_check(model: nn.Module, images: Tensor, editor: editors.Editor) -> None:
    label = int(copy.deepcopy(model).eval()(images[0]).argmin())
    built = editors.build("rank_one", max_steps=0)
    informed = built.informed(built.statistics(model, images.flatten(0, 1), LABELS, "head"))
    edit = informed.edit(model, images[0], predicts(label), layers="head")
    assert (edit.succeeded, edit.steps, edit.unchanged) == (False, 0, True)


def test_what_it_cannot_do_is_said_in_one_sentence(model, images, editor):
    with pytest.raises(EditError, match="^layers 'chain1' hold no linear layer$"):
        editor.statistics(model, images.flatten(0, 1), LABELS, "chain1")
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.Tanh()).double()
    with pytest.raises(EditError, match="a linear layer whose outputs are the model's; '1.weight' is not of one"):
        editor.edit(net, images[0], predicts(3))
    with pytest.raises(EditError, match="the covariance was not computed for '1.weight'"):
        editor.edit(net[:2], images[0], predicts(int(net(images[0]).argmin())))
    with pytest.raises(EditError, match="needs the constraint predicts"):
        editor.edit(model, images[0], lambda outputs: outputs.sum())
    with pytest.raises(EditError, match="not differentiable"):
        editor.edit(model, images[0], predicts(3), layers="head", differentiable=True)
