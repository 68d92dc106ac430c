"""What a translator is trained to do: a batch of sentence pairs, and the losses that an objective makes of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from benchmarks.translation.model import Translator
from benchmarks.translation.toolkit import fairseq


@dataclass(frozen=True, eq=False)
class Batch:
    """Sentence pairs ``source (B, S)``, ``target (B, T)``, the ``previous (B, T)`` token of each target token, and the
    seed of everything random about them.
    """

    source: Tensor
    previous: Tensor
    target: Tensor
    seed: int


@dataclass(frozen=True, eq=False)
class TranslationLosses:
    """What an objective makes of a batch: the scalar to minimise, per target token, and further ones to log."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


class TranslationObjective(ABC):
    """``objective(model, batch, smoothing) -> TranslationLosses``; the model is in training mode."""

    @abstractmethod
    def __call__(self, model: Translator, batch: Batch, smoothing: float) -> TranslationLosses:
        """The losses of one batch."""

    @property
    @abstractmethod
    def settings(self) -> Any:
        """All that decides about it, as JSON: a part of a checkpoint's identity."""


class LabelSmoothed(TranslationObjective):
    """Plain training: the label-smoothed cross-entropy of the target tokens."""

    settings = "label-smoothed cross-entropy"

    def __call__(self, model: Translator, batch: Batch, smoothing: float) -> TranslationLosses:
        return TranslationLosses(token_loss(model(batch.source, batch.previous), batch.target, model.pad, smoothing))


def token_loss(logits: Tensor, target: Tensor, pad: int, smoothing: float) -> Tensor:
    """fairseq's label-smoothed cross-entropy of ``target (B, T)``, in nats per token that is not padding."""
    smoothed = fairseq().criterions.label_smoothed_cross_entropy.label_smoothed_nll_loss
    total, _ = smoothed(logits.log_softmax(dim=-1), target, smoothing, ignore_index=pad)
    return total / target.ne(pad).sum()
