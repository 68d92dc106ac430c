"""The smallest change of the last layer that mends all inputs of a request, as a linear program."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from editors.covariance import Layer
from editors.errors import EditError
from editors.last_layer import LastLayerEditor
from editors.least_change import least_absolute_change
from editors.registry import register

NORMS = ("sum", "largest")


@register("minimal_repair")
@dataclass(frozen=True, kw_only=True)
class MinimalRepair(LastLayerEditor):
    """Of all changes of the last layer that satisfy l_e ≤ 0, the one with the smallest Σ |ΔW|, or max |ΔW|.

    Source: Sotoudeh & Thakur, Provable Repair of Deep Neural Networks (PLDI 2021), for the last layer

    It knows nothing of the training data, which tells it from ``rank_one``. If no change mends all inputs, nothing
    changes.

    :ivar norm: ``sum`` of absolute changes, or the ``largest`` of them.
    """

    norm: str = NORMS[0]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in NORMS:
            raise EditError(f"minimal_repair.norm must be one of {', '.join(NORMS)}, not {self.norm!r}")

    def change(self, layer: Layer, rows: Tensor, logits: Tensor, labels: Tensor, margin: float) -> Tensor | None:
        return least_absolute_change(rows, logits, labels, margin, largest=self.norm == "largest")
