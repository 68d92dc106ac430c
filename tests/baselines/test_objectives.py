import math

import pytest
import torch
from torch import nn

from baselines.objectives import CrossEntropy, Distillation, Step, divergence
from baselines.training import Objective
from benchmarks.seeds import generator


def test_cross_entropy_equals_its_definition():
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], requires_grad=True)
    losses = CrossEntropy()(nn.Identity(), Step(logits, torch.tensor([1, 0]), seed=0))
    by_hand = [
        math.log(math.exp(1) + math.exp(2) + math.exp(0.5)) - 2,
        math.log(math.exp(0) + math.exp(-1) + math.exp(3)) - 0,
    ]
    assert float(losses.total.detach()) == pytest.approx(sum(by_hand) / 2, rel=1e-6)
    assert losses.logits is logits
    assert losses.total.requires_grad


def test_objective_without_a_definition_says_what_is_missing():
    class Unfinished(Objective):
        pass

    with pytest.raises(TypeError, match=r"Unfinished must define forward\(model, batch\)"):
        Unfinished()(nn.Identity(), Step(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), seed=0))


def kl_by_hand(teacher: list[float], student: list[float]) -> float:
    def shares(logits: list[float]) -> list[float]:
        total = sum(math.exp(value) for value in logits)
        return [math.exp(value) / total for value in logits]

    pairs = zip(shares(teacher), shares(student), strict=True)
    return sum(p * math.log(p / q) for p, q in pairs)


TEACHER = [[3.0, -1.0, 0.5], [0.0, 2.0, -2.0], [1.0, 1.5, 1.0], [-2.0, 0.0, 4.0]]
STUDENT = [[1.0, 2.0, 0.5], [0.0, -1.0, 3.0], [2.0, 0.0, 0.0], [0.1, 0.2, 0.3]]


class Answers(nn.Module):
    """Answers what it was given, whatever the images."""

    def __init__(self, logits: list[list[float]], trained: bool = True) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits, dtype=torch.float64), requires_grad=trained)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits


def test_distillation_compares_teacher_and_student_row_by_row():
    student = Answers(STUDENT)
    step = Step(torch.zeros(4, 1), torch.tensor([0, 0, 0, 0]), seed=0)
    losses = Distillation(Answers(TEACHER))(student, step)
    by_row = [kl_by_hand(p, q) for p, q in zip(TEACHER, STUDENT, strict=True)]
    by_pair = [kl_by_hand(p, q) for p in TEACHER for q in STUDENT]  # as if rows were broadcast against each other
    assert sum(by_row) / 4 != pytest.approx(sum(by_pair) / 16, rel=0.01)
    assert float(losses.total.detach()) == pytest.approx(sum(by_row) / 4, rel=1e-12)
    losses.total.backward()
    teacher, wrong = (torch.tensor(logits, dtype=torch.float64).softmax(dim=1) for logits in (TEACHER, STUDENT))
    expected = (wrong - teacher) / 4
    torch.testing.assert_close(student.logits.grad, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reference", [(1, 3), (3,), (4, 1, 3), (4, 1)])
def test_rows_that_would_be_broadcast_are_refused(reference):
    with pytest.raises(ValueError, match="cannot be compared"):
        divergence(torch.zeros(reference), torch.zeros(4, 3))


def test_the_teacher_answers_in_evaluation_mode_and_stays_as_it_is():
    teacher = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    inputs = torch.randn(16, 2, generator=generator("teacher"))
    objective = Distillation(teacher).train()
    teacher.eval()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student = nn.Linear(2, 3)
    losses = objective(student, Step(inputs, torch.zeros(16, dtype=torch.int64), seed=0))
    expected = nn.functional.kl_div(student(inputs).log_softmax(1), teacher(inputs).softmax(1), reduction="batchmean")
    assert float(losses.total.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    losses.total.backward()
    assert all(value.grad is None and not value.requires_grad for value in objective.parameters())
    assert all(torch.equal(value, before[name]) for name, value in objective.teacher.state_dict().items())
    assert all(value.requires_grad for value in teacher.parameters())
