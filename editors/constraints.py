"""Constraints on an edited model's outputs: callables ``outputs -> l_e``, satisfied iff ``l_e <= 0``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from editors.base import Constraint
from editors.devices import sent
from editors.errors import EditError
from editors.forward import usable


@dataclass(frozen=True, eq=False)
class Predicts:
    """The constraint that a classifier gives the wanted label: ``l_e = max_y log p(y|x) − log p(y_ref|x)`` (section 3).

    The normaliser of the log-softmax cancels, so this is a margin between logits. The maximum is taken over the other
    labels and clamped at 0, which is the same function and has the gradient that is wanted. A tie satisfies the
    constraint; a logit of the label that is ∞ does not, ``l_e`` is then nan. With several inputs, ``l_e`` is the mean
    over them: zero iff every one is assigned to its label.

    :ivar labels: int64, shape ``()``, ``(N,)``, or ``(E, N)`` for a stack of E constraints.
    :ivar lowest, highest: the smallest and largest label, kept as numbers so that checking them never waits for a GPU.
    :ivar margin: by how much the label's logit must exceed the others: ``l_e`` is larger by so much, then clamped at 0.
    """

    labels: Tensor
    lowest: int
    highest: int
    margin: float = 0.0

    def __call__(self, outputs: Tensor) -> Tensor:
        """``l_e ()`` of logits ``(N, C)`` or ``(C,)``; of a stack ``(E,)``, of logits with E in front."""
        stacked = self.labels.dim() == 2
        fits = isinstance(outputs, Tensor) and outputs.is_floating_point() and outputs.dim() - stacked in (1, 2)
        if not fits:
            found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise EditError(f"predicts() needs logits of shape (N, classes), not {found}")
        logits = outputs if outputs.dim() - stacked == 2 else outputs.unsqueeze(-2)
        classes = logits.shape[-1]
        # Numbers would be compiled in, and every label be compiled for.
        if not torch.compiler.is_compiling() and (self.lowest < 0 or self.highest >= classes):
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
        distances = (others - reference + self.margin).clamp(min=0)
        # An overflow is no answer: such a label has no probability, though it exceeds all others.
        return distances.masked_fill(reference == torch.inf, torch.nan).mean(dim=-1)

    @classmethod
    def stack(cls, constraints: Sequence[Predicts]) -> Predicts | None:
        """One constraint for a batch of edits, or None if theirs differ in shape."""
        if len({(constraint.labels.shape, constraint.margin) for constraint in constraints}) > 1:
            return None
        lowest = min(constraint.lowest for constraint in constraints)
        highest = max(constraint.highest for constraint in constraints)
        labels = torch.stack([constraint.labels.reshape(-1) for constraint in constraints])
        return cls(labels, lowest, highest, constraints[0].margin)

    def moved_to(self, device: torch.device) -> Predicts:
        """The same constraint for outputs on ``device``."""
        return replace(self, labels=sent(self.labels, device))

    def repeated(self, times: int) -> Predicts:
        """The constraint for ``times`` copies of the inputs, one after the other."""
        return replace(self, labels=self.labels.repeat(times)) if self.labels.numel() > 1 else self


def predicts(labels: int | Sequence[int] | Tensor, margin: float = 0.0) -> Predicts:
    """Make the constraint that a classifier assigns ``labels`` to the inputs: one label for all, or one for each.

    :param margin: by how much the logit of the label must exceed all others.
    :raises EditError: for labels that are not whole numbers, or none at all; for a margin that is not >= 0.
    """
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 <= margin < math.inf:
        raise EditError(f"margin must be a number >= 0, not {margin!r}")
    try:
        tensor = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise EditError(f"labels must be a whole number or a list of them, not {labels!r}") from error
    if tensor.numel() == 0:
        raise EditError("predicts() needs at least one label, none was given")
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool or tensor.dim() > 1:
        raise EditError(f"labels must be a whole number or a list of them, not {labels!r}")
    lowest, highest = tensor.aminmax()
    return Predicts(tensor.to(torch.int64), int(lowest), int(highest), float(margin))


SCORES = ("sum", "token_average")
"""Scores of a translation for :func:`prefers`: the sum of its tokens' log-probabilities (the paper), or their mean."""


