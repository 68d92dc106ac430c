"""The smallest changes of a linear layer, against SciPy's solvers on all constraints at once."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor

import editors
from editors.errors import EditError
from editors.least_change import least_absolute_change, least_squares_change

CLASSES = 4


def problem(count: int, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    rows = torch.randn(count, width, generator=generator, dtype=torch.float64)
    logits = torch.randn(count, CLASSES, generator=generator, dtype=torch.float64)
    return rows, logits, torch.randint(CLASSES, (count,), generator=generator)


def all_constraints(rows: Tensor, logits: Tensor, labels: Tensor, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """``G`` and ``b`` of ``G vec(ΔW) ≥ b``."""
    found, limits = [], []
    for row, before, label in zip(rows.numpy(), logits.numpy(), labels.tolist(), strict=True):
        for rival in set(range(CLASSES)) - {label}:
            one = np.zeros((CLASSES, len(row)))
            one[label], one[rival] = row, -row
            found.append(one.ravel())
            limits.append(before[rival] - before[label] + margin)
    return np.array(found), np.array(limits)


@pytest.mark.parametrize(("count", "width"), [(1, 6), (3, 6), (6, 6), (9, 12)])
@pytest.mark.parametrize("margin", [0.0, 0.7])
def test_the_sum_of_squares_is_the_smallest(count: int, width: int, margin: float, generator: torch.Generator) -> None:
    for _ in range(3):
        given = problem(count, width, generator)
        change = least_squares_change(*given, margin)
        constraints, limits = all_constraints(*given, margin)
        assert (constraints @ change.numpy().ravel() - limits).min() > -1e-8
        found = minimize(
            lambda flat: flat @ flat,
            np.zeros(CLASSES * width),
            jac=lambda flat: 2 * flat,
            constraints={
                "type": "ineq",
                "fun": lambda flat, g=constraints, b=limits: g @ flat - b,
                "jac": lambda flat, g=constraints: g,
            },
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 1000},
        )
        np.testing.assert_allclose(change.numpy().ravel(), found.x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("largest", [False, True])
def test_the_linear_programs_have_the_optimum_of_all_constraints(largest: bool, generator: torch.Generator) -> None:
    for count, width in [(1, 5), (4, 5), (7, 9)]:
        given = problem(count, width, generator)
        change = least_absolute_change(*given, 0.3, largest=largest).numpy()
        constraints, limits = all_constraints(*given, 0.3)
        assert (constraints @ change.ravel() - limits).min() > -1e-7
        size = constraints.shape[1]
        bound = np.ones((size, 1)) if largest else np.eye(size)  # |ΔW| ≤ bound, whose sum is minimised
        upper = np.block(
            [
                [-constraints, np.zeros((len(limits), bound.shape[1]))],
                [np.eye(size), -bound],
                [-np.eye(size), -bound],
            ]
        )
        costs = np.r_[np.zeros(size), np.ones(bound.shape[1])]
        found = linprog(costs, upper, np.r_[-limits, np.zeros(2 * size)], bounds=(None, None), method="highs-ipm")
        cost = np.abs(change).max() if largest else np.abs(change).sum()
        assert cost == pytest.approx(found.fun, rel=1e-7)


@pytest.mark.parametrize("solve", [least_squares_change, least_absolute_change])
def test_no_change_is_needed_where_the_labels_are_ahead_and_none_helps_equal_rows_with_two_labels(solve) -> None:
    rows, logits = torch.ones(2, 3, dtype=torch.float64), torch.tensor([[3.0, 0, 0, 0], [0, 3.0, 0, 0]]).double()
    assert not solve(rows, logits, torch.tensor([0, 1]), 0.5).any()
    assert solve(rows, logits.flip(0), torch.tensor([0, 1]), 0.5) is None


def test_a_norm_that_is_not_there_is_an_error() -> None:
    with pytest.raises(EditError, match="norm must be one of sum, largest, not 'l7'"):
        editors.build("minimal_repair", norm="l7")
