"""Editable Training of a translator: so that a later edit of one translation leaves the others alone (section 4.4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

import editors
from baselines import precision
from baselines.translation_objectives import Batch, TranslationLosses, TranslationObjective, token_loss
from baselines.usable_editors import check_usable
from benchmarks.errors import InputError
from benchmarks.seeds import generator
from benchmarks.translation.divergence import token_kl
from benchmarks.translation.model import LAST_DECODER_LAYER, Translator, layers_named
from benchmarks.translation.parts import plain_attention, split
from benchmarks.translation.requests import TranslationRequest, as_asked
from editors.constraints import SCORES
from editors.forward import evaluation_mode


@dataclass(frozen=True, kw_only=True)
class TranslationEditTerms:
    """Which edits a translator is prepared for, and how much they count.

    ``c_edit`` and ``c_loc`` are in the paper's units: beside a cross-entropy that is summed over a batch's target
    tokens. Beside one per token, as here, they count 1/tokens as much: c_loc = 100 is 0.025 with 4,000 tokens.

    :ivar editor: name of a registered gradient-following editor with its ``hyperparameters``, which stay fixed.
    :ivar layers: what it changes; ``max_steps`` the most gradient steps of one edit.
    :ivar score: how translations are compared, see :func:`editors.constraints.prefers`.
    :raises InputError: for an editor that does not follow gradients or needs statistics of the model, or a weight that
        is no number >= 0.
    """

    c_edit: float
    c_loc: float
    editor: str
    layers: str = LAST_DECODER_LAYER
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    max_steps: int = 10
    score: str = SCORES[0]

    def __post_init__(self) -> None:
        for name in ("c_edit", "c_loc"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be a number >= 0, not {getattr(self, name)!r}")
        check_usable(self.editor, self.build())

    def build(self) -> editors.Editor:
        """The editor.

        :raises editors.EditError: for an unknown name or hyperparameter.
        """
        return editors.build(self.editor, **self.hyperparameters, max_steps=self.max_steps)


class EditableTranslation(TranslationObjective):
    """``L_base + c_edit · max(0, l_e) + c_loc · L_loc`` (2), differentiated through the edit's gradient steps.

    Each batch makes one edit of ``pool``, requests that were drawn from the plain model on training sentences, and
    L_loc is the mean KL(p ‖ p̂) over the batch's target tokens that are not padding. p is taken as given; edit and
    locality are in evaluation mode, and gradients reach the encoder and the lower layers through both.
    """

    def __init__(self, terms: TranslationEditTerms, pool: Sequence[TranslationRequest]) -> None:
        self.terms = terms
        self.pool = pool
        self._editor = terms.build()

    @property
    def settings(self) -> Any:
        drawn = [[one.seed, *one.target.tolist()] for one in self.pool]
        return [asdict(self.terms), drawn]

    def __call__(self, model: Translator, batch: Batch, smoothing: float) -> TranslationLosses:
        base = token_loss(model(batch.source, batch.previous), batch.target, model.pad, smoothing)
        layers = layers_named(model, self.terms.layers)
        prefix, suffix = split(model, layers)
        drawn = int(torch.randint(len(self.pool), (), generator=generator(batch.seed, "edit")))
        with evaluation_mode(model), plain_attention(), precision.full(batch.source.device):  # a step is small
            inputs = prefix(batch.source, batch.previous)
            with torch.no_grad():
                before = suffix(*inputs)
            asked = as_asked(model, prefix, self.pool[drawn], self.terms.score)
            edit = self._editor.edit(suffix, *asked, layers, differentiable=True)
            after = edit.predict(inputs)
        tokens = batch.target.ne(model.pad).sum()
        edit_loss = edit.loss.clamp(min=0)
        locality = token_kl(before, after, batch.target, model.pad).sum() / tokens
        total = base + (self.terms.c_edit * edit_loss + self.terms.c_loc * locality) / tokens
        parts = {"base_loss": base, "edit_loss": edit_loss, "locality_loss": locality}
        parts |= {"edit_steps": torch.tensor(float(edit.steps)), "edit_success": torch.tensor(float(edit.succeeded))}
        return TranslationLosses(total, parts | {"c_loc_per_token": self.terms.c_loc / tokens})
