import numpy as np
import pytest
import torch
from scipy import stats

from benchmarks.errors import InputError
from benchmarks.scoring.ranks import matched_targets, rank_distribution, ranks
from benchmarks.seeds import generator

CLASSES = 12


def test_ranks_count_the_classes_ahead_and_zero_is_the_answer():
    logits = torch.tensor([[0.1, 0.9, 0.5, 0.3], [2.0, 2.0, 1.0, 3.0], [2.0, 2.0, 1.0, 3.0], [1.0, 0.0, 0.0, 0.0]])
    assert ranks(logits, torch.tensor([3, 0, 1, 3])).tolist() == [2, 1, 2, 3]
    noise = torch.randint(5, (200, 6), generator=generator("ties")).float()  # with many ties
    every = torch.stack([ranks(noise, torch.full((200,), label)) for label in range(6)], dim=1)
    assert every.sort(dim=1).values.tolist() == [list(range(6))] * 200
    assert torch.equal(every.argmin(dim=1), noise.argmax(dim=1))


def test_distribution_is_the_smoothed_histogram_without_rank_zero():
    found = torch.tensor([1] * 5 + [4] * 10 + [11] * 5 + [0] * 100)
    counts = np.bincount(found.numpy(), minlength=CLASSES).astype(float)
    counts[0] = 0
    expected = np.convolve(counts, [0.1, 0.2, 0.4, 0.2, 0.1], mode="same")
    expected[0] = 0
    expected /= expected.sum()
    distribution = rank_distribution(found, CLASSES)
    assert distribution[0] == 0
    np.testing.assert_allclose(distribution.numpy(), expected, rtol=1e-12)
    # By hand: rank 2 has 0.2 · 5 + 0.1 · 10 of a total of 5 · 0.7 (of rank 1) + 10 + 5 · 0.7 (of rank 11) counts.
    assert float(distribution[2]) == pytest.approx(2.0 / 17.0)


def test_targets_have_the_ranks_of_the_distribution():
    source = generator("matched ranks")
    logits = torch.randn(20_000, CLASSES, generator=source)
    distribution = rank_distribution(torch.tensor([1, 1, 1, 2, 2, 3, 5, 7, 7]), CLASSES)
    possible = distribution > 0

    def p_value(targets: torch.Tensor) -> float:
        counts = torch.bincount(ranks(logits, targets), minlength=CLASSES)
        if counts[~possible].any():
            return 0.0
        return float(stats.chisquare(counts[possible], len(logits) * distribution[possible].numpy()).pvalue)

    targets = matched_targets(logits, distribution, source)
    assert p_value(targets) > 0.001
    assert p_value(targets.roll(1)) < 1e-6  # the same targets for other images
    assert p_value(torch.randint(CLASSES, (20_000,), generator=source)) < 1e-6


def test_the_same_generator_draws_the_same_targets_which_are_never_the_answer():
    logits = torch.randn(500, CLASSES, generator=generator("logits"))
    distribution = rank_distribution(torch.tensor([1, 2]), CLASSES)
    one, two, other = (matched_targets(logits, distribution, generator("draw", seed)) for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert not (one == logits.argmax(dim=1)).any()


def test_no_mistake_has_no_distribution():
    with pytest.raises(InputError, match="all ranks are 0"):
        rank_distribution(torch.zeros(5, dtype=torch.int64), CLASSES)
