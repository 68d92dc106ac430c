"""Editable Training: networks that are trained so that a later edit of them stays local (section 3.2)."""

from __future__ import annotations

import math
import weakref
from abc import abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

import editors
from baselines import precision
from baselines.edit_targets import RandomTargets, Targets
from baselines.edit_terms import EditorTerms, EditWeights
from baselines.objectives import CrossEntropy, Step
from baselines.training import Losses, Objective
from benchmarks.errors import InputError
from benchmarks.networks.folding import fold
from benchmarks.networks.model_split import layers_of, split
from editors.forward import evaluation_mode

LOCALITY = ("kl", "cross_entropy")
REFERENCE_MODES = ("eval", "train")
APART, OF_BATCH = EDITED_IMAGES = ("apart", "of_batch")
LEARNING_RATES = ("trained", "fixed")
_INSET = 1e-3  # of a range: as close to its ends as a hyperparameter starts, because at the ends nothing can be learned


@dataclass(frozen=True, kw_only=True)
class EditTerms(EditWeights):
    """Settings of ``c_edit · L_edit + c_loc · L_loc`` in objective (2).

    Defaults are the paper's where it says something; where it leaves a choice, and what its authors' code does, is told
    in baselines/DIFFERENCES.md.

    :ivar edits: independent edits per batch, their losses averaged; the paper draws one. More make the gradient less
        noisy, at the price of as many times the work.
    :ivar edited_image: ``apart``, a training image drawn apart from the batch, so that locality is averaged over p(x);
        or ``of_batch``, one of the images that locality is averaged over, which holds the edit itself against it.
    :ivar locality: ``kl``, formula (4), or ``cross_entropy``: the same without the entropy of p, which differs in
        its gradient only if p is not detached.
    :ivar detach_reference: take p(y|x,θ) as given, so that the locality term pulls on the edited model alone.
    :ivar reference_mode: batch normalisation of p: ``eval`` as in the edited model, or ``train``, which takes the
        answers of the base loss and saves a forward pass. There is no such option for p-hat, because the edited model
        answers in evaluation mode, as it will be used.
    """

    edits: int = 1
    edited_image: str = APART
    locality: str = "kl"
    detach_reference: bool = True
    reference_mode: str = "eval"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.edits, bool) or not isinstance(self.edits, int) or self.edits < 1:
            raise InputError(f"edits must be a whole number >= 1, not {self.edits!r}")
        _one_of("edited_image", self.edited_image, EDITED_IMAGES)
        _one_of("locality", self.locality, LOCALITY)
        _one_of("reference_mode", self.reference_mode, REFERENCE_MODES)


@dataclass(frozen=True, kw_only=True)
class EditableTerms(EditTerms, EditorTerms):
    """The edits that a network is prepared for.

    :ivar learning_rate: ``trained`` along with the editor's other hyperparameters (the paper), or ``fixed``.
    """

    learning_rate: str = "trained"

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("learning_rate", self.learning_rate, LEARNING_RATES)


