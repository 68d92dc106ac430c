"""Editable Training of a translator, so that a later edit of one translation leaves the others alone (section 4.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from baselines import precision
from baselines.edit_terms import EditorTerms, EditWeights
from baselines.training import Losses, Objective, hash_of
from baselines.translation import Batch, token_loss
from benchmarks.seeds import generator
from benchmarks.translation.divergence import token_kl
from benchmarks.translation.model import LAST_DECODER_LAYER, Translator, layers_named
from benchmarks.translation.parts import attention_of_training, plain_attention, split
from benchmarks.translation.requests import TranslationRequest, as_asked
from editors.constraints import SCORES
from editors.forward import evaluation_mode


@dataclass(frozen=True, kw_only=True)
class TranslationEditTerms(EditWeights, EditorTerms):
    """The edits that a translator is prepared for, and their weights. Hyperparameters stay as they are given.

    ``c_edit`` and ``c_loc`` are in the paper's units: beside a cross-entropy that is summed over a batch's target
    tokens. Beside one per token, as here, they count 1/tokens as much: c_loc = 100 is 0.025 with 4,000 tokens.

    :ivar score: how translations are compared, see :func:`editors.constraints.prefers`.
    :raises InputError: for an editor that does not follow gradients or needs statistics of the model, or a weight that
        is no number >= 0.
    """

    layers: str = LAST_DECODER_LAYER
    score: str = SCORES[0]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.build()


class EditableTranslation(Objective):
    """``L_base + c_edit · max(0, l_e) + c_loc · L_loc`` (2), differentiated through the edit's gradient steps.

    Each batch makes one edit of ``pool``, requests that were drawn from the plain model on training sentences, and
    L_loc is the mean KL(p ‖ p̂) over the batch's target tokens that are not padding. p is taken as given; edit and
    locality are in evaluation mode, and gradients reach the encoder and the lower layers through both.

    :param smoothing: of L_base, see :func:`baselines.translation.token_loss`.
    """

    def __init__(self, terms: TranslationEditTerms, pool: Sequence[TranslationRequest], smoothing: float) -> None:
        super().__init__()
        self.terms, self.pool, self.smoothing = terms, pool, smoothing
        self._editor = terms.build()

    def extra_repr(self) -> str:
        """All settings and a hash of the pool: they are part of a checkpoint's identity."""
        drawn = hash_of(*(part for one in self.pool for part in (torch.tensor(one.seed), one.target)))
        return f"{self.terms}, {drawn}"

    def forward(self, model: Translator, batch: Batch) -> Losses:
        with attention_of_training(batch.source.device):
            logits = model(batch.source, batch.previous)
        base = token_loss(logits, batch.target, model.pad, self.smoothing)
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
        return Losses(total, parts=parts | {"c_loc_per_token": self.terms.c_loc / tokens})
