"""The training loop: epochs, checkpoints to resume from, and the choice of the epoch to keep."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines import precision
from baselines.checkpointing import Checkpoints
from baselines.epochs import Pass, run
from baselines.objectives import Objective
from benchmarks.data.dataset import Dataset, Split
from benchmarks.errors import InputError
from benchmarks.networks.model_split import activations
from benchmarks.networks.raw_images import Front

_SIGNIFICANT = 0.05
_MOMENTUM = 0.9
_RISING = 0.15  # share of all steps during which a triangular schedule rises


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast to train.

    :ivar optimizer: ``adam`` with its default moments (section 4.1), or ``sgd`` with momentum 0.9 (section 4.3).
    :ivar lr_new: learning rate of new parameters, those of the objective among them; None for that of all others.
    :ivar schedule: ``constant`` (the paper's), ``cosine`` down to zero over all steps, or ``triangular``: linearly up
        during the first 15 % of all steps, and linearly down to zero during the others.
    :ivar clip_norm: largest norm of a step's gradient, over the parameters of model and objective together; a longer
        one is shortened to it. None for no limit.
    :ivar mixed_precision: convolutions and matrix products in bfloat16 (``torch.autocast``). Losses are computed in
        float32 from answers of bfloat16's three digits; weights, their updates and the edits' own steps are float32.
        A processor without bfloat16 emulates it, many times slower.
    :ivar cutout: side, in pixels, of a square of zeros at a random place of every normalised image; None for no square.
    """

    epochs: int
    batch_size: int
    lr: float
    schedule: str = "constant"
    clip_norm: float | None = None
    optimizer: str = "adam"
    lr_new: float | None = None
    mixed_precision: bool = False
    cutout: int | None = None

    def factor(self, progress: float) -> float:
        """What multiplies the learning rate after a share ``progress`` (0 to 1) of all steps."""
        if self.schedule == "triangular":
            return min(progress / _RISING, (1 - progress) / (1 - _RISING))
        return 1.0 if self.schedule == "constant" else 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Epoch:
    """Averages of one epoch. Errors in percent, losses in nats.

    :ivar epoch: counted from 1.
    :ivar train_loss, train_error: over the epoch's augmented batches, while the weights change.
    :ivar tuning_loss, tuning_error: on the tuning split, at the end of the epoch.
    :ivar parts: what else the objective logs, averaged over the epoch.
    """

    epoch: int
    train_loss: float
    train_error: float
    tuning_loss: float
    tuning_error: float
    parts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """The model as it was after the epoch that is kept, and the epochs that led there.

    :ivar seconds: wall time, that of processes that were killed included.
    """

    model: nn.Module
    kept: Epoch
    history: tuple[Epoch, ...]
    seconds: float


