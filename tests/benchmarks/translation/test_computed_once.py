"""What no edit can change is computed once, and no edit copies the model."""

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from torch import nn

from benchmarks.translation.decoding import encode, translate
from benchmarks.translation.perturbations import perturbed
from benchmarks.translation.requests import draw_requests
from benchmarks.translation.scoring import NEAR_SENTENCES, TranslationScorer

ENCODER = "encoder.layers.0"  # fairseq's generator goes past the encoder's own hooks
FROZEN = (ENCODER, "decoder.layers.0", "decoder.layers.1")
EDITED = "decoder.layers.2"


@pytest.fixture
def scorer(translator, small_corpus) -> TranslationScorer:
    requests = list(draw_requests(translator, small_corpus, "test", 3, 0, "tests", alternatives=5))
    return TranslationScorer(translator, "last_decoder_layer", small_corpus, requests, control_size=4)


@contextmanager
def _calls(model: nn.Module) -> Iterator[Counter[str]]:
    """How often the parts of ``model`` are called in this block."""
    counted: Counter[str] = Counter()

    def counting(name: str):
        return lambda *_: counted.update([name])

    parts = dict(model.named_modules())
    hooks = [parts[name].register_forward_hook(counting(name)) for name in (*FROZEN, EDITED)]
    try:
        yield counted
    finally:
        for hook in hooks:
            hook.remove()


def test_the_frozen_front_runs_once_for_an_edit_of_many_steps(translator, scorer, strong):
    for count in (1, 3):
        with _calls(translator) as calls:
            edits, _ = scorer.edit(strong, range(count))
        assert all(edit.steps > 1 for edit in edits)
        assert {name: calls[name] for name in FROZEN} == dict.fromkeys(FROZEN, count)
        assert calls[EDITED] > count


def test_decoding_after_an_edit_takes_what_the_encoder_said_before(translator, small_corpus, scorer, strong):
    edit = scorer.edit(strong, [0])[0][0]
    with _calls(translator) as calls:
        encoded = encode(translator, small_corpus.test.source_numbers)
    assert calls == {ENCODER: 1}  # all fit into one batch
    with _calls(translator) as calls:
        translate(translator, encoded, range(len(small_corpus.test)), edit.parameters)
    assert calls[ENCODER] == 0
    assert calls["decoder.layers.0"] == calls[EDITED] > 1  # a token at a time


def test_references_are_read_by_the_frozen_front_once_for_all_edits(translator, small_corpus, scorer, strong):
    edits, _ = scorer.edit(strong, [0, 1])
    with _calls(translator) as calls:
        scorer.record(0, edits[0], generality=False)
    assert calls[ENCODER] == 1
    with _calls(translator) as calls:
        scorer.record(1, edits[1], generality=False)
    assert calls[ENCODER] == 0
    one = scorer.requests[1]
    with _calls(translator) as calls:
        scorer.record(1, edits[1])
    assert calls[ENCODER] == len(perturbed(one.source, small_corpus.source, NEAR_SENTENCES, one.seed)) > 0


def test_no_edit_copies_the_model(scorer, strong, monkeypatch):
    def refused(*_: object) -> None:
        raise AssertionError("a model is large")

    monkeypatch.setattr(copy, "deepcopy", refused)
    edits, _ = scorer.edit(strong, range(3))
    for row, edit in enumerate(edits):
        assert scorer.record(row, edit).steps > 1
