"""Numbers from descriptors of edits: which classes suffer, which edits are alike, how many kinds there are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from benchmarks import metrics
from benchmarks.analysis.descriptors import Descriptors
from benchmarks.metrics import Estimate
from benchmarks.seeds import seed

COMPONENTS = 100
"""Most components of the decomposition; a share of the variance that they do not reach counts as one more."""
NEIGHBOURS = 10
_RESAMPLES = 200


def class_drawdown(descriptors: Descriptors, sizes: np.ndarray) -> np.ndarray:
    """Error after − error before on the images of each class, of every edit: ``(E, C)``, percentage points.

    The edited image is left out: an edit to a wrong label makes it an error of its own class, on purpose.

    :param sizes: ``(C,)``, control images of each class; a class without any other image has nan.
    """
    change, counts = _others(descriptors, sizes)
    return 100.0 * np.divide(change, counts, out=np.full_like(change, np.nan), where=counts > 0)


def confusion(descriptors: Descriptors, sizes: np.ndarray) -> np.ndarray:
    """Mean :func:`class_drawdown` over the edits of images of each class: ``(C, C)``, a row per edited class.

    Signed: negative where edits mend more than they break; nan in the row of a class that was not edited.
    """
    drawdown, own = class_drawdown(descriptors, sizes), descriptors.labels.numpy()
    rows = [drawdown[own == label] for label in range(len(sizes))]
    return np.stack([row.mean(axis=0) if len(row) else np.full(len(sizes), np.nan) for row in rows])


def own_class(descriptors: Descriptors, sizes: np.ndarray) -> dict[str, Estimate]:
    """The share of the harm that falls on other images of the edited image's class, with intervals over edits.

    ``own_drawdown`` and ``other_drawdown``: mean change of error on the images of that class and on those of all
    others, in percentage points; ``own_excess`` the difference, edit by edit. ``own_share``: percent of all additional
    errors that are in that class; nan if edits mend at least as many as they break.
    """
    change, counts = _others(descriptors, sizes)
    own = np.arange(len(descriptors)), descriptors.labels.numpy()
    inside, outside = change[own], change.sum(axis=1) - change[own]
    of_own, of_others = counts[own], counts.sum(axis=1) - counts[own]
    usable = (of_own > 0) & (of_others > 0)
    drawdown = 100.0 * inside[usable] / of_own[usable]
    elsewhere = 100.0 * outside[usable] / of_others[usable]
    return {
        "own_drawdown": metrics.mean(drawdown, "own_drawdown"),
        "other_drawdown": metrics.mean(elsewhere, "other_drawdown"),
        "own_excess": metrics.mean(drawdown - elsewhere, "own_excess"),
        "own_share": _share_of_sums(inside, inside + outside),
    }


def _others(descriptors: Descriptors, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By edit and class ``(E, C)``: additional errors, and images, without the edited image."""
    own = np.arange(len(descriptors)), descriptors.labels.numpy()
    change = descriptors.wrong_change.numpy().astype(float)
    change[own] -= descriptors.edited_wrong_change.numpy()
    counts = np.tile(np.asarray(sizes, dtype=float), (len(descriptors), 1))
    counts[own] -= 1
    return change, counts


def _share_of_sums(part: np.ndarray, whole: np.ndarray) -> Estimate:
    """``100 Σ part / Σ whole`` with a bootstrap interval over edits (percentiles)."""
    source = np.random.default_rng(seed("bootstrap", "own_share"))
    weights = source.multinomial(len(part), np.full(len(part), 1 / len(part)), size=2000)
    sums = np.stack([np.vstack([np.ones(len(part)), weights]) @ values for values in (part, whole)])
    shares = 100.0 * np.divide(*sums, out=np.full(sums.shape[1], np.nan), where=sums[1] > 0)
    return Estimate(float(shares[0]), *map(float, np.percentile(shares[1:], [2.5, 97.5])))


def moved(descriptors: Descriptors) -> np.ndarray:
    """Edits ``(E,)`` that have a descriptor: those that took at least one step and did not diverge."""
    values = descriptors.kl.numpy()
    return np.isfinite(values).all(axis=1) & (values != 0).any(axis=1)