def train(
    model: nn.Module,
    objective: Objective,
    dataset: Dataset,
    plan: TrainingPlan,
    folder: Path,
    axes: tuple[str | int, ...],
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_step: Callable[[int], None] = lambda done: None,
    new: Collection[str] = (),
) -> Trained:
    """Train ``model`` in place and return it as it was after the epoch that the tuning split chooses.

    That is the last epoch that is not significantly worse than the best one (McNemar's exact test at 5 %, on the images
    that only one of the two gets wrong). The very smallest error is mostly luck, on a few hundred images at least, and
    an early epoch that had it has learned less of what the error does not show, such as being edited.

    After every epoch, and every few minutes within one, a checkpoint goes to ``folder``; a training that finds one of
    its own continues there and ends with the same weights as an unbroken one. A checkpoint made with other initial
    weights, data, settings or axes is not used.

    :param axes: what everything random depends on: suite seed, benchmark, training, repetition.
    :param on_epoch: called for each epoch, those restored from a checkpoint included.
    :param on_step: called with the number of steps done in this epoch.
    :param new: names of the model's parameters that the model it goes on from did not have.
    :raises InputError: if the loss stops being a number, or if the checkpoint cannot be read.
    """
    device = next(model.parameters()).device
    images = Split(dataset.train.images.to(device), dataset.train.labels.to(device))
    trained = nn.ModuleList([model, objective.to(device)])
    optimizer = _optimizer(model, objective, plan, new)
    steps = -(-len(images) // plan.batch_size)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: plan.factor(done / (plan.epochs * steps)))
    identity = _identity(trained, dataset, plan, (*axes, *sorted(new)))
    checkpoints = Checkpoints(folder, identity, {"trained": trained, "optimizer": optimizer, "scheduler": scheduler})
    batches = {"cutout": plan.cutout, "memory_format": precision.memory_format(plan.mixed_precision)}
    trained.to(memory_format=batches["memory_format"])
    restored = checkpoints.restore()
    history = [Epoch(**epoch) for epoch in restored["history"]] if restored else []
    wrong = list(restored["wrong"]) if restored else []
    kept = restored["kept"] if restored else {}  # the first epoch will be
    within = restored.get("pass") if restored else None
    for epoch in history:
        on_epoch(epoch)

    def state(passed: Pass | None = None) -> dict[str, Any]:
        masks = torch.stack(wrong) if wrong else []
        epochs = [asdict(epoch) for epoch in history]
        return {"history": epochs, "kept": kept, "wrong": masks, "pass": passed.state() if passed else None}

    for number in range(len(history) + 1, plan.epochs + 1):
        passed = Pass(dataset, images, steps, (*axes, "epoch", number), within, **batches)

        def after_step(passed: Pass = passed) -> None:
            if passed.done < passed.steps:
                checkpoints.within_epoch(partial(state, passed))
            on_step(passed.done)

        try:
            run(passed, model, objective, optimizer, scheduler, plan.clip_norm, plan.mixed_precision, after_step)
            within = None
            tuning_loss, mask = _answers(model, dataset, dataset.tuning, 500)
            if not math.isfinite(tuning_loss):
                raise FloatingPointError(f"the tuning loss became {tuning_loss} at the end")
        except FloatingPointError as problem:
            raise InputError(
                f"{problem} of epoch {number}; lower the learning rate (now {plan.lr:g}); "
                f"{checkpoints.kept(len(history))}"
            ) from problem
        loss, parts = passed.means()
        history.append(Epoch(number, loss, passed.error, tuning_loss, _percent(mask), parts))
        wrong.append(mask)
        if _kept(wrong) == len(wrong) - 1:
            kept = copy.deepcopy(trained.state_dict())
            kept.update({name: value.contiguous() for name, value in kept.items()})
        checkpoints.after_epoch(state())
        on_epoch(history[-1])
    trained.to(memory_format=torch.contiguous_format).load_state_dict(kept)
    return Trained(model.eval(), history[_kept(wrong)], tuple(history), checkpoints.seconds)


def evaluate(model: nn.Module, dataset: Dataset, images: Split, chunk: int = 500) -> tuple[float, float]:
    """Mean cross-entropy in nats and error in percent of ``model`` on a split."""
    loss, wrong = _answers(model, dataset, images, chunk)
    return loss, _percent(wrong)


def _answers(model: nn.Module, dataset: Dataset, images: Split, chunk: int) -> tuple[float, Tensor]:
    """Mean cross-entropy in nats, and which images ``(N,)`` are answered wrong."""
    logits = activations(Front(dataset, model, model), images.images, chunk)
    labels = images.labels.to(logits.device)
    loss = nn.functional.cross_entropy(logits, labels)
    return float(loss), (logits.argmax(dim=1) != labels).cpu()


def _percent(wrong: Tensor) -> float:
    return 100.0 * float(wrong.double().mean())


def _optimizer(
    model: nn.Module, objective: Objective, plan: TrainingPlan, new: Collection[str]
) -> torch.optim.Optimizer:
    """Over all that is trained, new parameters in a group of their own if they have a learning rate of their own."""
    old = [value for name, value in model.named_parameters() if name not in new]
    fresh = [value for name, value in model.named_parameters() if name in new]
    fresh += objective.parameters()
    rates = [(old, plan.lr), (fresh, plan.lr_new)] if plan.lr_new is not None else [(old + fresh, plan.lr)]
    groups = [{"params": [value for value in values if value.requires_grad], "lr": rate} for values, rate in rates]
    groups = [group for group in groups if group["params"]]
    if plan.optimizer == "sgd":
        # Not fused: that stumbles over a parameter whose first gradient comes later than the others', as the editor's
        # does when the first edit is trivial.
        return torch.optim.SGD(groups, lr=plan.lr, momentum=_MOMENTUM)
    return torch.optim.Adam(groups, lr=plan.lr, fused=True)


def _kept(wrong: Sequence[Tensor]) -> int:
    """Position of the last epoch that is not significantly worse than the best, from masks ``(N,)`` of wrong answers.

    An epoch that is kept stays so until another one is: a better best can only be a later one.
    """
    best = min(wrong, key=lambda mask: int(mask.sum()))
    return max(place for place, mask in enumerate(wrong) if _mcnemar(mask, best) > _SIGNIFICANT)


def _mcnemar(one: Tensor, other: Tensor) -> float:
    """p-value of the exact test that two classifiers are as often right, from masks ``(N,)`` of their wrong answers."""
    from scipy import stats  # takes a second: only for whoever trains

    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    return float(stats.binomtest(only_one, only_one + only_other).pvalue) if only_one + only_other else 1.0


def _identity(trained: nn.ModuleList, dataset: Dataset, plan: TrainingPlan, axes: tuple[str | int, ...]) -> str:
    """A hash of all that decides how a training ends: two with the same may share a checkpoint."""
    _, objective = trained
    settings = {name: value for name, value in vars(objective).items() if isinstance(value, str | int | float)}
    described = [str(trained), settings, dataset.fingerprint(), asdict(plan), list(axes)]
    digest = hashlib.sha256(json.dumps(described).encode())
    for name, value in trained.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
