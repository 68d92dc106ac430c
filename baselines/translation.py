"""Training a translator: token batches, checkpoints to resume from, and the choice of the epoch to keep."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.checkpoints import load_state, save_state
from baselines.training import CHECKPOINT
from benchmarks.errors import InputError
from benchmarks.seeds import generator, seed
from benchmarks.translation.batches import by_tokens, previous_tokens, rows
from benchmarks.translation.corpus import Corpus, Sentences
from benchmarks.translation.model import Translator
from benchmarks.translation.randomness import drawn_from
from benchmarks.translation.toolkit import fairseq
from editors.contract import evaluation_mode


@dataclass(frozen=True)
class TranslationPlan:
    """How long and how fast to train: Adam (0.9, 0.98) on a learning rate that rises linearly for ``warmup`` steps
    and then falls with the inverse square root of the step (Vaswani et al., 2017). Defaults are the paper's.

    :ivar epochs: at most; training ends earlier after ``patience`` epochs without a smaller validation loss.
    :ivar tokens: most target tokens of a batch, what fills up rows included.
    :ivar clip_norm: largest norm of a step's gradient; None for no limit.
    :ivar mixed_precision: on a GPU, matrix products in bfloat16 (never those of an edit); a CPU computes in float32.
    """

    epochs: int
    lr: float = 5e-4
    warmup: int = 4000
    tokens: int = 4096
    patience: int = 5
    weight_decay: float = 1e-4
    smoothing: float = 0.1
    clip_norm: float | None = None
    mixed_precision: bool = True

    def factor(self, done: int) -> float:
        """What multiplies the learning rate after ``done`` steps."""
        step = done + 1
        return min(step / max(self.warmup, 1), math.sqrt(max(self.warmup, 1) / step))


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


@dataclass(frozen=True)
class TranslationEpoch:
    """Averages of one epoch, counted from 1; losses in nats per target token.

    :ivar train_loss: over the batches, as it was minimised; ``parts`` what else the objective logs.
    :ivar valid_loss: cross-entropy without smoothing, on the validation pairs at the end of the epoch.
    """

    epoch: int
    train_loss: float
    valid_loss: float
    parts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedTranslator:
    """The model as it was after the epoch with the smallest validation loss.

    :ivar seconds: wall time of the epochs run by this process.
    """

    model: Translator
    kept: TranslationEpoch
    history: tuple[TranslationEpoch, ...]
    seconds: float


def token_loss(logits: Tensor, target: Tensor, pad: int, smoothing: float) -> Tensor:
    """fairseq's label-smoothed cross-entropy of ``target (B, T)``, in nats per token that is not padding."""
    smoothed = fairseq().criterions.label_smoothed_cross_entropy.label_smoothed_nll_loss
    total, _ = smoothed(logits.log_softmax(dim=-1), target, smoothing, ignore_index=pad)
    return total / target.ne(pad).sum()


