"""What is read off descriptors, on examples that can be worked out by hand or by another program."""

import numpy as np
import pytest
import torch

from benchmarks.analysis import edit_space
from benchmarks.analysis.descriptors import Descriptors


def described(wrong_change, labels, edited=None, kl=None) -> Descriptors:
    count = len(labels)
    return Descriptors(
        kl=torch.ones(count, 4) if kl is None else torch.tensor(kl),
        wrong_change=torch.tensor(wrong_change),
        edited_wrong_change=torch.zeros(count, dtype=torch.int64) if edited is None else torch.tensor(edited),
        labels=torch.tensor(labels),
        predicted=torch.tensor(labels),
        targets=torch.arange(count) % 3,
    )


HARM = described([[3, 0, 1], [6, -1, 0], [2, 5, 0]], labels=[0, 0, 1], edited=[1, 1, 1])
SIZES = np.array([11, 5, 20])


def test_harm_by_class_leaves_the_edited_image_out():
    drawdown = edit_space.class_drawdown(HARM, SIZES)
    assert drawdown.tolist() == [[20, 0, 5], [50, -20, 0], [pytest.approx(200 / 11), 100, 0]]
    matrix = edit_space.confusion(HARM, SIZES)
    np.testing.assert_allclose(matrix, [[35, -10, 2.5], [200 / 11, 100, 0], [np.nan] * 3])


def test_the_share_of_harm_in_the_edited_images_own_class():
    found = edit_space.own_class(HARM, SIZES)
    assert found["own_drawdown"].value == pytest.approx((20 + 50 + 100) / 3)
    assert found["other_drawdown"].value == pytest.approx((100 * 1 / 25 - 100 * 1 / 25 + 100 * 2 / 31) / 3)
    difference = found["own_drawdown"].value - found["other_drawdown"].value
    assert found["own_excess"].value == pytest.approx(difference)
    assert found["own_share"].value == pytest.approx(100 * (2 + 5 + 4) / (3 + 4 + 6))
    for estimate in found.values():
        assert estimate.low <= estimate.value <= estimate.high
    assert edit_space.own_class(HARM, SIZES) == found


def test_without_additional_errors_there_is_no_share_of_them():
    mended = described([[-1, 0, 0], [0, -1, 1]], labels=[0, 1])
    assert np.isnan(edit_space.own_class(mended, SIZES)["own_share"].value)


def test_a_class_of_one_image_has_no_other_image_to_harm():
    lone = described([[1, 0, 0], [0, 1, 1]], labels=[0, 1], edited=[1, 0])
    sizes = np.array([1, 5, 20])
    assert np.isnan(edit_space.class_drawdown(lone, sizes)[0, 0])
    assert edit_space.own_class(lone, sizes)["own_drawdown"].value == 25.0


def test_edits_without_a_step_and_diverged_ones_have_no_descriptor():
    nan, inf = float("nan"), float("inf")
    kl = [[0.0, 0.0], [0.1, 0.0], [nan, 0.2], [inf, 0.0]]
    assert edit_space.moved(described([[0]] * 4, [0] * 4, kl=kl)).tolist() == [False, True, False, False]


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """150 descriptors of 40 images with a few strong directions, none of them centred."""
    source = np.random.default_rng(0)
    strong = source.exponential(size=(150, 5)) @ source.exponential(size=(5, 40))
    return (strong + 0.3 * source.random((150, 40))).astype(np.float32)


def test_explained_variance_is_that_of_scikit_learn_and_of_a_full_decomposition(values):
    from sklearn.decomposition import TruncatedSVD

    explained = edit_space.Decomposition(values).explained
    reference = TruncatedSVD(n_components=20, algorithm="arpack", random_state=0).fit(values.astype(float))
    np.testing.assert_allclose(explained[:20], np.cumsum(reference.explained_variance_ratio_), rtol=1e-6)
    left, sizes, _ = np.linalg.svd(values.astype(float), full_matrices=False)
    variances = np.var(left * sizes, axis=0) / np.var(values.astype(float), axis=0).sum()
    np.testing.assert_allclose(explained, np.cumsum(variances), rtol=1e-6)
    assert explained[-1] == pytest.approx(1.0)


def test_the_number_of_components_and_its_interval(values):
    found = edit_space.Decomposition(values)
    for percent in (50, 95):
        estimate = found.components(percent)
        number = int(estimate.value)
        assert 100 * found.explained[number - 1] >= percent
        assert number == 1 or 100 * found.explained[number - 2] < percent
        assert 1 <= estimate.low <= number <= estimate.high
        assert estimate == edit_space.Decomposition(values).components(percent)
    ones = np.ones(150)
    np.testing.assert_allclose(found._resample(ones), found.explained, rtol=1e-6)


def test_a_share_that_the_kept_components_do_not_reach_counts_as_one_more(values, monkeypatch):
    monkeypatch.setattr(edit_space, "COMPONENTS", 3)
    found = edit_space.Decomposition(values)
    assert len(found.explained) == 3
    assert found.components(5).value <= 3
    assert found.components(100).value == 4


def test_neighbours_of_two_separate_groups(values):
    groups = np.repeat([0, 1], 75)
    apart = values + 100.0 * groups[:, None]
    same, mixed = edit_space.neighbours(apart, [groups, np.arange(150) % 2])
    assert (same.value, same.low, same.high) == (100.0, 100.0, 100.0)
    assert 35 < mixed.value < 65


def test_the_map_keeps_groups_together_and_is_the_same_each_time(values):
    groups = np.repeat([0, 1], 75)
    places = edit_space.embed(values + 20.0 * groups[:, None], 2**60 + 7)
    assert places.shape == (150, 2)
    (same,) = edit_space.neighbours(places, [groups])
    assert same.value > 99
    np.testing.assert_array_equal(places, edit_space.embed(values + 20.0 * groups[:, None], 2**60 + 7))


@pytest.mark.parametrize("few", [np.zeros((2, 3)), np.ones((5, 3))])
def test_too_few_or_equal_edits_all_lie_in_one_place(few):
    assert edit_space.embed(few, 0).tolist() == [[0.0, 0.0]] * len(few)
