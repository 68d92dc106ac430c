"""Editable+CNP: a network with an encoder that makes a condition vector of an edit (section 4.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

import editors
from baselines.editable import EditObjective, EditTerms
from benchmarks.errors import InputError

EDITOR = "condition_vector"
"""The editor of conditioned networks."""


@dataclass(frozen=True, kw_only=True)
class CnpTerms(EditTerms):
    """Settings of the training of a conditioned network.

    :ivar margin: by how much the wanted logit should exceed all others, ``max(0, l_e + margin)``; 0 is formula (3).
        Unlike gradient steps, which go on until the constraint holds, the encoder has one try: without a margin
        it learns to end at the boundary, on either side of it.
    """

    margin: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.margin < math.inf:
            raise InputError(f"margin must be a number >= 0, not {self.margin!r}")


class CnpObjective(EditObjective):
    """``L_base + c_edit · L_edit + c_loc · L_loc`` with the conditioned network in place of the edited one.

    ``L_base`` is that of the network whose condition vector is zero. The encoder and the network are trained
    together; the models are those with a part ``condition``, such as ``cnp_resnet18``.
    """

    def __init__(self, terms: CnpTerms) -> None:
        super().__init__(terms, "condition")

    def editor(self) -> editors.Editor:
        return editors.build(EDITOR)

    def edit_loss(self, edit: editors.Edit, logits: Tensor, label: int) -> Tensor:
        if edit.unchanged or self.terms.margin == 0:
            return super().edit_loss(edit, logits, label)
        return editors.constraints.predicts(label, self.terms.margin)(logits)
