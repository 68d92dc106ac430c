import pytest
import torch
from scipy import stats

from benchmarks.control_set import control_set
from benchmarks.data.dataset import Split
from benchmarks.errors import InputError
from benchmarks.scoring.requests import draw_requests


def split(count: int) -> Split:
    return Split(torch.zeros(count, 1, 2, 2, dtype=torch.uint8), torch.zeros(count, dtype=torch.int64))


def test_targets_are_uniform_over_all_classes():
    targets = draw_requests(split(100), 10, 5000, 0, "digits", "test").targets
    assert stats.chisquare(torch.bincount(targets, minlength=10).numpy()).pvalue > 0.001
    assert (int(targets.min()), int(targets.max())) == (0, 9)


def test_targets_do_not_depend_on_the_image():
    requests = draw_requests(split(4), 4, 4000, 0, "digits", "test")
    table = torch.zeros(4, 4, dtype=torch.int64)
    for image, target in zip(requests.images.tolist(), requests.targets.tolist(), strict=True):
        table[image, target] += 1
    assert stats.chi2_contingency(table.numpy()).pvalue > 0.001


def test_every_image_is_used_before_one_is_used_again():
    images = draw_requests(split(10), 3, 25, "axes").images.tolist()
    assert sorted(images[:10]) == sorted(images[10:20]) == list(range(10))
    assert len(set(images[20:])) == 5
    assert images[:10] != images[10:20]


def test_same_axes_give_the_same_requests():
    first, second = (draw_requests(split(30), 5, 20, 0, "digits", "test") for _ in range(2))
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.targets, second.targets)
    assert first.seeds == second.seeds


@pytest.mark.parametrize("axes", [(1, "digits", "test"), (0, "cifar10", "test"), (0, "digits", "tuning"), ("digits",)])
def test_other_axes_give_other_requests(axes):
    first, second = draw_requests(split(30), 5, 20, 0, "digits", "test"), draw_requests(split(30), 5, 20, *axes)
    assert not torch.equal(first.images, second.images)
    assert not torch.equal(first.targets, second.targets)
    assert not set(first.seeds) & set(second.seeds)


def test_drawing_neither_reads_nor_changes_global_random_state():
    before = torch.get_rng_state()
    draw_requests(split(30), 5, 20, "axes")
    assert torch.equal(torch.get_rng_state(), before)


def test_more_requests_begin_with_the_same_ones():
    few, many = draw_requests(split(30), 5, 10, "axes"), draw_requests(split(30), 5, 20, "axes")
    assert torch.equal(few.images, many.images[:10])
    assert few.seeds == many.seeds[:10]
    assert len(set(many.seeds)) == len(many) == 20


@pytest.mark.parametrize("count", [0, -3])
def test_number_of_requests_must_be_positive(count):
    with pytest.raises(InputError, match=f"number of edits must be >= 1, not {count}"):
        draw_requests(split(5), 3, count, "axes")


def test_control_images_are_distinct_positions_of_the_split():
    chosen = control_set(1000, 300, 7)
    assert chosen is not None
    assert chosen.dtype == torch.int64
    assert len(set(chosen.tolist())) == 300
    assert set(chosen.tolist()) <= set(range(1000))


def test_control_images_depend_on_the_seed_of_the_request_alone():
    assert torch.equal(control_set(1000, 50, 7), control_set(1000, 50, 7))
    assert not torch.equal(control_set(1000, 50, 7), control_set(1000, 50, 8))


def test_every_request_has_control_images_of_its_own_that_cover_the_split_evenly():
    requests = draw_requests(split(40), 3, 400, "axes")
    subsets = [control_set(40, 10, seed) for seed in requests.seeds]
    assert len({tuple(subset.tolist()) for subset in subsets}) == 400
    counts = torch.bincount(torch.cat(subsets), minlength=40)
    # Drawn without replacement, counts vary by a factor 1 - 10/40 less than chi-square supposes.
    statistic = float(((counts - 100) ** 2 / 100).sum()) / (1 - 10 / 40)
    assert 0.001 < stats.chi2.sf(statistic, 39) < 0.999


@pytest.mark.parametrize("subset", [None, 40, 41])
def test_no_subset_means_every_image(subset):
    assert control_set(40, subset, 7) is None
