"""Which images are edited where fewer are asked for than there are."""

from types import SimpleNamespace

import pytest
import torch

from benchmarks.data.candidates import Candidates
from benchmarks.data.dataset import Split
from pipelines.tasks.images import edits

LABELS = torch.arange(10).repeat_interleave(20)
"""In the order of their classes, as the folders of Tiny ImageNet and ImageNet-A are read."""


@pytest.fixture
def mistakes(monkeypatch: pytest.MonkeyPatch) -> Split:
    found = Split(torch.arange(200, dtype=torch.uint8).view(200, 1, 1, 1).expand(-1, 1, 8, 8).clone(), LABELS)
    division = SimpleNamespace(evaluation=Candidates(found, torch.arange(200)))
    monkeypatch.setattr(edits, "divide", lambda *_: division)
    return found


def edited(count: int | None, seed: int = 0) -> tuple[list[int], list[int]]:
    """Which of the mistakes, and the labels that they get."""
    asked = edits.to_true_labels(
        SimpleNamespace(seed=seed, training_seeds=[0]), "mine", SimpleNamespace(test=None), count
    )
    return asked.images.images[:, 0, 0, 0].tolist(), asked.images.labels.tolist()


def test_some_of_the_mistakes_are_drawn_and_not_the_first_classes_taken(mistakes):
    places, labels = edited(50)
    assert len(set(places)) == 50
    assert labels == LABELS[places].tolist()
    assert set(labels) == set(range(10))
    assert edited(50) == (places, labels)
    assert edited(50, seed=1)[0] != places


@pytest.mark.parametrize("count", [None, 200, 1000])
def test_all_of_them_stay_in_their_order(mistakes, count):
    assert edited(count) == (list(range(200)), LABELS.tolist())
