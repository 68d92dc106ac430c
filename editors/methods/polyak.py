"""Gradient descent with Polyak's step, which has no learning rate."""

from dataclasses import dataclass

from editors.polyak import PolyakStep
from editors.registry import register


@register("polyak")
@dataclass(frozen=True, kw_only=True)
class Polyak(PolyakStep):
    """θ ← θ − κ l_e / ‖g‖² · g.

    Source: Polyak 1969; Loizou et al., AISTATS 2021 (not tried on edits before)
    """
