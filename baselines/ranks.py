"""Trainings whose batches are shared out: one edit for each share, computed by as many processes, or by one in turns.

Another training than that of whole batches: batch normalisation sees a share, of which the first one's statistics are
kept, and there is an edit, and its locality, per share. The step is that of the mean of the shares' objectives.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel

from baselines.editable import EditableObjective
from baselines.objectives import Distillation, Step
from baselines.training import Losses, Objective
from benchmarks.seeds import drawn_from, seed


def share(step: Step, rank: int, ranks: int) -> Step:
    """What process ``rank`` takes of a batch, with a seed and images apart of its own."""
    apart = partial(_apart, step, rank, ranks)
    return Step(step.inputs[rank::ranks], step.labels[rank::ranks], seed(step.seed, "rank", rank), apart)


def _apart(step: Step, rank: int, ranks: int, count: int) -> Tensor:
    return step.apart(count * ranks)[rank::ranks]


class Shared(Objective):
    """What an objective becomes if each of ``ranks`` processes computes it on its share of the batch.

    Where ``torch.distributed`` has been set up, this process computes one share, and gradients are averaged by
    :class:`~torch.nn.parallel.DistributedDataParallel`; elsewhere, and in a copy, all shares one after the other.

    :ivar ranks: part of a checkpoint's identity.
    """

    ranks: int = 1
    _bound: nn.Module | None = None
    _alone = False

    def on(self, ranks: int) -> Shared:
        """Itself, for so many processes."""
        self.ranks = ranks
        return self

    def forward(self, model: nn.Module, step: Step) -> Losses:
        alone = self._alone or not dist.is_initialized()
        shares = range(self.ranks) if alone else [dist.get_rank()]
        if self._bound is None:
            bound = _Bound(self, model)
            self.__dict__["_bound"] = bound if alone else DistributedDataParallel(bound, find_unused_parameters=True)
        as_they_are = {f"model.{name}": value.clone() for name, value in model.named_buffers()} if alone else {}
        found = []
        for rank in shares:
            own = share(step, rank, self.ranks)
            if alone and rank:  # with the statistics that the other processes would have
                buffers = {name: value.clone() for name, value in as_they_are.items()}
                found.append(Losses(*functional_call(self._bound, buffers, (own,))))
            else:
                found.append(Losses(*self._bound(own)))
        total, parts = _mean([one.total for one in found]), {}
        for name in found[0].parts:
            parts[name] = self._of_all(_mean([one.parts[name] for one in found]), alone)
        # Its value is that of all shares; gradients, which are averaged as well, are those of its own.
        total = total + (self._of_all(total, alone) - total.detach())
        return Losses(total, self._together(step, shares, found, alone), parts)

    def of_share(self, model: nn.Module, step: Step) -> Losses:
        """The losses of one share."""
        return super().forward(model, step)

    def _of_all(self, value: Tensor, alone: bool) -> Tensor:
        """The mean over all processes of what each has of its share, without a gradient."""
        value = value.detach().clone()
        if not alone:
            dist.all_reduce(value)
            value /= self.ranks
        return value

    def _together(self, step: Step, shares: Sequence[int], found: Sequence[Losses], alone: bool) -> Tensor:
        """The logits ``(N, C)`` of the whole batch."""
        logits = found[0].logits.new_zeros(len(step.labels), found[0].logits.shape[1])
        for rank, one in zip(shares, found, strict=True):
            logits[rank :: self.ranks] = one.logits
        if not alone:
            dist.all_reduce(logits)
        return logits

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_bound": None, "_alone": True}


class SharedDistillation(Shared, Distillation):
    """See :class:`Shared`."""


class SharedEditable(Shared, EditableObjective):
    """See :class:`Shared`."""


class _Bound(nn.Module):
    """An objective and a model as one module, from a share of a batch to what :class:`Losses` is made of.

    Only the total carries a graph: for what else does, gradients would be waited for that never come.
    """

    def __init__(self, objective: Shared, model: nn.Module) -> None:
        super().__init__()
        self.objective, self.model = objective, model

    def forward(self, step: Step) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        with drawn_from(step.seed, "dropout", device=step.inputs.device):
            losses = self.objective.of_share(self.model, step)
        return losses.total, losses.logits.detach(), {name: part.detach() for name, part in losses.parts.items()}


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()