class EditObjective(Objective):
    """``L_base + c_edit · L_edit + c_loc · L_loc`` (2), with one or more edits per batch, for any way of editing.

    An edit assigns an image to a label, both drawn from the step's seed; by default a training image apart from the
    batch and one of all labels, uniformly. ``L_base`` is computed in training mode, over the batch alone, as are the
    statistics of its normalisations; the edit, and the locality term over the batch, in evaluation mode. What comes
    before the edited part is computed once for both, and gradients reach it through both; what comes after it is
    folded, which spares the second derivatives of its normalisations.

    :param base: ``L_base``, by default the batch's cross-entropy.
    :param targets: what is edited, and to what.
    """

    def __init__(
        self, terms: EditTerms, layers: str, base: Objective | None = None, targets: Targets | None = None
    ) -> None:
        super().__init__()
        self.base = CrossEntropy() if base is None else base
        self.targets = RandomTargets() if targets is None else targets
        self.terms = terms
        self.layers = layers_of(layers)
        self._parts: tuple[weakref.ref[nn.Module], nn.Module, nn.Module] | None = None

    @abstractmethod
    def editor(self) -> editors.Editor:
        """The editor as it is now, with hyperparameters that carry a graph if they are trained."""

    def edit_loss(self, edit: editors.Edit, logits: Tensor, label: int) -> Tensor:
        """``L_edit`` (3).

        :param logits: the edited model's answer ``(C,)`` to the edited image, which is to get ``label``.
        """
        return edit.loss.clamp(min=0)

    def extra_repr(self) -> str:
        """All settings: they are part of a checkpoint's identity."""
        return repr(self.terms)

    def forward(self, model: nn.Module, step: Step) -> Losses:
        answered = self.base(model, step)
        logits, base = answered.logits, answered.total
        prefix, suffix = self._split(model)
        suffix = fold(suffix, self.layers)
        count, apart = len(step.labels), self._apart(step)
        with evaluation_mode(prefix):
            features = prefix(step.inputs if apart is None else torch.cat([step.inputs, apart]))
        answers = self._answers(suffix, features, logits)
        editor = self.editor()
        drawn = self.targets.draw(step, answers, self.terms.edits)
        made = [self._one(editor, suffix, features, answers[:count], *one) for one in drawn]
        edit_loss, locality_loss, steps, succeeded = (torch.stack(values).mean() for values in zip(*made, strict=True))
        total = base + self.terms.c_edit * edit_loss + self.terms.c_loc * locality_loss
        parts = {
            "base_loss": base,
            "edit_loss": edit_loss,
            "locality_loss": locality_loss,
            "edit_steps": steps,
            "edit_success": succeeded,
        }
        return Losses(total, logits, parts)

    def _apart(self, step: Step) -> Tensor | None:
        """Inputs ``(edits, C, H, W)`` of what is edited, or None where images of the batch are."""
        images = self.targets.images(step, self.terms.edits)
        if images is None and self.terms.edited_image == APART:
            return step.apart(self.terms.edits)
        return images

    def _answers(self, suffix: nn.Module, features: Tensor, logits: Tensor) -> Tensor:
        """The unedited model's logits ``(N + M, C)``, from features of the batch and of M images apart.

        :param logits: ``(N, C)``, the batch's in training mode.
        """
        if self.terms.reference_mode == "eval":
            return self._reference(suffix, features)
        if len(features) == len(logits):
            return logits
        return torch.cat([logits, self._reference(suffix, features[len(logits) :])])

    def _split(self, model: nn.Module) -> tuple[nn.Module, nn.Module]:
        """Its parts before and from ``layers`` on, looked up in the first step only."""
        if self._parts is None or self._parts[0]() is not model:
            self._parts = (weakref.ref(model), *split(model, self.layers))
        return self._parts[1:]

    def _one(
        self, editor: editors.Editor, suffix: nn.Module, features: Tensor, reference: Tensor, place: int, label: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``L_edit``, ``L_loc``, steps and success (0 or 1) of the edit that gives image ``place`` the ``label``.

        :param features: of the batch, and then of images that are only edited.
        :param reference: answers for the batch, on which alone the edit is to be local.
        """
        wanted = editors.constraints.predicts(label)
        with precision.full(features.device):
            image = precision.as_float32(features[place : place + 1])
            edit = editor.edit(suffix, image, wanted, self.layers, differentiable=True)
        if not (edit.unchanged or edit.loss.requires_grad):
            raise InputError(f"{type(editor).__name__} edits are not differentiable: choose another editor")
        edited = precision.as_float32(edit.predict(features))
        locality = self._locality(reference, edited[: len(reference)])
        steps, succeeded = torch.tensor(float(edit.steps)), torch.tensor(float(edit.succeeded))
        return self.edit_loss(edit, edited[place], label), locality, steps, succeeded

    def _reference(self, suffix: nn.Module, features: Tensor) -> Tensor:
        with torch.set_grad_enabled(not self.terms.detach_reference), evaluation_mode(suffix):
            return precision.as_float32(suffix(features))

    def _locality(self, reference: Tensor, edited: Tensor) -> Tensor:
        """Formula (4) from logits ``(N, C)``, mean over the batch."""
        return self.divergence(reference, edited).mean()

    def divergence(self, reference: Tensor, edited: Tensor) -> Tensor:
        """What formula (4) averages, ``(N,)``: row ``n`` of logits ``(N, C)`` against row ``n`` of others."""
        log_p, log_edited = reference.log_softmax(dim=1), edited.log_softmax(dim=1)
        if self.terms.detach_reference:
            log_p = log_p.detach()
        distance = log_p - log_edited if self.terms.locality == "kl" else -log_edited
        return (log_p.exp() * distance).sum(dim=1)


class EditableObjective(EditObjective):
    """Editable Training, objective (2) to (4): the edit's gradient steps are differentiated through (second order).

    The editor's hyperparameters are parameters of this objective. Each stays inside the range over which it is
    tuned: ``low + (high − low) · sigmoid(raw)``, or the same for its logarithm where tuning samples that.

    :param compiled: compile the edit's steps, see :class:`editors.DescentEditor`.
    :raises InputError: for an editor that does not follow gradients or needs statistics of the model, or a start
        outside a hyperparameter's range.
    :raises editors.EditError: for an unknown editor or hyperparameter.
    """

    def __init__(
        self,
        terms: EditableTerms,
        base: Objective | None = None,
        targets: Targets | None = None,
        compiled: bool = False,
    ) -> None:
        super().__init__(terms, terms.layers, base, targets)
        self.compiled = compiled
        terms.build()  # or say why not
        self.ranges = {parameter.name: parameter for parameter in editors.describe(terms.editor).hyperparameters}
        self.fixed: dict[str, float] = {}
        self.raw = nn.ParameterDict()
        for name, parameter in self.ranges.items():
            value = float(terms.hyperparameters.get(name, parameter.default))
            if name == "lr" and terms.learning_rate == "fixed":
                self.fixed[name] = value
            else:
                self.raw[name] = nn.Parameter(torch.tensor(_to_raw(parameter, value)))
        self._editor = editors.build(terms.editor, **self.fixed, max_steps=terms.max_steps, compiled=compiled)

    def editor(self) -> editors.Editor:
        # Values within their ranges need no check, for which a GPU would be waited for at every step.
        return replace(self._editor, **self._values())

    def editor_parameters(self) -> dict[str, float]:
        """The editor's hyperparameters as they are now, by name."""
        values = {name: value.item() for name, value in self._values().items()} | self.fixed
        return {name: values[name] for name in self.ranges}

    def forward(self, model: nn.Module, step: Step) -> Losses:
        losses = super().forward(model, step)
        values = {f"editor_{name}": value for name, value in self._values().items()}
        return replace(losses, parts={**losses.parts, **values})

    def _values(self) -> dict[str, Tensor]:
        return {name: _to_value(self.ranges[name], raw) for name, raw in self.raw.items()}


def _to_value(parameter: editors.Hyperparameter, raw: Tensor) -> Tensor:
    share = raw.sigmoid()
    if parameter.log:
        return (math.log(parameter.low) + math.log(parameter.high / parameter.low) * share).exp()
    return parameter.low + (parameter.high - parameter.low) * share


def _to_raw(parameter: editors.Hyperparameter, value: float) -> float:
    if not parameter.low <= value <= parameter.high:
        raise InputError(
            f"hyperparameters.{parameter.name} must start between {parameter.low:g} and {parameter.high:g} "
            f"to be trained, not at {value:g}"
        )
    if parameter.log:
        share = math.log(value / parameter.low) / math.log(parameter.high / parameter.low)
    else:
        share = (value - parameter.low) / (parameter.high - parameter.low)
    share = min(max(share, _INSET), 1 - _INSET)
    return math.log(share / (1 - share))


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
