"""Training of image classifiers: the plan, the batches of augmented images, and the choice of the epoch to keep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from baselines import precision
from baselines.objectives import Step
from baselines.training import Axes, Epoch, Pass, Plan, Source
from benchmarks.data.dataset import Dataset, Split
from benchmarks.errors import InputError
from benchmarks.networks.model_split import activations
from benchmarks.networks.raw_images import Front
from benchmarks.seeds import generator, seed
from editors.devices import sent

_SIGNIFICANT = 0.05
_MOMENTUM = 0.9
_RISING = 0.15  # share of all steps during which a triangular schedule rises


@dataclass(frozen=True, kw_only=True)
class ImagePlan(Plan):
    """Length, speed and augmentation of the training of a classifier.

    :ivar optimizer: ``adam`` with its default moments (section 4.1), or ``sgd`` with momentum 0.9 (section 4.3).
    :ivar lr_new: learning rate of new parameters, those of the objective among them; None for that of all others.
    :ivar schedule: ``constant`` (the paper's), ``cosine`` down to zero over all steps, or ``triangular``: linearly up
        during the first 15 % of all steps, and linearly down to zero during the others.
    :ivar cutout: side, in pixels, of a square of zeros at a random place of every normalised image; None for no square.
    """

    batch_size: int
    schedule: str = "constant"
    optimizer: str = "adam"
    lr_new: float | None = None
    cutout: int | None = None

    def factor(self, done: int, steps: int) -> float:
        progress = done / (self.epochs * steps)
        if self.schedule == "triangular":
            return min(progress / _RISING, (1 - progress) / (1 - _RISING))
        return 1.0 if self.schedule == "constant" else 0.5 * (1 + math.cos(math.pi * progress))

    def make_optimizer(self, old: list[nn.Parameter], new: list[nn.Parameter]) -> torch.optim.Optimizer:
        rates = [(old, self.lr), (new, self.lr_new)] if self.lr_new is not None else [(old + new, self.lr)]
        groups = [{"params": values, "lr": rate} for values, rate in rates if values]
        if self.optimizer == "sgd":
            # Not fused: that stumbles over a parameter whose first gradient comes later than the others', as the
            # editor's does when the first edit is trivial.
            return torch.optim.SGD(groups, lr=self.lr, momentum=_MOMENTUM)
        return torch.optim.Adam(groups, lr=self.lr, fused=True)


class ImageBatches(Source):
    """The training images of ``dataset`` on ``device``; its tuning images choose the epoch to keep.

    That is the last epoch that is not significantly worse than the best one (McNemar's exact test at 5 %, on the images
    that only one of the two gets wrong). The very smallest error is mostly luck, on a few hundred images at least, and
    an early epoch that had it has learned less of what the error does not show, such as being edited.

    Scores are ``train_error`` over the augmented batches, ``tuning_loss`` and ``tuning_error`` at the end of the epoch;
    errors in percent, losses in nats.
    """

    def __init__(self, dataset: Dataset, device: torch.device | str = "cpu") -> None:
        self._dataset = dataset
        self._images = Split(dataset.train.images.to(device), dataset.train.labels.to(device))

    @property
    def identity(self) -> str:
        return self._dataset.fingerprint()

    def steps(self, plan: ImagePlan) -> int:
        return -(-len(self._images) // plan.batch_size)

    def epoch(self, plan: ImagePlan, axes: Axes, state: Mapping[str, Any] | None = None) -> Pass:
        """A pass through the images, whose order and augmentation follow from ``axes``."""
        source = generator(*axes, "batches")
        # Of equal size, up to one image: a single image left over has no batch statistics.
        order = sent(torch.randperm(len(self._images), generator=source), self._images.labels.device)
        batches = order.tensor_split(self.steps(plan))

        def draw(number: int) -> Step:
            chosen, step = batches[number], seed(*axes, "step", number)
            labels = self._images.labels[chosen]
            return Step(self.inputs(chosen, plan, source), labels, step, partial(self._apart, plan, step))

        return Pass(len(batches), draw, state, source)

    def _apart(self, plan: ImagePlan, step: int, count: int) -> Tensor:
        """Inputs of ``count`` training images drawn with replacement, which read nothing of a batch's generator."""
        source = generator(step, "apart")
        chosen = torch.randint(len(self._images), (count,), generator=source)
        return self.inputs(sent(chosen, self._images.labels.device), plan, source)

    def inputs(self, chosen: Tensor, plan: ImagePlan, source: torch.Generator) -> Tensor:
        """What a network is given of the training images at these places ``(N,)``: augmented and normalised.

        :param chosen: on the images' device.
        """
        images = self._images.images[chosen]
        inputs = self._dataset.inputs(self._dataset.augmentation.apply(images, source))
        if plan.cutout is not None:
            inputs = cut_out(inputs, plan.cutout, source)
        return inputs.to(memory_format=precision.memory_format(plan.mixed_precision))

    def evaluate(self, model: nn.Module, finished: Pass) -> tuple[dict[str, float], Tensor]:
        loss, wrong = _answers(model, self._dataset, self._dataset.tuning, 500)
        if not math.isfinite(loss):
            raise FloatingPointError(f"the tuning loss became {loss} at the end")
        return {"train_error": finished.error, "tuning_loss": loss, "tuning_error": _percent(wrong)}, wrong

    def kept(self, history: Sequence[Epoch]) -> int:
        masks = [epoch.answers for epoch in history]
        best = min(masks, key=lambda mask: int(mask.sum()))
        return max(place for place, mask in enumerate(masks) if _mcnemar(mask, best) > _SIGNIFICANT)


def cut_out(inputs: Tensor, side: int, source: torch.Generator) -> Tensor:
    """Set a square of each normalised image ``(N, C, H, W)``, at a place drawn uniformly, to zero, their mean.

    After DeVries & Taylor 2017, but the whole square lies in the image.

    :raises InputError: for a square that is larger than the images.
    """
    height, width = inputs.shape[2:]
    if side > min(height, width):
        raise InputError(f"cutout must be at most {min(height, width)}, the side of the images, not {side}")
    covered = []
    for length in (height, width):
        first = sent(torch.randint(length - side + 1, (len(inputs), 1), generator=source), inputs.device)
        places = torch.arange(length, device=inputs.device)
        covered.append((places >= first) & (places < first + side))
    rows, columns = covered
    return inputs.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


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


def _mcnemar(one: Tensor, other: Tensor) -> float:
    """p-value of the exact test that two classifiers are as often right, from masks ``(N,)`` of their wrong answers."""
    from scipy import stats  # takes a second: only for whoever trains

    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    return float(stats.binomtest(only_one, only_one + only_other).pvalue) if only_one + only_other else 1.0
