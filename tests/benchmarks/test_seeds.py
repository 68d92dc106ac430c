import hashlib

import pytest
import torch

from benchmarks.seeds import generator, seed


def test_seed_is_the_first_63_bits_of_the_sha256_of_the_axes():
    digest = hashlib.sha256(b'["digits", "train", 3]').hexdigest()
    assert seed("digits", "train", 3) == int(digest, 16) >> (256 - 63)


def test_axes_that_join_to_the_same_text_give_different_seeds():
    alike = [("a", "bc"), ("ab", "c"), ("abc",), ("a", "b", "c"), ("bc", "a"), ('a", "bc',), (1, 11), (11, 1), (111,)]
    alike += [("1", "11"), ("111",), ("",), ("", "")]
    assert len({seed(*axes) for axes in alike}) == len(alike)


def test_seeds_use_all_63_bits():
    seeds = [seed("bits", number) for number in range(200)]
    assert all(0 <= each < 2**63 for each in seeds)
    for bit in range(63):
        assert 60 < sum(each >> bit & 1 for each in seeds) < 140


@pytest.mark.parametrize("axes", [(), (1.0,), (None,), (True,), (b"a",)])
def test_an_axis_that_is_no_name_or_number_is_refused(axes):
    with pytest.raises(TypeError, match="axis"):
        seed(*axes)


def test_generators_of_the_same_axes_agree_and_of_others_do_not():
    first, same, other = (torch.rand(8, generator=generator("a", number)) for number in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_the_global_random_state_is_neither_read_nor_changed():
    before = torch.get_rng_state()
    first = torch.rand(8, generator=generator("a"))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert torch.equal(torch.rand(8, generator=generator("a")), first)
    torch.set_rng_state(before)
