"""Views: augmented copies of a request's inputs, on which its constraint must hold as well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from editors.base import Constraint, Request
from editors.constraints import Predicts, moved_to
from editors.errors import EditError


@dataclass(frozen=True, eq=False)
class Everywhere:
    """A constraint that must hold for each of ``copies`` runs of rows, one after the other.

    ``l_e`` is the mean of what exceeds 0: 0 iff it holds for each, nan if one of them is not finite.
    """

    constraint: Constraint
    copies: int

    def __call__(self, outputs: Tensor) -> Tensor:
        losses = torch.stack([self.constraint(part) for part in outputs.chunk(self.copies)])
        return torch.where(losses.isfinite(), losses.clamp(min=0), torch.nan).mean()

    def moved_to(self, device: torch.device) -> Everywhere:
        """The same constraint for outputs on ``device``."""
        return replace(self, constraint=moved_to(self.constraint, device))


def with_views(request: Request, augment: Callable[[Tensor], Tensor], views: int) -> Request:
    """The request with augmented copies of its inputs, on which its constraint must hold as well.

    :param request: its inputs are one tensor ``(N, ...)``.
    :param augment: gives other views of ``(views · N, ...)``, each row on its own; the shape stays.
    :raises EditError: for fewer than one view, or inputs that are no tensor.
    """
    if isinstance(views, bool) or not isinstance(views, int) or views < 1:
        raise EditError(f"views must be a whole number >= 1, not {views!r}")
    inputs, constraint = request
    if not isinstance(inputs, Tensor):
        raise EditError(f"views need one tensor as input, not {type(inputs).__name__}")
    copies = augment(inputs.repeat(views, *[1] * (inputs.dim() - 1)))
    repeated = constraint.repeated(views + 1) if isinstance(constraint, Predicts) else Everywhere(constraint, views + 1)
    return Request(torch.cat([inputs, copies]), repeated)
