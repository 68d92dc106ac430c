"""The training loop, the same for every kind of model: epochs, checkpoints to resume from, the epoch that is kept.

It minimises an :class:`Objective` over the batches of a :class:`Source`, as a :class:`Plan` says.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from baselines import precision
from baselines.checkpointing import Checkpoints
from benchmarks.errors import InputError
from benchmarks.seeds import drawn_from

Axes = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Length and speed of a training: Adam with its default moments and a constant learning rate.

    :ivar clip_norm: largest norm of a step's gradient, over the parameters of model and objective together; a longer
        one is shortened to it. None for no limit.
    :ivar mixed_precision: convolutions and matrix products in bfloat16 (``torch.autocast``). Losses are computed in
        float32 from answers of bfloat16's three digits; weights, their updates and the edits' own steps are float32.
        A processor without bfloat16 emulates it, many times slower.
    :cvar patience: training ends after so many epochs that are not kept; None for never.
    """

    epochs: int
    lr: float
    clip_norm: float | None = None
    mixed_precision: bool = False

    patience: ClassVar[int | None] = None

    def factor(self, done: int, steps: int | None) -> float:
        """The factor of the learning rate after ``done`` steps.

        :param steps: those of one epoch, None if it depends on the epoch.
        """
        return 1.0

    def make_optimizer(self, old: list[nn.Parameter], new: list[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of a model's parameters.

        :param new: those of the objective, and those that the model it goes on from did not have.
        """
        return torch.optim.Adam(old + new, lr=self.lr, fused=True)

    def mixes_on(self, device: torch.device) -> bool:
        """Whether steps on ``device`` are computed in mixed precision."""
        return self.mixed_precision


class Batch(Protocol):
    """The data of one step; with ``labels (N,)`` as well, if the objective gives logits.

    :ivar size: its weight in the means of an epoch, such as a number of images.
    :ivar seed: the seed of everything random about the step.
    """

    size: int
    seed: int


@dataclass(frozen=True)
class Losses:
    """The losses of one batch.

    :ivar total: the scalar to minimise.
    :ivar logits: the model's answers ``(N, classes)``, where errors are to be counted.
    :ivar parts: further scalars to log, averaged over an epoch.
    """

    total: Tensor
    logits: Tensor | None = None
    parts: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(nn.Module):
    """``objective(model, batch) -> Losses``; the model is in training mode.

    Parameters of the objective itself are trained along with the model's. Its ``repr``, its state and its attributes
    that are numbers or texts are part of a checkpoint's identity.
    """

    def forward(self, model: nn.Module, batch: Any) -> Losses:
        raise TypeError(f"{type(self).__name__} must define forward(model, batch)")


class Pass:
    """One pass through the training data, which can be left after any step, and means over the steps made so far.

    :param steps: those of the whole pass.
    :param draw: the batch of each step, from the step's number.
    :param state: what :meth:`state` gave in the middle of the same pass, to go on from there.
    :param source: the generator that ``draw`` reads.
    :ivar done: steps made so far.
    """

    def __init__(
        self,
        steps: int,
        draw: Callable[[int], Batch],
        state: Mapping[str, Any] | None = None,
        source: torch.Generator | None = None,
    ) -> None:
        self.steps, self._draw, self._source = steps, draw, source
        self.done, self._weight, self._loss, self._wrong = (state[name] for name in _SUMS) if state else (0, 0, 0.0, 0)
        self._parts: dict[str, float] = dict(state["parts"]) if state else {}
        self._unread: list[_Counted] = []
        if state and source is not None:
            source.set_state(state["draws"])

    def batches(self) -> Iterator[Batch]:
        """The batches that are left. Each is drawn when it is asked for, so :meth:`state` belongs to the last one."""
        return map(self._draw, range(self.done, self.steps))

    def add(self, batch: Any, losses: Losses) -> None:
        """Count a step that was made, by its batch's size.

        :raises FloatingPointError: naming the step, if its loss is not a number; on a GPU, which is not waited for at
            every step, up to 100 steps later.
        """
        self.done += 1
        values = {_LOSS: losses.total.detach()} | {name: part.detach() for name, part in losses.parts.items()}
        if losses.logits is not None:
            values[_WRONG] = (losses.logits.detach().argmax(dim=1) != batch.labels).sum()
        self._unread.append(_Counted(self.done, batch.size, values))
        if len(self._unread) == (_UNREAD if losses.total.is_cuda else 1):
            self._read()

    def _read(self) -> None:
        """Add the numbers of the latest steps to the sums."""
        unread, self._unread = self._unread, []
        numbers = iter(_numbers([value for one in unread for value in one.values.values()]))
        for one in unread:
            found = {name: next(numbers) for name in one.values}
            loss, wrong = found.pop(_LOSS), found.pop(_WRONG, 0)
            if not math.isfinite(loss):
                raise FloatingPointError(f"the training loss became {loss} at step {one.step}")
            self._loss, self._weight = self._loss + loss * one.size, self._weight + one.size
            for name, part in found.items():
                self._parts[name] = self._parts.get(name, 0.0) + part * one.size
            self._wrong += int(wrong)

    def state(self) -> dict[str, Any]:
        """The place in the pass and the sums so far, in types that a checkpoint may hold."""
        self._read()
        sums = dict(zip(_SUMS, (self.done, self._weight, self._loss, self._wrong), strict=True))
        return {**sums, "parts": dict(self._parts), "draws": self._source.get_state() if self._source else None}

    def means(self) -> tuple[float, dict[str, float]]:
        """Mean loss, and means of the other losses that are logged."""
        self._read()
        return self._loss / self._weight, {name: total / self._weight for name, total in self._parts.items()}

    @property
    def error(self) -> float:
        """The error of the answers so far, in percent."""
        self._read()
        return 100.0 * self._wrong / self._weight


_SUMS = ("done", "weight", "loss", "wrong")
_LOSS, _WRONG = "the loss", "wrong answers"  # beside the names of an objective's parts
_UNREAD = 100  # steps whose numbers a GPU keeps for itself


@dataclass(frozen=True)
class _Counted:
    """The numbers of a step, where they were computed."""

    step: int
    size: int
    values: Mapping[str, Tensor]


def _numbers(values: Sequence[Tensor]) -> list[float]:
    """The values of tensors ``()``; a GPU is waited for once."""
    kept = [value.double() for value in values if value.is_cuda]
    brought = iter(torch.stack(kept).tolist() if kept else ())
    return [next(brought) if value.is_cuda else value.item() for value in values]


@dataclass(frozen=True)
class Epoch:
    """Averages of one epoch.

    :ivar epoch: counted from 1.
    :ivar train_loss: over the batches, as it was minimised, while the weights change.
    :ivar scores: measured by the source, by column of history.csv.
    :ivar parts: further losses that the objective logs, averaged over the epoch.
    :ivar answers: whatever else the source compares epochs by, such as a mask of wrong answers.
    """

    epoch: int
    train_loss: float
    scores: Mapping[str, float] = field(default_factory=dict)
    parts: Mapping[str, float] = field(default_factory=dict)
    answers: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    def numbers(self) -> dict[str, float]:
        """A row of history.csv."""
        return {"epoch": self.epoch, "train_loss": self.train_loss, **self.scores, **self.parts}


class Source(ABC):
    """Training data in batches, and held-out data that choose the epoch to keep."""

    @property
    @abstractmethod
    def identity(self) -> Any:
        """A fingerprint of the data, as JSON: part of a checkpoint's identity."""

    @abstractmethod
    def steps(self, plan: Any) -> int | None:
        """The number of steps of every epoch, None if they differ."""

    @abstractmethod
    def epoch(self, plan: Any, axes: Axes, state: Mapping[str, Any] | None = None) -> Pass:
        """A pass through all training data.

        :param axes: everything random depends on these, the epoch included.
        :param state: that of the same pass, if it was left in the middle.
        """

    @abstractmethod
    def evaluate(self, model: nn.Module, finished: Pass) -> tuple[dict[str, float], Tensor | None]:
        """``scores`` and ``answers`` of an :class:`Epoch` at its end.

        :raises FloatingPointError: if a loss is not a number.
        """

    @abstractmethod
    def kept(self, history: Sequence[Epoch]) -> int:
        """The position of the epoch to keep. One that is kept stays so until a later one is."""


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
    source: Source,
    plan: Plan,
    folder: Path,
    axes: Axes,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_step: Callable[[int], None] = lambda done: None,
    new: Collection[str] = (),
) -> Trained:
    """Train ``model`` in place and return it as it was after the epoch that ``source`` chooses.

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
    trained = nn.ModuleList([model, objective.to(device)])
    optimizer = plan.make_optimizer(*_parameters(model, objective, new))
    steps = source.steps(plan)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: plan.factor(done, steps))
    identity = _identity(trained, source, plan, (*axes, *sorted(new)))
    checkpoints = Checkpoints(folder, identity, {"trained": trained, "optimizer": optimizer, "scheduler": scheduler})
    trained.to(memory_format=precision.memory_format(plan.mixes_on(device)))
    restored = checkpoints.restore()
    history = [Epoch(**epoch) for epoch in restored["history"]] if restored else []
    kept = restored["kept"] if restored else {}  # the first epoch will be
    within = restored["pass"] if restored else None
    for epoch in history:
        on_epoch(epoch)

    def state(passed: Pass | None = None) -> dict[str, Any]:
        epochs = [asdict(epoch) for epoch in history]
        return {"history": epochs, "kept": kept, "pass": passed.state() if passed else None}

    while len(history) < plan.epochs and not _is_over(history, source, plan.patience):
        number = len(history) + 1
        passed = source.epoch(plan, (*axes, "epoch", number), within)
        within = None
        model.train()
        try:
            for batch in passed.batches():
                losses = _step(model, objective, batch, optimizer, plan)
                scheduler.step()
                passed.add(batch, losses)
                if passed.done < passed.steps:
                    checkpoints.within_epoch(partial(state, passed))
                on_step(passed.done)
            loss, parts = passed.means()
            scores, answers = source.evaluate(model, passed)
        except FloatingPointError as problem:
            raise InputError(
                f"{problem} of epoch {number}; lower the learning rate (now {plan.lr:g}); "
                f"{checkpoints.kept(len(history))}"
            ) from problem
        history.append(Epoch(number, loss, scores, parts, answers))
        if source.kept(history) == len(history) - 1:
            kept = copy.deepcopy(trained.state_dict())
            kept.update({name: value.contiguous() for name, value in kept.items()})
        checkpoints.after_epoch(state())
        on_epoch(history[-1])
    trained.to(memory_format=torch.contiguous_format).load_state_dict(kept)
    return Trained(model.eval(), history[source.kept(history)], tuple(history), checkpoints.seconds)


def _step(model: nn.Module, objective: Objective, batch: Batch, optimizer: torch.optim.Optimizer, plan: Plan) -> Losses:
    """Train all parameters on one batch."""
    device = next(model.parameters()).device
    optimizer.zero_grad(set_to_none=True)
    with drawn_from(batch.seed, "dropout", device=device), precision.mixed(device, plan.mixes_on(device)):
        losses = objective(model, batch)
    losses.total.backward()
    if plan.clip_norm is not None:
        trained = [value for group in optimizer.param_groups for value in group["params"]]
        nn.utils.clip_grad_norm_(trained, plan.clip_norm)
    optimizer.step()
    return losses


def _parameters(
    model: nn.Module, objective: Objective, new: Collection[str]
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """All parameters that are trained: those that the model had before, and new ones."""
    old = [value for name, value in model.named_parameters() if name not in new]
    fresh = [value for name, value in model.named_parameters() if name in new]
    fresh += objective.parameters()
    return tuple([value for value in values if value.requires_grad] for values in (old, fresh))


def _is_over(history: Sequence[Epoch], source: Source, patience: int | None) -> bool:
    return patience is not None and bool(history) and len(history) - 1 - source.kept(history) >= patience


def _identity(trained: nn.ModuleList, source: Source, plan: Plan, axes: Axes) -> str:
    """A hash of all that decides how a training ends: two with the same may share a checkpoint."""
    _, objective = trained
    settings = {name: value for name, value in vars(objective).items() if isinstance(value, str | int | float)}
    described = [str(trained), settings, source.identity, asdict(plan), list(axes)]
    digest = hashlib.sha256(json.dumps(described).encode())
    for name, value in trained.state_dict().items():
        digest.update(f"{name} {hash_of(value)}".encode())
    return digest.hexdigest()


def hash_of(*tensors: Tensor) -> str:
    """SHA-256 over types, shapes and numbers."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
