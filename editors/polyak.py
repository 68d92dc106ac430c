"""Polyak's step: as long as the linearised constraint asks for, so that no learning rate need be tuned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editors.descent import DescentEditor
from editors.errors import EditError
from editors.hyperparameters import hyperparameter


@dataclass(frozen=True, kw_only=True)
class PolyakStep(DescentEditor):
    """θ ← θ − κ l_e / ⟨g, d⟩ · d: at κ = 1 the shortest step along d after which ``l_e``, taken as linear, is 0.

    d is what :meth:`objective` makes of the gradient g; without one, d = g. Convex constraints need κ slightly above 1,
    or their loss only approaches 0 (Polyak 1987, section 5.3; Loizou et al. 2021, who bound the step as well).

    :ivar longest: bound of a step, in norms of the edited parameters: where the gradient vanishes, the step has none.
    """

    overshoot: float | Tensor = hyperparameter(1.05, low=1.0, high=2.0, log=True, stronger="larger")
    longest: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.longest, bool) or not isinstance(self.longest, int | float) or not self.longest > 0:
            raise EditError(f"longest must be a number above 0, not {self.longest!r}")

    def init(self, parameters: Tensor) -> Any:
        return None

    def update(self, gradients: Tensor, state: Any) -> tuple[Tensor, Any]:
        return -gradients, state

    def rescaled(self, updates: Tensor, gradients: Tensor, losses: Tensor, parameters: Tensor) -> Tensor:
        least = torch.finfo(updates.dtype).tiny ** 0.5  # its square is no zero: neither are derivatives 0/0
        descent = -(updates * gradients).sum(dim=-1)
        longest = self.longest * _norm(parameters, least) / _norm(updates, least)
        return updates * (self.overshoot * losses / descent.clamp(min=least)).minimum(longest).unsqueeze(-1)


def _norm(rows: Tensor, least: float) -> Tensor:
    return (rows.square().sum(dim=-1) + least**2).sqrt()
