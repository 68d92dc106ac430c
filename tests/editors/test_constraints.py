"""``predicts`` against its definition, computed with log-softmax in float64."""

import pickle

import pytest
import torch
from torch import Tensor

from editors import EditError
from editors.constraints import predicts


def definition(logits: Tensor, labels: list[int]) -> Tensor:
    """``max_y log p(y|x) − log p(y_ref|x)``, averaged over the inputs."""
    log_p = torch.log_softmax(logits.double(), dim=-1)
    return torch.stack([row.max() - row[label] for row, label in zip(log_p, labels, strict=True)]).mean()


@pytest.fixture
def logits(generator: torch.Generator) -> Tensor:
    return (3 * torch.randn(6, 5, generator=generator, dtype=torch.float64)).requires_grad_()


@pytest.mark.parametrize("label", range(5))
def test_loss_of_one_input_is_the_gap_between_log_probabilities(logits, label):
    for row in logits:
        found = predicts(label)(row.unsqueeze(0))
        assert found.shape == ()
        torch.testing.assert_close(found, definition(row.unsqueeze(0), [label]), rtol=0, atol=1e-12)
        torch.testing.assert_close(predicts(label)(row), found, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [list, tuple, torch.tensor, lambda labels: torch.tensor(labels, dtype=torch.uint8)])
def test_loss_of_several_inputs_is_the_mean_of_theirs(logits, kind):
    labels = [0, 4, 2, 2, 1, 3]
    torch.testing.assert_close(predicts(kind(labels))(logits), definition(logits, labels), rtol=0, atol=1e-12)


def test_gradient_is_that_of_the_definition_where_the_answer_is_wrong(logits):
    labels = logits.argmin(dim=-1).tolist()
    (found,) = torch.autograd.grad(predicts(labels)(logits), logits)
    (expected,) = torch.autograd.grad(definition(logits, labels), logits)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert found.abs().sum() == pytest.approx(2.0)


def test_inputs_that_are_answered_rightly_have_no_gradient(logits):
    labels = logits.argmax(dim=-1)
    labels[2] = logits[2].argmin()
    (gradient,) = torch.autograd.grad(predicts(labels)(logits), logits)
    assert [bool(row.any()) for row in gradient] == [False, False, True, False, False, False]


def test_a_tie_for_the_largest_logit_satisfies():
    logits = torch.tensor([[2.0, 2.0, 1.0]])
    assert [predicts(label)(logits).item() for label in range(3)] == [0.0, 0.0, 1.0]


def test_loss_stays_exact_where_probabilities_underflow():
    logits = torch.tensor([[500.0, -500.0]])
    assert predicts(1)(logits) == 1000
    assert predicts(0)(logits) == 0


def test_nan_logits_give_nan_and_never_satisfy():
    for place in range(3):
        logits = torch.zeros(1, 3)
        logits[0, place] = torch.nan
        assert predicts(1)(logits).isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_an_infinite_logit_is_an_overflow_and_no_answer(dtype):
    logits = torch.tensor([[1.0, torch.inf, 2.0], [1.0, 9.0, -torch.inf]], dtype=dtype)
    assert predicts(1)(logits[:1]).isnan()
    assert predicts([1, 1])(logits).isnan()
    assert predicts(1, margin=2.0)(logits[:1]).isnan()
    assert predicts(1)(logits[1:]) == 0
    assert predicts(2)(logits[1:]) == torch.inf


def test_constraints_survive_pickling(logits):
    constraint = predicts([0, 4, 2, 2, 1, 3])
    assert torch.equal(pickle.loads(pickle.dumps(constraint))(logits), constraint(logits))


@pytest.mark.parametrize(
    ("labels", "wrong"), [(5, "5"), (-1, "-1"), ([0, 1, 7, 0, 0, 0], "7"), ([0, -3, 1, 0, 0, 0], "-3")]
)
def test_label_outside_the_classes_is_named_with_the_range(logits, labels, wrong):
    with pytest.raises(EditError, match=rf"label {wrong} is outside the model's 5 classes \(0 to 4\)"):
        predicts(labels)(logits)


@pytest.mark.parametrize("labels", [1.5, "3", None, True, [[1, 2]], [1, "a"], torch.tensor([0.0]), 10**30])
def test_labels_that_are_no_whole_numbers_are_refused(labels):
    with pytest.raises(EditError, match="labels must be a whole number or a list of them, not"):
        predicts(labels)


def test_no_label_at_all_is_refused():
    with pytest.raises(EditError, match="at least one label"):
        predicts([])


def test_wrong_number_of_labels_is_refused(logits):
    with pytest.raises(EditError, match="has 2 labels for 6 inputs"):
        predicts([0, 1])(logits)


@pytest.mark.parametrize(
    ("outputs", "found"),
    [
        (torch.zeros(2, 3, 4), r"\(2, 3, 4\)"),
        (torch.tensor(1.0), r"\(\)"),
        (torch.zeros(1, 3).long(), r"\(1, 3\)"),
        ((1, 2), "tuple"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(outputs, found):
    with pytest.raises(EditError, match=rf"logits of shape \(N, classes\), not {found}"):
        predicts(1)(outputs)
