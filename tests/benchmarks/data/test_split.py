import pytest
import torch

from benchmarks.data.split import hold_out
from benchmarks.errors import InputError

LABELS = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)[torch.randperm(100, generator=torch.Generator().manual_seed(0))]


def test_both_parts_together_are_every_index_once():
    kept, held_out = hold_out(LABELS, 30, "a", option="size")
    assert len(held_out) == 30
    assert torch.cat([kept, held_out]).sort().values.tolist() == list(range(100))


def test_every_class_keeps_its_share():
    kept, held_out = hold_out(LABELS, 30, "a", option="size")
    assert LABELS[held_out].bincount().tolist() == [18, 9, 3]
    assert LABELS[kept].bincount().tolist() == [42, 21, 7]


def test_indices_ascend():
    for part in hold_out(LABELS, 30, "a", option="size"):
        assert part.dtype == torch.int64
        assert (part.diff() > 0).all()


def test_the_draw_depends_on_the_axes_alone():
    torch.manual_seed(1)
    first = hold_out(LABELS, 30, "a", option="size")[1]
    torch.manual_seed(2)
    assert torch.equal(hold_out(LABELS, 30, "a", option="size")[1], first)
    assert not torch.equal(hold_out(LABELS, 30, "b", option="size")[1], first)


@pytest.mark.parametrize("size", [-1, 0, 2, 98, 100, 1000, 3.0, True, None, "5"])
def test_an_impossible_size_is_named_with_what_is_allowed(size):
    with pytest.raises(InputError, match="tuning_size must be an integer from 3 to 97, found"):
        hold_out(LABELS, size, "a", option="tuning_size")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [3, 97])
def test_the_extreme_sizes_that_are_allowed_work(size):
    assert len(hold_out(LABELS, size, "a", option="size")[1]) == size


def test_a_class_of_one_image_is_named():
    with pytest.raises(InputError, match="class 1 has 1"):
        hold_out(torch.tensor([0, 0, 0, 0, 1]), 2, "a", option="size")
