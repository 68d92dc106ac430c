"""Training of translators: the plan, the batches of sentence pairs, the base loss; and translators as files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.model_files import Description, load
from baselines.training import Axes, Epoch, Losses, Objective, Pass, Plan, Source
from benchmarks.errors import InputError
from benchmarks.seeds import generator, seed
from benchmarks.translation.batches import by_tokens, previous_tokens, rows
from benchmarks.translation.corpus import Corpus, Sentences
from benchmarks.translation.model import Architecture, Translator
from benchmarks.translation.parts import attention_of_training
from benchmarks.translation.toolkit import fairseq
from editors.devices import sent
from editors.forward import evaluation_mode


@dataclass(frozen=True, kw_only=True)
class TranslationPlan(Plan):
    """Length and speed of a training: Adam (0.9, 0.98) on a learning rate that rises linearly for ``warmup`` steps and
    then falls with the inverse square root of the step (Vaswani et al., 2017). Defaults are the paper's.

    :ivar epochs: at most; training ends earlier after ``patience`` epochs without a smaller validation loss.
    :ivar tokens: most target tokens of a batch, what fills up rows included.
    :ivar smoothing: of the labels, see :func:`token_loss`.
    :ivar mixed_precision: on a GPU, matrix products in bfloat16 (never those of an edit); a CPU computes in float32.
    """

    lr: float = 5e-4
    warmup: int = 4000
    tokens: int = 4096
    patience: int = 5
    weight_decay: float = 1e-4
    smoothing: float = 0.1
    mixed_precision: bool = True

    def factor(self, done: int, steps: int | None = None) -> float:
        step = done + 1
        return min(step / max(self.warmup, 1), math.sqrt(max(self.warmup, 1) / step))

    def make_optimizer(self, old: list[nn.Parameter], new: list[nn.Parameter]) -> torch.optim.Optimizer:
        settings = {"lr": self.lr, "betas": (0.9, 0.98), "weight_decay": self.weight_decay}
        return torch.optim.AdamW(old + new, **settings, fused=True)

    def mixes_on(self, device: torch.device) -> bool:
        return self.mixed_precision and device.type == "cuda"


@dataclass(frozen=True, eq=False)
class Batch:
    """Sentence pairs ``source (B, S)``, ``target (B, T)``, the ``previous (B, T)`` token of each target token, and the
    seed of everything random about them.

    :ivar size: the number of target tokens that are not padding.
    """

    source: Tensor
    previous: Tensor
    target: Tensor
    size: int
    seed: int


class SentencePairs(Source):
    """The training pairs of ``corpus`` for ``model``; the smallest loss on the validation pairs chooses the epoch.

    The score is ``valid_loss``, the cross-entropy without smoothing, in nats per target token.

    :raises InputError: if a sentence is longer than the model has positions.
    """

    def __init__(self, corpus: Corpus, model: Translator) -> None:
        for split in (corpus.train, corpus.valid):
            model.check_length(*split.source_numbers, *split.target_numbers)
        self._corpus, self._model = corpus, model

    @property
    def identity(self) -> list[Any]:
        return [self._corpus.fingerprint, asdict(self._model.architecture)]

    def steps(self, plan: TranslationPlan) -> None:
        return None

    def epoch(self, plan: TranslationPlan, axes: Axes, state: Mapping[str, Any] | None = None) -> Pass:
        """A pass through the pairs in batches of like length, whose order follows from ``axes``."""
        pairs = self._corpus.train
        batches = _drawn(pairs, plan.tokens, axes)

        def draw(number: int) -> Batch:
            return batch_of(self._model, pairs, batches[number], seed(*axes, "step", number))

        return Pass(len(batches), draw, state)

    def evaluate(self, model: Translator, finished: Pass) -> tuple[dict[str, float], None]:
        return {"valid_loss": validation_loss(model, self._corpus.valid)}, None

    def kept(self, history: Sequence[Epoch]) -> int:
        return min(range(len(history)), key=lambda place: history[place].scores["valid_loss"])


def batch_of(model: Translator, sentences: Sentences, chosen: list[int], seed: int = 0) -> Batch:
    """The ``chosen`` pairs, on the model's device."""
    device = next(model.parameters()).device
    source, target = (
        sent(rows([side[number] for number in chosen], model.pad), device)
        for side in (sentences.source_numbers, sentences.target_numbers)
    )
    size = sum(len(sentences.target_numbers[number]) for number in chosen)
    return Batch(source, previous_tokens(target, model.target.end, model.pad), target, size, seed)


