"""The scorer of a translator: it makes edits and writes a record of each. Aggregates come later."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

import editors
from benchmarks.control_set import control_set
from benchmarks.errors import InputError
from benchmarks.translation.batches import by_tokens, previous_tokens, rows
from benchmarks.translation.bleu import bleu, counts, estimate, signature
from benchmarks.translation.corpus import Corpus, Sentences
from benchmarks.translation.decoding import encode, translate
from benchmarks.translation.divergence import token_kl
from benchmarks.translation.model import Translator, layers_named
from benchmarks.translation.parts import Inputs, plain_attention, split
from benchmarks.translation.perturbations import perturbed
from benchmarks.translation.requests import TranslationRequest, as_asked
from editors.base import holds, spread
from editors.constraints import SCORES
from editors.devices import finish
from editors.forward import evaluation_mode

NEAR_SENTENCES = 5
"""Sentences near the edited one, on which generality is counted."""
_TOKENS = 8_000  # of a batch that is read with its reference
_TRAINING = 1_000  # sentences that an editor's statistics are of, at most


@dataclass(frozen=True)
class TranslationRecord:
    """The effects of one edit.

    :ivar edit: number of the request; ``sentence`` the position of the edited sentence in its split.
    :ivar trivial: the model preferred the wanted translation already, so nothing was done.
    :ivar succeeded: the wanted translation is preferred to every alternative after the edit.
    :ivar decoded: and it is what beam search finds; ``decoded_before`` whether that was so before the edit.
    :ivar loss: ``l_e`` after the edit.
    :ivar control_size: sentences that were translated again, ``changed`` of them into something else than before.
    :ivar bleu_before, bleu_after: of these sentences' translations, in points.
    :ivar views: sentences that differ from the edited one by a word left out or two exchanged; before and after the
        edit, the wanted translation is preferred to the same alternatives for ``views_before`` and ``views_after`` of
        them.
    :ivar tokens: tokens of their references; ``kl``: the mean over them of KL(p(y_t|y_<t,s,θ) ‖ p(y_t|y_<t,s,θ̂)), in
        nats.
    :ivar source, before, target, after: the edited sentence, its translations and the wanted one, as text.
    :ivar other_source, other_before, other_after: a sentence whose translation changed by the way; empty without one.
    """

    edit: int
    sentence: int
    trivial: bool
    succeeded: bool
    decoded: bool
    decoded_before: bool
    steps: int
    loss: float
    control_size: int
    changed: int
    bleu_before: float
    bleu_after: float
    views: int
    views_before: int
    views_after: int
    tokens: int
    kl: float
    source: str
    before: str
    target: str
    after: str
    other_source: str
    other_before: str
    other_after: str


@dataclass(frozen=True, eq=False)
class _Forced:
    """Control sentences that are read together with their references: the suffix's inputs, computed once.

    :ivar place: row of each sentence by its number.
    """

    place: dict[int, int]
    inputs: Inputs
    target: Tensor


class TranslationScorer:
    """Makes edits of one translator and looks at their effects on its translations of one split.

    What no edit can change is computed once: encoder outputs and lower decoder layers of the control sentences, the
    translations before and their counts of n-grams.

    :param layers: what may change: a name as in tables (``last_decoder_layer``) or of a module.
    :param control_size: control sentences per edit, a fresh subset for each; None for the whole split.
    :param score: how translations are compared, see :func:`editors.constraints.prefers`.
    :param views: sentences near the edited one that must follow the edit too, fewer where there are not so many; none
        of them among those on which an edit's generality is looked at. They do not change what counts as success.
    :ivar seconds: wall time of encoding and translating the whole split once, before any edit.
    :raises InputError: for a sentence that is longer than the model has positions.
    """

    def __init__(
        self,
        model: Translator,
        layers: str,
        corpus: Corpus,
        requests: Sequence[TranslationRequest],
        *,
        split_name: str = "test",
        control_size: int | None = None,
        score: str = SCORES[0],
        views: int | None = None,
    ) -> None:
        self.layers = layers_named(model, layers)
        self.requests = requests
        self.control_size = control_size
        self._whole, self._corpus, self._score = model, corpus, score
        self._asked_views = views or 0
        self._sentences: Sentences = getattr(corpus, split_name)
        self._prefix, self.model = split(model, self.layers)
        began = time.perf_counter()
        self._encoded = encode(model, self._sentences.source_numbers)
        best = translate(model, self._encoded, range(len(self._sentences)))
        self.seconds = time.perf_counter() - began  # translations lie on the CPU: a GPU has finished
        self._before = [one[0] for one in best]
        self._words = [corpus.words(tokens) for tokens in self._before]

    @property
    def translations(self) -> Sequence[str]:
        """The unedited model's translations of the whole split, as text."""
        return self._words

    @property
    def examples(self) -> int:
        """The number of sentences of the whole split."""
        return len(self._sentences)

    def described(self) -> dict[str, Any]:
        """BLEU of the unedited model on the whole split, for the description of records."""
        found = estimate(self.counts_before)
        values = {"bleu": found.value, "bleu_low": found.low, "bleu_high": found.high, "bleu_signature": signature()}
        return {"test_sentences": self.examples, **values, "score": self._score}

    def columns(self) -> dict[str, Sequence[Any]]:
        """Further columns of records: none."""
        return {}

    @cached_property
    def counts_before(self) -> np.ndarray:
        """The counts of BLEU for the unedited model's translations of the whole split: ``(N, 10)``."""
        return counts(self._words, self._sentences.target)

    def edit(self, editor: editors.Editor, chosen: Sequence[int]) -> tuple[list[editors.EditResult], float]:
        """Carry out the requests ``chosen``; also returns milliseconds per edit, encoder and lower layers included.

        :raises InputError: for an editor that does not change weights.
        """
        near = [self._near(self.requests[row])[NEAR_SENTENCES:] if self._asked_views else [] for row in chosen]
        device = next(self._whole.parameters()).device
        finish(device)  # what was asked of a GPU before is not part of the edits' time
        began = time.perf_counter()
        asked = [self._asked(self.requests[row], some) for row, some in zip(chosen, near, strict=True)]
        with plain_attention():
            edits = editor.edit_many(self.model, asked, layers=self.layers)
        if not all(isinstance(edit, editors.EditResult) for edit in edits):
            raise InputError(f"{type(editor).__name__} changes no weights: beam search needs an editor that does")
        finish(device)
        taken = 1e3 * (time.perf_counter() - began) / len(chosen)
        return [self._judged(self.requests[row], edit) for row, edit in zip(chosen, edits, strict=True)], taken

    def _near(self, one: TranslationRequest) -> list[Tensor]:
        """Sentences near the edited one: the first are to look at, what comes after them may be asked for."""
        return perturbed(one.source, self._corpus.source, NEAR_SENTENCES + self._asked_views, one.seed)

    def _asked(self, one: TranslationRequest, near: Sequence[Tensor] = ()) -> editors.Request:
        with torch.no_grad(), evaluation_mode(self._whole):
            return as_asked(self._whole, self._prefix, one, self._score, near)

    def _judged(self, one: TranslationRequest, edit: editors.EditResult) -> editors.EditResult:
        """The edit, held to the constraint on its own sentence if it failed to do what more was asked of it."""
        if edit.succeeded or not self._asked_views:
            return edit
        _, loss = self._losses(one, edit)
        return replace(edit, succeeded=holds(loss), loss=loss)

    def _losses(self, one: TranslationRequest, edit: editors.EditResult) -> tuple[Tensor, Tensor]:
        """``l_e`` of the request before and after the edit."""
        inputs, wanted = self._asked(one)
        with torch.no_grad(), evaluation_mode(self._whole):
            before = wanted(self.model(*inputs))
            return before, before if edit.unchanged else wanted(edit.predict(inputs))

    def statistics(self, editor: editors.Editor) -> Any:
        """The editor's statistics of the training sentences; None, at no cost, for an editor that needs none."""
        return editor.statistics(self.model, self._training(), None, self.layers) if editor.needs_statistics else None

    def _training(self) -> Iterator[Inputs]:
        """The suffix's inputs for training sentences with their references, one at a time: without padding."""
        train, device = self._corpus.train, next(self._whole.parameters()).device
        for number in spread(len(train), _TRAINING).tolist():
            source, target = (
                side[number].long().unsqueeze(0).to(device) for side in (train.source_numbers, train.target_numbers)
            )
            previous = previous_tokens(target, self._corpus.target.end, self._whole.pad)
            with torch.no_grad(), evaluation_mode(self._whole):
                yield self._prefix(source, previous)

    def records(
        self, rows: Sequence[int], edits: Sequence[editors.EditResult], *, generality: bool = True, every: bool = False
    ) -> list[TranslationRecord]:
        """The records of the edits of requests ``rows``, see :meth:`record`."""
        pairs = zip(rows, edits, strict=True)
        return [self.record(row, edit, generality=generality, every=every) for row, edit in pairs]

    def record(
        self, row: int, edit: editors.EditResult, *, generality: bool = True, every: bool = False
    ) -> TranslationRecord:
        """The record of the edit of request ``row``: its effects on its own sentence and on the control sentences.

        :param generality: look at sentences near its own as well; without, the record has no ``views``.
        :param every: look at the whole split, whatever ``control_size`` is.
        """
        one, size = self.requests[row], len(self._sentences)
        subset = control_set(size, None if every else self.control_size, one.seed)
        control = list(range(size)) if subset is None else subset.tolist()
        words, tokens, divergence = self._words, self._before[one.sentence], 0.0
        changed: list[int] = []
        if not edit.unchanged:
            looked_at = sorted({*control, one.sentence})
            found = translate(self._whole, self._encoded, looked_at, edit.parameters)
            after = {number: best[0] for number, best in zip(looked_at, found, strict=True)}
            words = {number: self._corpus.words(best) for number, best in after.items()}
            changed = [number for number in control if not torch.equal(after[number], self._before[number])]
            tokens, divergence = after[one.sentence], self._divergence(edit, control)
        others = [number for number in changed if number != one.sentence][:1]
        near, held_before, held_after = self._generality(one, edit) if generality else (0, 0, 0)
        table = counts([words[number] for number in control], [self._sentences.target[number] for number in control])
        return TranslationRecord(
            edit=row,
            sentence=one.sentence,
            trivial=self._is_trivial(one, edit),
            succeeded=edit.succeeded,
            decoded=torch.equal(tokens, one.target),
            decoded_before=torch.equal(self._before[one.sentence], one.target),
            steps=edit.steps,
            loss=float(edit.loss),
            control_size=len(control),
            changed=len(changed),
            bleu_before=bleu(self.counts_before[control]),
            bleu_after=bleu(table),
            views=near,
            views_before=held_before,
            views_after=held_after,
            tokens=sum(len(self._sentences.target_numbers[number]) for number in control),
            kl=divergence,
            source=self._sentences.source[one.sentence],
            before=self._words[one.sentence],
            target=self._corpus.words(one.target),
            after=words[one.sentence],
            other_source="".join(self._sentences.source[number] for number in others),
            other_before="".join(self._words[number] for number in others),
            other_after="".join(words[number] for number in others),
        )

    def _is_trivial(self, one: TranslationRequest, edit: editors.EditResult) -> bool:
        if edit.steps == 0 or not self._asked_views:
            return edit.steps == 0 and bool(edit.succeeded)
        return bool(self._losses(one, edit)[0] <= 0)  # its views may have needed the steps

    def _generality(self, one: TranslationRequest, edit: editors.EditResult) -> tuple[int, int, int]:
        """The numbers of sentences near the edited one, and of those where the constraint holds before and after."""
        near = self._near(one)[:NEAR_SENTENCES]
        before = after = 0
        for source in near:
            losses = self._losses(replace(one, source=source), edit)
            before, after = before + bool(losses[0] <= 0), after + bool(losses[1] <= 0)
        return len(near), before, after

    @cached_property
    def _forced(self) -> list[_Forced]:
        sentences, pad, device = self._sentences, self._whole.pad, next(self._whole.parameters()).device
        self._whole.check_length(*sentences.target_numbers)
        lengths = [max(map(len, pair)) for pair in zip(sentences.source_numbers, sentences.target_numbers, strict=True)]
        batches = []
        for numbers in by_tokens(lengths, range(len(sentences)), _TOKENS):
            source, target = (
                rows([side[number] for number in numbers], pad).to(device)
                for side in (sentences.source_numbers, sentences.target_numbers)
            )
            with torch.no_grad(), evaluation_mode(self._whole):
                inputs = self._prefix(source, previous_tokens(target, self._corpus.target.end, pad))
            batches.append(_Forced({number: row for row, number in enumerate(numbers)}, inputs, target))
        return batches

    def _divergence(self, edit: editors.EditResult, control: Sequence[int]) -> float:
        """Mean KL over the reference tokens of the ``control`` sentences, in nats."""
        total, tokens = 0.0, 0
        for batch in self._forced:
            chosen = [batch.place[number] for number in control if number in batch.place]
            if chosen:
                inputs, target = tuple(part[chosen] for part in batch.inputs), batch.target[chosen]
                with torch.no_grad(), evaluation_mode(self.model):
                    each = token_kl(self.model(*inputs), edit.predict(inputs), target, self._whole.pad)
                total += float(each.double().sum())
                tokens += int(target.ne(self._whole.pad).sum())
        return total / tokens
