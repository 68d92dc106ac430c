"""Editable+CNP: a network with an encoder that makes a condition vector of an edit (section 4.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import editors
from baselines import precision
from baselines.editable import EditObjective, EditTerms
from baselines.images import ImageBatches, ImagePlan
from baselines.objectives import Step
from baselines.training import Axes, Losses
from benchmarks.data.dataset import Dataset
from benchmarks.errors import InputError
from benchmarks.networks.folding import fold
from benchmarks.networks.model_split import activations, split
from benchmarks.seeds import generator
from editors.forward import evaluation_mode
from editors.methods.condition_vector import PART

EDITOR = "condition_vector"
"""The editor of conditioned networks."""

FRONTS = ("trained", "frozen")
_CHUNK = 500  # images whose inputs are in memory at a time


@dataclass(frozen=True, kw_only=True)
class CnpTerms(EditTerms):
    """Settings of the training of a conditioned network.

    :ivar margin: by how much the wanted logit should exceed all others, ``max(0, l_e + margin)``; 0 is formula (3).
        Unlike gradient steps, which go on until the constraint holds, the encoder has one try: without a margin
        it learns to end at the boundary, on either side of it.
    :ivar front: what comes before the condition: ``trained`` along with the encoder and all else (the paper), or
        ``frozen``, as an earlier training left it.
    :ivar copies: how many augmented copies of the training images go through a frozen front, once and for all; every
        batch is of one of them. None for new ones in every step.
    """

    margin: float = 0.0
    front: str = FRONTS[0]
    copies: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.margin < math.inf:
            raise InputError(f"margin must be a number >= 0, not {self.margin!r}")
        if self.front not in FRONTS:
            raise InputError(f"front must be one of {', '.join(FRONTS)}, not {self.front!r}")
        if self.copies is not None:
            if isinstance(self.copies, bool) or not isinstance(self.copies, int) or self.copies < 1:
                raise InputError(f"copies must be a whole number >= 1 or null, not {self.copies!r}")
            if self.front != "frozen":
                raise InputError("copies needs front: frozen: what a front that is trained makes of images changes")


class CnpObjective(EditObjective):
    """``L_base + c_edit · L_edit + c_loc · L_loc`` with the conditioned network in place of the edited one.

    ``L_base`` is that of the network whose condition vector is zero. The encoder and the network are trained
    together; the models are those with a part ``condition``, such as ``cnp_resnet18``.
    """

    terms: CnpTerms

    def __init__(self, terms: CnpTerms) -> None:
        super().__init__(terms, PART)

    def editor(self) -> editors.Editor:
        return editors.build(EDITOR)

    def edit_loss(self, edit: editors.Edit, logits: Tensor, label: int) -> Tensor:
        if edit.unchanged or self.terms.margin == 0:
            return super().edit_loss(edit, logits, label)
        return editors.constraints.predicts(label, self.terms.margin)(logits)


class FrozenFrontObjective(CnpObjective):
    """The same for the encoder and the parts behind it, while all that comes before stays as it was trained.

    Steps are those of :class:`FrontBatches`, whose inputs are activations already. All edits of a step are made at
    once, because the weights are the same for all: the losses are those of :class:`CnpObjective` but for rounding.
    """

    @staticmethod
    def freeze(model: nn.Module) -> None:
        """Leave nothing before the condition of ``model`` to be trained."""
        front, _ = split(model, PART)
        front.requires_grad_(False)

    def forward(self, model: nn.Module, step: Step) -> Losses:
        _, suffix = self._split(model)
        answered = self.base(suffix, step)
        suffix = fold(suffix, self.layers)
        condition, behind = suffix[0], suffix[1:]
        count, apart = len(step.labels), self._apart(step)
        features = step.inputs if apart is None else torch.cat([step.inputs, apart])
        answers = self._answers(suffix, features, answered.logits)
        drawn = self.targets.draw(step, answers, self.terms.edits)
        places, labels = torch.tensor(drawn, device=features.device).T
        current = answers if self.terms.reference_mode == "eval" else self._reference(suffix, features)
        asked = margins(current[places], labels) > 0  # no edit where the constraint holds
        places, labels = places[asked], labels[asked]
        with evaluation_mode(suffix):
            vectors = condition.encode_each(features[places], labels)
            given = (features[None, :count] + vectors[:, None]).flatten(0, 1)
            edited = precision.as_float32(behind(torch.cat([given, features[places] + vectors])))
        wanted = margins(edited[len(given) :], labels)
        edit_loss = F.relu(wanted + self.terms.margin).sum() / self.terms.edits
        reference = answers[:count].repeat(len(labels), 1)
        locality = self.divergence(reference, edited[: len(given)]).sum() / (count * self.terms.edits)
        total = answered.total + self.terms.c_edit * edit_loss + self.terms.c_loc * locality
        parts = {
            "base_loss": answered.total,
            "edit_loss": edit_loss,
            "locality_loss": locality,
            "edit_success": 1 - (wanted > 0).sum() / self.terms.edits,
        }
        return Losses(total, answered.logits, parts)


def objective(terms: CnpTerms) -> CnpObjective:
    """That of the terms: for the whole network, or for what comes behind a front that stays as it is."""
    return FrozenFrontObjective(terms) if terms.front == "frozen" else CnpObjective(terms)


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """``l_e`` before it is clamped: the largest other logit minus the wanted one, of each row ``(N,)``."""
    wanted = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -math.inf)
    return (others.max(dim=1, keepdim=True).values - wanted).squeeze(1)


class FrontBatches(ImageBatches):
    """Batches of the activations that the encoder of ``model`` sees; all that comes before it is frozen.

    :param copies: as in :class:`CnpTerms`.
    :param axes: what the augmentation of the copies follows from.
    """

    def __init__(
        self, dataset: Dataset, model: nn.Module, copies: int | None, axes: Axes, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(dataset, device)
        self._front, _ = split(model, PART)
        self._copies, self._axes = copies, axes
        self._kept: list[Tensor] = []

    @property
    def identity(self) -> list[str | int | None]:
        return [super().identity, self._copies]

    def inputs(self, chosen: Tensor, plan: ImagePlan, source: torch.Generator) -> Tensor:
        """Activations ``(N, features, H, W)`` of training images."""
        if self._copies is None:
            return self._activations(super().inputs(chosen, plan, source), plan)
        if not self._kept:
            self._kept = [self._copy(plan, generator(*self._axes, "copy", one)) for one in range(self._copies)]
        kept = self._kept[int(torch.randint(self._copies, (), generator=source))]
        return kept[chosen.to(kept.device)]

    def _copy(self, plan: ImagePlan, source: torch.Generator) -> Tensor:
        """Activations of all training images, augmented once."""
        chunks = torch.arange(len(self._images), device=self._images.labels.device).split(_CHUNK)
        inputs = (super(FrontBatches, self).inputs(some, plan, source) for some in chunks)
        return torch.cat([self._activations(some, plan) for some in inputs])

    def _activations(self, inputs: Tensor, plan: ImagePlan) -> Tensor:
        with precision.mixed(inputs.device, plan.mixed_precision):
            return precision.as_float32(activations(self._front, inputs))