def _drawn(sentences: Sentences, tokens: int, axes: Axes) -> list[list[int]]:
    """Numbers of the pairs of every batch."""
    source = generator(*axes, "batches")
    lengths = [max(map(len, pair)) for pair in zip(sentences.source_numbers, sentences.target_numbers, strict=True)]
    # Equal lengths are told apart by chance, so that batches differ from epoch to epoch.
    mixed = torch.randperm(len(lengths), generator=source).tolist()
    batches = list(by_tokens([lengths[place] for place in mixed], range(len(mixed)), tokens))
    order = torch.randperm(len(batches), generator=source).tolist()
    return [[mixed[place] for place in batches[number]] for number in order]


def validation_loss(model: Translator, sentences: Sentences, tokens: int = 8000) -> float:
    """Cross-entropy in nats per target token, in evaluation mode.

    :raises FloatingPointError: if it is not a number.
    """
    lengths = [len(target) for target in sentences.target_numbers]
    total = 0.0
    with torch.no_grad(), evaluation_mode(model):
        for chosen in by_tokens(lengths, range(len(sentences)), tokens):
            batch = batch_of(model, sentences, chosen)
            total += batch.size * float(token_loss(model(batch.source, batch.previous), batch.target, model.pad, 0.0))
    loss = total / sum(lengths)
    if not math.isfinite(loss):
        raise FloatingPointError(f"the validation loss became {loss} at the end")
    return loss


class LabelSmoothed(Objective):
    """Plain training: the label-smoothed cross-entropy of the target tokens, in nats per token."""

    def __init__(self, smoothing: float) -> None:
        super().__init__()
        self.smoothing = smoothing

    def forward(self, model: Translator, batch: Batch) -> Losses:
        with attention_of_training(batch.source.device):
            logits = model(batch.source, batch.previous)
        return Losses(token_loss(logits, batch.target, model.pad, self.smoothing))


def token_loss(logits: Tensor, target: Tensor, pad: int, smoothing: float) -> Tensor:
    """fairseq's label-smoothed cross-entropy of ``target (B, T)``, in nats per token that is not padding."""
    smoothed = fairseq().criterions.label_smoothed_cross_entropy.label_smoothed_nll_loss
    total, _ = smoothed(logits.log_softmax(dim=-1), target, smoothing, ignore_index=pad)
    return total / target.ne(pad).sum()


@dataclass(frozen=True)
class TranslatorDescription(Description):
    """The description of a translator.

    :ivar architecture: as :class:`benchmarks.translation.model.Architecture` takes it.
    :ivar valid_loss: of the epoch that was kept, in nats per token.
    :ivar corpus: fingerprint of the corpus it was trained on, vocabularies included.
    """

    architecture: dict[str, Any]
    training: str
    epoch: int
    epochs: int
    valid_loss: float
    corpus: str
    fingerprint: str = ""

    @property
    def data(self) -> str:
        return self.corpus


def load_translator(folder: Path, corpus: Corpus, device: torch.device | str = "cpu") -> Translator:
    """Load a translator, in evaluation mode.

    :raises InputError: if it is missing, broken, or was trained with the vocabularies of another run.
    """

    def build(description: TranslatorDescription) -> Translator:
        if description.corpus != corpus.fingerprint:
            raise InputError(
                f"{folder} was trained on another corpus than the one prepared, or its vocabulary: train again"
            )
        return Translator(Architecture(**description.architecture), corpus.source, corpus.target)

    return load(folder, TranslatorDescription, build, device)[0]
