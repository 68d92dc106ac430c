import pytest
import torch
from torch import nn

from benchmarks import datasets
from benchmarks.data.candidates import Candidates
from benchmarks.data.dataset import Dataset, Split
from benchmarks.datasets import digits_finetune
from benchmarks.errors import InputError
from benchmarks.scoring.mistakes import divide, mistakes
from benchmarks.seeds import generator


class Brightness(nn.Module):
    """Answers the class 1 for images that are bright on average, as the data set normalises them; 0 for others."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        mean = self.scale * inputs.mean(dim=(1, 2, 3))
        return torch.stack([-mean, mean, *[torch.full_like(mean, -99)] * 8], dim=1)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return datasets.make("digits_finetune")


@pytest.fixture(scope="module")
def candidates() -> Candidates:
    return digits_finetune.candidates(copies=3)


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def test_no_split_has_an_image_from_which_mistakes_are_made(data):
    unshifted = digits_finetune.candidates(copies=1, shift=digits_finetune.Shift())
    pool = rows(unshifted.images.images)
    assert len(pool) == 300
    for split in (data.train, data.tuning, data.test):
        assert not pool & rows(split.images)
    digits = datasets.make("digits", tuning_size=300, test_size=400)
    assert rows(digits.train.images) == rows(data.train.images) | pool
    for ours, theirs in ((data.tuning, digits.tuning), (data.test, digits.test)):
        assert torch.equal(ours.images, theirs.images)
    assert (len(data.train), len(data.tuning), len(data.test)) == (797, 300, 400)


def test_candidates_are_copies_with_their_original_and_label(candidates):
    assert len(candidates) == 900
    assert torch.bincount(candidates.images.labels).min() > 60
    copies = candidates.sources.unique(return_counts=True)[1]
    assert copies.tolist() == [3] * 300
    assert torch.equal(candidates.images.labels[0::3], candidates.images.labels[2::3])
    assert len(rows(candidates.images.images)) == 900
    again = digits_finetune.candidates(copies=3)
    assert torch.equal(again.images.images, candidates.images.images)


def test_mistakes_are_exactly_what_the_model_gets_wrong(data, candidates):
    model = Brightness().train()
    found = mistakes(model, data, candidates)
    means = (candidates.images.images.double() - data.mean[0]).mean(dim=(1, 2, 3))
    answers = (means > 0).long()
    wrong = answers != candidates.images.labels
    assert 0 < int((~wrong).sum()) < 200
    assert torch.equal(found.images.images, candidates.images.images[wrong])
    assert torch.equal(found.sources, candidates.sources[wrong])
    assert model.training
    right = candidates.select(~wrong)
    with pytest.raises(InputError, match=f"none of {len(right)} candidates wrong"):
        mistakes(model, data, right)


def some(counts: list[int]) -> Candidates:
    """Originals with that many copies each; every copy has a colour of its own."""
    sources = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    order = torch.randperm(len(sources), generator=generator("some"))
    images = torch.arange(len(sources)).to(torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    return Candidates(Split(images, torch.zeros(len(sources), dtype=torch.int64)), sources[order])


def test_training_and_evaluation_share_no_original():
    found = some([1, 2, 3, 4, 5, 1, 2, 3, 4, 5])
    for size in (1, 4, 9):
        training, evaluation = divide(found, size, "test", size)
        assert len(evaluation) == size
        assert len(set(evaluation.sources.tolist())) == size  # one copy of each: edits that are independent
        assert not set(training.sources.tolist()) & set(evaluation.sources.tolist())
        assert len(set(training.sources.tolist())) == 10 - size
        kept = sum(count for original, count in enumerate([1, 2, 3, 4, 5] * 2) if original in training.sources)
        assert len(training) == kept
        assert not rows(training.images.images) & rows(evaluation.images.images)


def test_every_copy_of_an_original_may_be_the_one_that_is_evaluated():
    found = some([6] * 30)
    colours = {int(divide(found, 29, "axes", number)[1].images.images[0, 0, 0, 0]) for number in range(40)}
    assert len(colours) > 4
    counts = torch.zeros(len(found))
    for number in range(200):
        evaluation = divide(found, 10, "many", number)[1]
        counts[evaluation.images.images[:, 0, 0, 0].long()] += 1
    assert counts.sum() == 2000
    assert counts.min() > 0


def test_the_division_depends_on_its_axes_alone():
    found = some([3] * 20)
    one, two, other = (divide(found, 15, "axes", number)[1] for number in (0, 0, 1))
    assert torch.equal(one.images.images, two.images.images)
    assert not torch.equal(one.images.images, other.images.images)


@pytest.mark.parametrize("size", [0, -1, 20, 60, True])
def test_a_size_that_leaves_nothing_is_refused(size):
    with pytest.raises(InputError, match=f"leave some of 20 originals for training, not {size}"):
        divide(some([3] * 20), size, "axes")
