"""One pass through the sentence pairs, which can be left after any step and gone on with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from baselines import precision
from baselines.meters import Counted
from baselines.translation_objectives import Batch, TranslationLosses, TranslationObjective
from benchmarks.seeds import generator, seed
from benchmarks.translation.batches import by_tokens, previous_tokens, rows
from benchmarks.translation.corpus import Sentences
from benchmarks.translation.model import Translator
from benchmarks.translation.randomness import drawn_from


class Pass(Counted):
    """All pairs once, in batches of like length and at most ``tokens`` target tokens, and the sums so far.

    :param axes: what everything random depends on, the epoch included.
    :ivar steps: those of the whole pass.
    """

    def __init__(
        self,
        model: Translator,
        sentences: Sentences,
        tokens: int,
        axes: tuple[str | int, ...],
        state: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(state)
        self._model, self._sentences, self._axes = model, sentences, axes
        self._batches = _drawn(sentences, tokens, axes)
        self.steps = len(self._batches)

    def batches(self) -> Iterator[Batch]:
        """Those that are left."""
        for number in range(self.done, self.steps):
            yield batch_of(self._model, self._sentences, self._batches[number], seed(*self._axes, "step", number))

    def add(self, batch: Batch, losses: TranslationLosses) -> None:
        """Count a step that was made, by its tokens.

        :raises FloatingPointError: naming the step, if its loss is not a number.
        """
        self.count(int(batch.target.ne(self._model.pad).sum()), losses.total, losses.parts)


def run(
    passed: Pass,
    model: Translator,
    objective: TranslationObjective,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    clip_norm: float | None,
    on_step: Callable[[], None],
    *,
    smoothing: float,
    mixed_precision: bool,
) -> None:
    """Train ``model`` on the batches that are left.

    :param on_step: called after every step.
    :raises FloatingPointError: naming the step, if the loss stops being a number.
    """
    model.train()
    device = next(model.parameters()).device
    mixed = mixed_precision and device.type == "cuda"
    for batch in passed.batches():
        optimizer.zero_grad(set_to_none=True)
        with drawn_from(batch.seed, "dropout", device=device), precision.mixed(device, mixed):
            losses = objective(model, batch, smoothing)
        losses.total.backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
        scheduler.step()
        passed.add(batch, losses)
        on_step()


def batch_of(model: Translator, sentences: Sentences, chosen: list[int], seed: int = 0) -> Batch:
    """The ``chosen`` pairs, on the model's device."""
    device = next(model.parameters()).device
    source, target = (
        rows([side[number] for number in chosen], model.pad).to(device)
        for side in (sentences.source_numbers, sentences.target_numbers)
    )
    return Batch(source, previous_tokens(target, model.target.end, model.pad), target, seed)


def _drawn(sentences: Sentences, tokens: int, axes: tuple[str | int, ...]) -> list[list[int]]:
    """Numbers of the pairs of every batch."""
    source = generator(*axes, "batches")
    lengths = [max(map(len, pair)) for pair in zip(sentences.source_numbers, sentences.target_numbers, strict=True)]
    # Equal lengths are told apart by chance, so that batches differ from epoch to epoch.
    mixed = torch.randperm(len(lengths), generator=source).tolist()
    batches = list(by_tokens([lengths[place] for place in mixed], range(len(mixed)), tokens))
    order = torch.randperm(len(batches), generator=source).tolist()
    return [[mixed[place] for place in batches[number]] for number in order]
