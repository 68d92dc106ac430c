"""The training loop of a translator: epochs, checkpoints to resume from, and the choice of the epoch to keep."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from baselines.checkpointing import Checkpoints
from baselines.translation_epochs import Pass, batch_of, run
from baselines.translation_objectives import TranslationObjective, token_loss
from benchmarks.errors import InputError
from benchmarks.translation.batches import by_tokens
from benchmarks.translation.corpus import Corpus, Sentences
from benchmarks.translation.model import Translator
from editors.forward import evaluation_mode


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

    :ivar seconds: wall time, that of processes that were killed included.
    """

    model: Translator
    kept: TranslationEpoch
    history: tuple[TranslationEpoch, ...]
    seconds: float


def train(
    model: Translator,
    objective: TranslationObjective,
    corpus: Corpus,
    plan: TranslationPlan,
    folder: Path,
    axes: tuple[str | int, ...],
    on_epoch: Callable[[TranslationEpoch], None] = lambda epoch: None,
    on_step: Callable[[int], None] = lambda done: None,
) -> TrainedTranslator:
    """Train ``model`` in place and return it as it was after the epoch with the smallest validation loss.

    After every epoch, and every few minutes within one, a checkpoint goes to ``folder``; a training that finds one of
    its own continues there and ends with the same weights as an unbroken one.

    :param axes: what everything random depends on: suite seed, benchmark, training, repetition.
    :param on_epoch: called for each epoch, those restored from a checkpoint included.
    :param on_step: called with the number of steps done in this epoch.
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
    checkpoints = Checkpoints(folder, identity, {"model": model, "optimizer": optimizer, "scheduler": scheduler})
    restored = checkpoints.restore()
    history = [TranslationEpoch(**epoch) for epoch in restored["history"]] if restored else []
    kept = restored["kept"] if restored else {}  # the first epoch will be
    within = restored.get("pass") if restored else None
    for epoch in history:
        on_epoch(epoch)

    def state(passed: Pass | None = None) -> dict[str, Any]:
        epochs = [asdict(epoch) for epoch in history]
        return {"history": epochs, "kept": kept, "pass": passed.state() if passed else None}

    while len(history) < plan.epochs and not _is_over(history, plan.patience):
        number = len(history) + 1
        passed = Pass(model, corpus.train, plan.tokens, (*axes, "epoch", number), within)

        def after_step(passed: Pass = passed) -> None:
            if passed.done < passed.steps:
                checkpoints.within_epoch(partial(state, passed))
            on_step(passed.done)

        try:
            settings = {"smoothing": plan.smoothing, "mixed_precision": plan.mixed_precision}
            run(passed, model, objective, optimizer, scheduler, plan.clip_norm, after_step, **settings)
            within = None
            loss, parts = passed.means()
            history.append(TranslationEpoch(number, loss, validation_loss(model, corpus.valid), parts))
        except FloatingPointError as problem:
            raise InputError(
                f"{problem} of epoch {number}; lower the learning rate (now {plan.lr:g}); "
                f"{checkpoints.kept(len(history))}"
            ) from problem
        if _best(history) is history[-1]:
            kept = copy.deepcopy(model.state_dict())
        checkpoints.after_epoch(state())
        on_epoch(history[-1])
    model.load_state_dict(kept)
    return TrainedTranslator(model.eval(), _best(history), tuple(history), checkpoints.seconds)


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