@dataclass(frozen=True, eq=False)
class Prefers:
    """The constraint that a sequence model likes the wanted answer best (section 4.4).

    ``l_e = max_i log p(y_i|s) − log p(y_0|s)``.

    As in :class:`Predicts` the maximum is clamped at 0 and a tie satisfies the constraint, so an alternative that is
    the wanted answer itself changes nothing.

    :ivar tokens: int64 ``(H, T)``, or ``(E, H, T)`` for a stack of E constraints: the wanted answer and then the
        alternatives; ``mask``, of the same shape, tells tokens from what only fills the rows.
    :ivar highest: the largest token.
    :ivar score: one of :data:`SCORES`.
    """

    tokens: Tensor
    mask: Tensor
    highest: int
    score: str

    def __call__(self, outputs: Tensor) -> Tensor:
        """``l_e ()`` of logits ``(H, T, V)``, position by position those of the tokens; of a stack ``(E,)``."""
        wanted, alternatives = self.scores(outputs).tensor_split([1], dim=-1)
        return (alternatives.amax(dim=-1) - wanted.squeeze(-1)).clamp(min=0)

    def scores(self, outputs: Tensor) -> Tensor:
        """The scores of the answers under logits ``(H, T, V)``, the wanted first: ``(H,)``; of a stack ``(E, H)``."""
        if not isinstance(outputs, Tensor) or outputs.shape[:-1] != self.tokens.shape:
            found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise EditError(f"prefers() needs logits of shape {(*self.tokens.shape, 'vocabulary')}, not {found}")
        if self.highest >= outputs.shape[-1]:
            raise EditError(f"token {self.highest} is outside the model's vocabulary of {outputs.shape[-1]}")
        tokens, mask = self.tokens.to(outputs.device), self.mask.to(outputs.device)
        each = outputs.log_softmax(dim=-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
        total = torch.where(mask, each, 0).sum(dim=-1)
        return total if self.score == "sum" else total / mask.sum(dim=-1)

    def moved_to(self, device: torch.device) -> Prefers:
        """The same constraint for outputs on ``device``."""
        return replace(self, tokens=sent(self.tokens, device), mask=sent(self.mask, device))

    @classmethod
    def stack(cls, constraints: Sequence[Prefers]) -> Prefers | None:
        """One constraint for a batch of edits, or None if theirs differ in shape or score."""
        if len({(constraint.tokens.shape, constraint.score) for constraint in constraints}) > 1:
            return None
        tokens, mask = (torch.stack([getattr(one, name) for one in constraints]) for name in ("tokens", "mask"))
        return cls(tokens, mask, max(constraint.highest for constraint in constraints), constraints[0].score)


def prefers(
    target: Sequence[int] | Tensor, alternatives: Sequence[Sequence[int] | Tensor], score: str = SCORES[0]
) -> Prefers:
    """Make the constraint that a sequence model prefers ``target`` to each of ``alternatives``, sequences of tokens.

    The model's outputs must be logits ``(1 + alternatives, T, V)`` of the answers in this order, T tokens long as the
    longest of them, each token predicted from those before it.

    :raises EditError: for an unknown score, no alternatives, or an answer that is empty or holds no whole numbers >= 0.
    """
    if score not in SCORES:
        raise EditError(f"score must be one of {', '.join(SCORES)}, not {score!r}")
    if len(alternatives) == 0:
        raise EditError("prefers() needs at least one alternative, none was given")
    rows = [usable(torch.as_tensor(row)) for row in (target, *alternatives)]
    if any(row.dim() != 1 or row.numel() == 0 or row.is_floating_point() or int(row.min()) < 0 for row in rows):
        raise EditError("every answer that prefers() compares must be a list of one or more whole numbers >= 0")
    with torch.inference_mode(False):  # a graph holds them
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(torch.int64)
        lengths = torch.tensor([len(row) for row in rows], device=tokens.device)
        mask = torch.arange(tokens.shape[1], device=tokens.device) < lengths.unsqueeze(1)
    return Prefers(tokens, mask, int(tokens.max()), score)


def moved_to(constraint: Constraint, device: torch.device) -> Constraint:
    """The constraint for outputs on ``device``, to which one of ours brings its labels once and not at every step."""
    ours = hasattr(type(constraint), "moved_to")
    return constraint.moved_to(device) if ours else constraint
