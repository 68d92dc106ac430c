"""The smallest change of a linear layer with which several inputs get their labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Matrix = NDArray[np.float64]

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Constraints: inputs, their labels, and a rival of each."""
Solution = tuple[Matrix, NDArray[np.bool_]]
"""ΔW, and which constraints it needs: without the others it would be the same."""

_TOLERANCE = 1e-9  # of margins, relative to the largest logit
_INFEASIBLE = 1e-7  # a distance from what is to be reached that is no rounding error


def least_squares_change(rows: Tensor, logits: Tensor, labels: Tensor, margin: float) -> Tensor | None:
    """The ΔW ``(C, d)`` with the smallest ‖ΔW‖² that puts every label ``margin`` above all other classes.

    Source: Lawson & Hanson, Solving Least Squares Problems (1974), chapter 23: least distance programming

    Solved exactly, in float64, by non-negative least squares over the constraints that matter: the dual has one
    variable for an input and a rival of its label. For another norm, ``tr(ΔW A ΔWᵀ)``, give rows times A^(−1/2).

    :param rows: the layer's inputs ``(N, d)``; ``logits (N, C)`` its outputs before, ``labels (N,)``.
    :returns: None if no ΔW does that.
    """
    given, before = _array(rows), _array(logits)
    # Changes outside the span of the rows do nothing but cost, so the problem has at most N unknowns for each class.
    left, sizes, basis = np.linalg.svd(given, full_matrices=False)
    kept = sizes > sizes.max(initial=0) * max(given.shape) * np.finfo(float).eps
    coordinates, basis = left[:, kept] * sizes[kept], basis[kept]

    def solve(pairs: Pairs, needed: Matrix) -> Solution | None:
        from scipy.optimize import nnls  # takes a while to import, and not everybody needs it

        inputs, wanted, rivals = pairs
        constraints = np.zeros((len(needed), before.shape[1], coordinates.shape[1]))
        places = np.arange(len(needed))
        constraints[places, wanted] += coordinates[inputs]
        constraints[places, rivals] -= coordinates[inputs]
        flat = constraints.reshape(len(needed), -1)
        scale = max(needed.max(), np.finfo(float).tiny)
        stacked = np.concatenate([flat.T, needed[None] / scale])
        last = np.zeros(len(stacked))
        last[-1] = 1.0
        weights, distance = nnls(stacked, last, maxiter=30 * max(stacked.shape))
        if distance < _INFEASIBLE:
            return None
        residual = 1 - float(needed @ weights) / scale
        return scale * (weights / residual @ flat).reshape(before.shape[1], -1), weights > 0

    change = _over_what_matters(solve, coordinates, before, labels, margin)
    return None if change is None else torch.from_numpy(change @ basis)


def least_absolute_change(
    rows: Tensor, logits: Tensor, labels: Tensor, margin: float, largest: bool = False
) -> Tensor | None:
    """As :func:`least_squares_change` for the smallest Σ |ΔW|, or for the smallest max |ΔW| if ``largest`` says so.

    Source: Sotoudeh & Thakur, Provable Repair of Deep Neural Networks (PLDI 2021), for the affine case

    A linear program, solved exactly by HiGHS.
    """
    given, before = _array(rows), _array(logits)
    width, classes = given.shape[1], before.shape[1]
    size = width * classes

    def solve(pairs: Pairs, needed: Matrix) -> Solution | None:
        from scipy import sparse
        from scipy.optimize import linprog

        inputs, wanted, rivals = pairs
        places, each = np.arange(len(needed)).repeat(width), given[inputs].ravel()
        columns = [(chosen[:, None] * width + np.arange(width)).ravel() for chosen in (wanted, rivals)]
        rising = sparse.csr_array((each, (places, columns[0])), shape=(len(needed), size))
        falling = sparse.csr_array((each, (places, columns[1])), shape=(len(needed), size))
        moved = rising - falling
        if largest:  # −t ≤ ΔW ≤ t
            eye, ones = sparse.eye_array(size, format="csr"), sparse.csr_array(np.ones((size, 1)))
            bounded = sparse.vstack([sparse.hstack([eye, -ones]), sparse.hstack([-eye, -ones])])
            upper = sparse.vstack([sparse.hstack([-moved, sparse.csr_array((len(needed), 1))]), bounded])
            costs, bounds = np.eye(size + 1)[-1], [(None, None)] * size + [(0, None)]
            limits = np.concatenate([-needed, np.zeros(2 * size)])
        else:  # ΔW = positive − negative part
            upper, costs, bounds, limits = sparse.hstack([-moved, moved]), np.ones(2 * size), (0, None), -needed
        found = linprog(costs, upper, limits, bounds=bounds, method="highs")
        if found.x is None:
            return None
        change = found.x[:size] if largest else found.x[:size] - found.x[size:]
        return change.reshape(classes, width), np.ones(len(needed), dtype=bool)

    change = _over_what_matters(solve, given, before, labels, margin)
    return None if change is None else torch.from_numpy(change)


def _over_what_matters(
    solve: Callable[[Pairs, Matrix], Solution | None],
    rows: Matrix,
    logits: Matrix,
    labels: Tensor,
    margin: float,
) -> Matrix | None:
    """The optimum over all N (C − 1) constraints, of which most do not matter.

    Those that the change so far violates most, one for each input, join and those that it does not need go, until none
    is violated: the last optimum is that of all constraints, as it is the optimum of some and satisfies the others. The
    optimum gets larger each time, so that this ends.

    :param solve: finds the optimum over some constraints, given by how much each label must gain on the rival.
    """
    wanted = labels.cpu().numpy()
    inputs = np.arange(len(rows))
    tolerance = _TOLERANCE * max(1.0, float(np.abs(logits).max()))
    change = np.zeros((logits.shape[1], rows.shape[1]))
    pairs = set[tuple[int, int]]()
    while True:
        moved = logits + rows @ change.T
        missing = moved + margin - moved[inputs, wanted][:, None]
        missing[inputs, wanted] = -np.inf
        rivals = missing.argmax(axis=1)
        violated = missing[inputs, rivals] > tolerance
        new = {(int(one), int(rivals[one])) for one in inputs[violated]} - pairs
        if not new:
            return change
        pairs |= new
        chosen, against = np.array(sorted(pairs)).T
        needed = logits[chosen, against] + margin - logits[chosen, wanted[chosen]]
        found = solve((chosen, wanted[chosen], against), needed)
        if found is None:
            return None
        change = found[0]
        pairs = {pair for pair, kept in zip(sorted(pairs), found[1], strict=True) if kept}


def _array(values: Tensor) -> Matrix:
    return values.detach().double().cpu().numpy()