def train(
    model: Translator,
    objective: TranslationObjective,
    corpus: Corpus,
    plan: TranslationPlan,
    folder: Path,
    axes: tuple[str | int, ...],
    on_epoch: Callable[[TranslationEpoch], None] = lambda epoch: None,
) -> TrainedTranslator:
    """Train ``model`` in place and return it as it was after the epoch with the smallest validation loss.

    After every epoch a checkpoint goes to ``folder``; a training that finds one of its own continues there and ends
    with the same weights as an unbroken one.

    :param axes: what everything random depends on: suite seed, benchmark, training, repetition.
    :raises InputError: if a sentence is longer than the model has positions, the loss stops being a number, or the
        checkpoint cannot be read.
    """
    model.check_length(*corpus.train.source_numbers, *corpus.train.target_numbers)
    model.check_length(*corpus.valid.source_numbers, *corpus.valid.target_numbers)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=plan.lr, betas=(0.9, 0.98), weight_decay=plan.weight_decay, fused=True
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, plan.factor)
    identity = _identity(model, objective, corpus, plan, axes)
    state = load_state(folder / CHECKPOINT)
    history: list[TranslationEpoch] = []
    kept = copy.deepcopy(model.state_dict())
    if state is not None and state.get("identity") == identity:
        history, kept = [TranslationEpoch(**epoch) for epoch in state["history"]], state["kept"]
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
    for epoch in history:
        on_epoch(epoch)
    began = time.perf_counter()
    while len(history) < plan.epochs and not _is_over(history, plan.patience):
        number = len(history) + 1
        batches = epoch_batches(model, corpus.train, plan.tokens, (*axes, "epoch", number))
        try:
            loss, parts = _run_epoch(model, objective, batches, optimizer, scheduler, plan)
            history.append(TranslationEpoch(number, loss, validation_loss(model, corpus.valid), parts))
        except FloatingPointError as problem:
            there = f"{folder / CHECKPOINT} keeps epoch {number - 1}" if history else "no epoch was completed"
            raise InputError(
                f"{problem} of epoch {number}; lower the learning rate (now {plan.lr:g}); {there}"
            ) from problem
        if _best(history) is history[-1]:
            kept = copy.deepcopy(model.state_dict())
        state = {"identity": identity, "history": [asdict(epoch) for epoch in history], "kept": kept}
        state |= {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        save_state(folder / CHECKPOINT, state | {"scheduler": scheduler.state_dict()})
        on_epoch(history[-1])
    model.load_state_dict(kept)
    return TrainedTranslator(model.eval(), _best(history), tuple(history), time.perf_counter() - began)


def epoch_batches(model: Translator, sentences: Sentences, tokens: int, axes: tuple[str | int, ...]) -> Iterator[Batch]:
    """One pass through the pairs in batches of like length, in an order that ``axes`` decide."""
    source = generator(*axes, "batches")
    lengths = [max(map(len, pair)) for pair in zip(sentences.source_numbers, sentences.target_numbers, strict=True)]
    # Equal lengths are told apart by chance, so that batches differ from epoch to epoch.
    mixed = torch.randperm(len(lengths), generator=source).tolist()
    batches = list(by_tokens([lengths[place] for place in mixed], range(len(mixed)), tokens))
    for number in torch.randperm(len(batches), generator=source).tolist():
        chosen = [mixed[place] for place in batches[number]]
        yield batch_of(model, sentences, chosen, seed(*axes, "step", number))


def batch_of(model: Translator, sentences: Sentences, chosen: list[int], seed: int = 0) -> Batch:
    """The ``chosen`` pairs, on the model's device."""
    device = next(model.parameters()).device
    source, target = (
        rows([side[number] for number in chosen], model.pad).to(device)
        for side in (sentences.source_numbers, sentences.target_numbers)
    )
    return Batch(source, previous_tokens(target, model.target.end, model.pad), target, seed)


def validation_loss(model: Translator, sentences: Sentences, tokens: int = 8000) -> float:
    """Cross-entropy in nats per target token, in evaluation mode."""
    lengths = [len(target) for target in sentences.target_numbers]
    total = 0.0
    with torch.no_grad(), evaluation_mode(model):
        for chosen in by_tokens(lengths, range(len(sentences)), tokens):
            batch = batch_of(model, sentences, chosen)
            count = sum(lengths[number] for number in chosen)
            total += count * float(token_loss(model(batch.source, batch.previous), batch.target, model.pad, 0.0))
    loss = total / sum(lengths)
    if not math.isfinite(loss):
        raise FloatingPointError(f"the validation loss became {loss} at the end")
    return loss


def _run_epoch(
    model: Translator,
    objective: TranslationObjective,
    batches: Iterator[Batch],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    plan: TranslationPlan,
) -> tuple[float, dict[str, float]]:
    """Mean loss and means of the objective's parts over one pass through the pairs, each batch by its tokens.

    :raises FloatingPointError: naming the step, if the loss stops being a number.
    """
    model.train()
    device = next(model.parameters()).device
    mixed = plan.mixed_precision and device.type == "cuda"
    sums: dict[str, float] = {}
    total = count = 0.0
    for done, batch in enumerate(batches, start=1):
        optimizer.zero_grad(set_to_none=True)
        with drawn_from(batch.seed, "dropout", device=device), torch.autocast(device.type, torch.bfloat16, mixed):
            losses = objective(model, batch, plan.smoothing)
        losses.total.backward()
        if plan.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), plan.clip_norm)
        optimizer.step()
        scheduler.step()
        loss, tokens = float(losses.total.detach()), int(batch.target.ne(model.pad).sum())
        if not math.isfinite(loss):
            raise FloatingPointError(f"the training loss became {loss} at step {done}")
        total, count = total + loss * tokens, count + tokens
        for name, value in losses.parts.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach()) * tokens
    return total / count, {name: value / count for name, value in sums.items()}


def _best(history: list[TranslationEpoch]) -> TranslationEpoch:
    return min(history, key=lambda epoch: epoch.valid_loss)


def _is_over(history: list[TranslationEpoch], patience: int) -> bool:
    return bool(history) and history[-1].epoch - _best(history).epoch >= patience


def _identity(
    model: Translator,
    objective: TranslationObjective,
    corpus: Corpus,
    plan: TranslationPlan,
    axes: tuple[str | int, ...],
) -> str:
    """A hash of all that decides how a training ends: two with the same may share a checkpoint."""
    described = [asdict(model.architecture), objective.settings, corpus.fingerprint, asdict(plan), list(axes)]
    digest = hashlib.sha256(json.dumps(described).encode())
    for name, value in model.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
