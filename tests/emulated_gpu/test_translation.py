"""Translators on a GPU: edited, scored and trained; and on a CPU beside one."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial

import pytest
import torch

import editors
from baselines.editable_translation import EditableTranslation, TranslationEditTerms
from baselines.training import train
from baselines.translation import LabelSmoothed, SentencePairs, TranslationPlan
from benchmarks.seeds import drawn_from
from benchmarks.translation import corpora, corpus
from benchmarks.translation.model import Architecture, Translator
from benchmarks.translation.requests import TranslationRequest
from benchmarks.translation.scoring import TranslationScorer
from pipelines.jobs.parallel_map import parallel_map
from tests.optional import PREPARING, skip_without

CPU = torch.device("cpu")
EDITOR = editors.build("rmsprop", lr=1e-2, max_steps=4)
PLAN = TranslationPlan(epochs=2, lr=5e-3, warmup=5, tokens=400, mixed_precision=False, clip_norm=10.0)


@pytest.fixture(scope="module")
def data() -> corpus.Corpus:
    skip_without(*PREPARING)
    return corpus.prepare(corpora.make("toy_translation", train_size=60, valid_size=8, test_size=6, merges=400))


@pytest.fixture
def translator(data):
    def made(device: torch.device, dropout: float = 0.0) -> Translator:
        with drawn_from("translator", device=CPU):
            return Translator(Architecture(16, 32, 2, 2, dropout, 64), data.source, data.target).to(device).eval()

    return made


@pytest.fixture
def requests(data):
    """Wants the reference of another sentence, against references."""
    targets, sources = data.train.target_numbers, data.train.source_numbers
    return [TranslationRequest(n, sources[n], targets[n + 1], targets[n + 2 : n + 5], n) for n in range(4)]


@pytest.mark.usefixtures("strict")
def test_records_are_those_of_a_cpu(data, translator, requests, device):
    found = []
    for where in (CPU, device):
        scorer = TranslationScorer(translator(where), "last_decoder_layer", data, requests)
        edits, _ = scorer.edit(EDITOR, range(4))
        found.append([asdict(record) for record in scorer.records(range(4), edits)])
    for ours, expected in zip(*found, strict=True):
        numbers = {name for name, value in expected.items() if isinstance(value, int | float)}
        assert {name: ours[name] for name in numbers} == pytest.approx(
            {name: expected[name] for name in numbers}, rel=1e-3, abs=1e-4
        )
        assert {**ours, **dict.fromkeys(numbers)} == {**expected, **dict.fromkeys(numbers)}
    assert any(record["steps"] for record in found[0])


def test_on_a_cpu_beside_a_gpu_nothing_waits_for_the_gpu(data, translator, requests, counting):
    scorer = TranslationScorer(translator(CPU), "last_decoder_layer", data, requests)
    with counting() as found:
        scorer.records(range(2), scorer.edit(EDITOR, range(2))[0])
    assert (found.counts.launched, found.counts.synchronised) == (0, 0)


def _steps(scorer: TranslationScorer, row: int) -> int:
    return scorer.edit(EDITOR, [row])[0][0].steps


def _by_workers(scorer: TranslationScorer) -> list[int]:
    assert torch.cuda.is_available()  # from here on, forked processes cannot use it
    return parallel_map(partial(_steps, scorer), [0, 1], 2, CPU)


def test_workers_on_the_cpu_go_on_beside_a_gpu(data, translator, requests):
    scorer = TranslationScorer(translator(CPU), "last_decoder_layer", data, requests)
    # In a process of its own: after gradients on a GPU, which other tests have taken, torch lets nobody fork.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(_by_workers, scorer).result() == [_steps(scorer, row) for row in (0, 1)]


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("kind", ["plain", "editable"])
def test_a_training_is_reproducible(kind, data, translator, requests, device, tmp_path):
    """Fused attention sums gradients in any order; the emulated GPU has none, so it is looked whether it is off."""
    terms = TranslationEditTerms(editor="rmsprop", c_edit=100, c_loc=100, max_steps=2)
    ends, fused = [], set()

    def look(layer: torch.nn.Module, _: object) -> None:
        if layer.training:  # the edits' own steps are in evaluation mode
            fused.add((torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.mem_efficient_sdp_enabled()))

    for folder in ("one", "two"):
        model = translator(device, dropout=0.1).train()
        for layer in model.decoder.layers:
            layer.register_forward_pre_hook(look)
        objective = LabelSmoothed(0.1) if kind == "plain" else EditableTranslation(terms, requests, 0.1)
        train(model, objective, SentencePairs(data, model), PLAN, tmp_path / folder, ("axes",))
        ends.append(model.state_dict())
    assert fused == {(False, False)}
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name])