def embed(values: np.ndarray, random_state: int) -> np.ndarray:
    """t-SNE of descriptors ``(E, N)`` in two dimensions: ``(E, 2)``; zeros where there are too few to arrange.

    Sums in another order lead t-SNE to another picture: for the same bytes everywhere, give it one thread.
    """
    count = len(values)
    if count < 3 or not np.ptp(values, axis=0).any():
        return np.zeros((count, 2))
    from sklearn.manifold import TSNE  # likewise

    method = TSNE(perplexity=min(30.0, (count - 1) / 3), init="pca", random_state=random_state % 2**32)
    return method.fit_transform(values.astype(np.float32))


class Decomposition:
    """Truncated SVD of descriptors ``(E, N)``, not centred, as scikit-learn's ``TruncatedSVD`` defines it.

    ``explained (K,)``: the cumulative sum of its ``explained_variance_ratio_``, K at most :data:`COMPONENTS`: the
    variance of the edits' coordinates along each right singular vector, divided by the variance of the descriptors.
    It is computed from the Gram matrix, exactly and without a random start.
    """

    def __init__(self, values: np.ndarray) -> None:
        values = values.astype(np.float64)
        self._gram = values @ values.T
        count, kept = len(values), min(*values.shape, COMPONENTS)
        from scipy import linalg  # late, because it takes time: stages that draw no map import this file too

        squares, vectors = linalg.eigh(self._gram, subset_by_index=(count - kept, count - 1))
        self._coordinates = vectors[:, ::-1] * np.sqrt(squares[::-1].clip(min=0.0))
        self.explained = self._explained(self._coordinates, np.ones(count))

    def components(self, percent: float) -> Estimate:
        """The number of components that explain ``percent`` of the variance, with an interval over edits.

        The interval is the number ± 1.96 standard deviations of 200 resamples. Their percentiles would lie below the
        number itself: an edit that is drawn twice adds nothing to the dimension of a resample.
        """
        number = _needed(self.explained, percent)
        spread = float(np.std([_needed(explained, percent) for explained in self._resamples]))
        half = max(1.96 * spread, 0.5)  # a whole number is no more exact than that
        return Estimate(number, max(number - half, 1.0), number + half)

    @cached_property
    def _resamples(self) -> list[np.ndarray]:
        """``explained`` of 200 resamples of the edits, in the space of the components that were found."""
        count = len(self._coordinates)
        drawn = np.random.default_rng(seed("bootstrap", "components"))
        weights = drawn.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES).astype(float)
        return [self._resample(row) for row in weights]

    def _resample(self, weights: np.ndarray) -> np.ndarray:
        scatter = (self._coordinates * weights[:, None]).T @ self._coordinates
        axes = np.linalg.eigh(scatter)[1][:, ::-1]
        return self._explained(self._coordinates @ axes, weights)

    def _explained(self, coordinates: np.ndarray, weights: np.ndarray) -> np.ndarray:
        shares = weights / weights.sum()
        variances = shares @ coordinates**2 - (shares @ coordinates) ** 2
        total = shares @ np.diag(self._gram) - shares @ self._gram @ shares
        return np.cumsum(variances / total) if total > 0 else np.full(len(variances), np.nan)


def _needed(explained: np.ndarray, percent: float) -> float:
    reached = np.flatnonzero(100.0 * explained >= percent - 1e-9)
    return float(reached[0] + 1 if len(reached) else len(explained) + 1)


def neighbours(values: np.ndarray, groups: Sequence[np.ndarray]) -> list[Estimate]:
    """Percent of an edit's :data:`NEIGHBOURS` nearest others (Euclidean) that are of its group, for each grouping.

    :param values: descriptors ``(E, N)``, E at least 2.
    :param groups: arrays ``(E,)``, such as the edited images' classes.
    """
    values = values.astype(np.float64)
    gram = values @ values.T
    squares = np.diag(gram)[:, None] + np.diag(gram) - 2 * gram
    np.fill_diagonal(squares, np.inf)
    nearest = np.argsort(squares, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(values) - 1)]
    same = [100.0 * (group[nearest] == group[:, None]).mean(axis=1) for group in groups]
    return [metrics.mean(shares, "neighbours") for shares in same]
