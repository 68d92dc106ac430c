"""The edits of a training step: images, and the labels that they are to get (sections 3.2 and 4.3.1)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from baselines.objectives import Step
from baselines.training import hash_of
from benchmarks.data.candidates import Candidates
from benchmarks.data.dataset import Dataset
from benchmarks.errors import InputError
from benchmarks.scoring.ranks import matched_targets
from benchmarks.seeds import generator
from editors.devices import sent

RANDOM, MATCH_RANKS, MISTAKES = "random", "match_ranks", "mistakes"
NAMES = (RANDOM, MATCH_RANKS, MISTAKES)
"""As in ``targets`` of a training's block."""


class Targets(nn.Module):
    """Draws the edits of a step, from the step's seed alone.

    What they are drawn from shows in ``repr``, which is part of a checkpoint's identity, and is not saved with it.
    """

    def images(self, step: Step, count: int) -> Tensor | None:
        """Inputs ``(count, C, H, W)`` to be edited; None for training images, which the objective draws."""
        return None

    @abstractmethod
    def draw(self, step: Step, answers: Tensor, count: int) -> list[tuple[int, int]]:
        """``count`` places of images to edit, each with the label it is to get.

        :param answers: the unedited model's logits ``(N + M, classes)`` for the batch, and for M = ``count`` images
            behind it that are to be edited. With M = 0, images of the batch are, drawn uniformly.
        """


def _place(step: Step, answers: Tensor, number: int, source: torch.Generator) -> int:
    """Where the image of edit ``number`` stands: behind the batch, or if there is none, anywhere in it."""
    count = len(step.labels)
    return count + number if len(answers) > count else int(torch.randint(count, (), generator=source))


class RandomTargets(Targets):
    """Labels drawn uniformly (section 3.2)."""

    def draw(self, step: Step, answers: Tensor, count: int) -> list[tuple[int, int]]:
        source = generator(step.seed, "edit")
        pairs = []
        for number in range(count):
            place = _place(step, answers, number, source)
            pairs.append((place, int(torch.randint(answers.shape[1], (), generator=source))))
        return pairs


class MatchedRanks(Targets):
    """Labels whose rank among the model's answers to the image is drawn from a distribution (section 4.3.1).

    :param distribution: probabilities of the ranks ``(classes,)``, which true classes have among mistakes.
    """

    def __init__(self, distribution: Tensor) -> None:
        super().__init__()
        self.distribution = distribution.cpu()  # where ranks are drawn, so no buffer: that would follow the model

    def extra_repr(self) -> str:
        return hash_of(self.distribution)

    def draw(self, step: Step, answers: Tensor, count: int) -> list[tuple[int, int]]:
        source = generator(step.seed, "edit")
        pairs = []
        for number in range(count):
            place = _place(step, answers, number, source)
            found = matched_targets(answers[place : place + 1].detach(), self.distribution, source)
            pairs.append((place, int(found)))
        return pairs


class MistakenImages(Targets):
    """Images that a model got wrong, augmented as the batch is, each with its true class (section 4.3.1)."""

    found: Tensor

    def __init__(self, dataset: Dataset, found: Candidates) -> None:
        super().__init__()
        self._dataset = dataset
        self.register_buffer("found", found.images.images, persistent=False)
        self.labels = found.images.labels.cpu()  # where they are drawn

    def extra_repr(self) -> str:
        return hash_of(self.found, self.labels)

    def images(self, step: Step, count: int) -> Tensor:
        chosen = self.found[sent(self._drawn(step, count), self.found.device)]
        augmented = self._dataset.augmentation.apply(chosen, generator(step.seed, "edit", "augmentation"))
        return self._dataset.inputs(augmented)

    def draw(self, step: Step, answers: Tensor, count: int) -> list[tuple[int, int]]:
        labels = self.labels[self._drawn(step, count)].tolist()
        return [(len(step.labels) + number, label) for number, label in enumerate(labels)]

    def _drawn(self, step: Step, count: int) -> Tensor:
        return torch.randint(len(self.labels), (count,), generator=generator(step.seed, "edit"))


def make(name: str, dataset: Dataset, mistakes: Callable[[], Candidates], ranks: Callable[[], Tensor]) -> Targets:
    """The targets of that name; ``mistakes`` and ``ranks`` are called only if they need them.

    :param mistakes: those to train on, never those to be evaluated.
    :param ranks: the distribution of their true classes' ranks, see :func:`benchmarks.scoring.ranks.rank_distribution`.
    :raises InputError: for an unknown name.
    """
    if name == RANDOM:
        return RandomTargets()
    if name == MATCH_RANKS:
        return MatchedRanks(ranks())
    if name == MISTAKES:
        return MistakenImages(dataset, mistakes())
    raise InputError(f"targets must be one of {', '.join(NAMES)}, not {name!r}")
