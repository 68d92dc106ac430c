"""Constraints: what an edited model must answer. Each is a callable ``outputs -> l_e``, satisfied iff ``l_e <= 0``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editors.contract import EditError


@dataclass(frozen=True, eq=False)
class Predicts:
    """The classifier's answer is the wanted label: ``l_e = max_y log p(y|x) − log p(y_ref|x)`` (section 3).

    The normaliser of the log-softmax cancels, so this is a margin between logits. The maximum is taken over the other
    labels and clamped at 0, which is the same function and has the gradient that is wanted. A tie satisfies the
    constraint. With several inputs, ``l_e`` is the mean over them: zero iff every one is assigned to its label.

    :ivar labels: int64, shape ``()``, ``(N,)``, or ``(E, N)`` for a stack of E constraints.
    :ivar lowest, highest: the smallest and largest label, kept as numbers so that checking them never waits for a GPU.
    """

    labels: Tensor
    lowest: int
    highest: int

    def __call__(self, outputs: Tensor) -> Tensor:
        """``l_e ()`` of logits ``(N, C)`` or ``(C,)``; of a stack ``(E,)``, of logits with E in front."""
        stacked = self.labels.dim() == 2
        fits = isinstance(outputs, Tensor) and outputs.is_floating_point() and outputs.dim() - stacked in (1, 2)
        if not fits:
            found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise EditError(f"predicts() needs logits of shape (N, classes), not {found}")
        logits = outputs if outputs.dim() - stacked == 2 else outputs.unsqueeze(-2)
        classes = logits.shape[-1]
        if self.lowest < 0 or self.highest >= classes:
            wrong = self.lowest if self.lowest < 0 else self.highest
            raise EditError(f"label {wrong} is outside the model's {classes} classes (0 to {classes - 1})")
        labels = self.labels.to(logits.device)
        if labels.dim() and labels.shape[-1] not in (1, logits.shape[-2]):
            raise EditError(
                f"predicts() has {labels.shape[-1]} labels for {logits.shape[-2]} inputs; "
                "give one label for all inputs or one for each"
            )
        wanted = torch.arange(classes, device=logits.device) == labels.unsqueeze(-1)
        others = logits.masked_fill(wanted, -torch.inf).amax(dim=-1)
        reference = torch.where(wanted, logits, 0).sum(dim=-1)
        return (others - reference).clamp(min=0).mean(dim=-1)

    @classmethod
    def stack(cls, constraints: Sequence[Predicts]) -> Predicts | None:
        """One constraint for a batch of edits, or None if theirs differ in shape."""
        if len({constraint.labels.shape for constraint in constraints}) > 1:
            return None
        lowest = min(constraint.lowest for constraint in constraints)
        highest = max(constraint.highest for constraint in constraints)
        return cls(torch.stack([constraint.labels.reshape(-1) for constraint in constraints]), lowest, highest)


def predicts(labels: int | Sequence[int] | Tensor) -> Predicts:
    """The constraint that a classifier assigns ``labels`` to the inputs: one label for all, or one for each.

    :raises EditError: for labels that are not whole numbers, or none at all.
    """
    try:
        tensor = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise EditError(f"labels must be a whole number or a list of them, not {labels!r}") from error
    if tensor.numel() == 0:
        raise EditError("predicts() needs at least one label, none was given")
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool or tensor.dim() > 1:
        raise EditError(f"labels must be a whole number or a list of them, not {labels!r}")
    lowest, highest = tensor.aminmax()
    return Predicts(tensor.to(torch.int64), int(lowest), int(highest))
