"""A small corpus and small translators, untrained: what is tested here does not depend on what they say."""

from __future__ import annotations

import pytest
import torch

from benchmarks.translation import corpora, corpus
from benchmarks.translation.corpus import Corpus
from benchmarks.translation.model import Architecture, Translator
from benchmarks.translation.randomness import drawn_from

SMALL = Architecture(embed_dim=16, ffn_dim=32, heads=2, layers=3, dropout=0.1, max_positions=48)


@pytest.fixture(scope="session")
def small_corpus() -> Corpus:
    return corpus.prepare(corpora.make("toy_translation", train_size=60, valid_size=8, test_size=12, merges=250))


@pytest.fixture
def translator(small_corpus: Corpus) -> Translator:
    with drawn_from("translator of the tests", device=torch.device("cpu")):
        return Translator(SMALL, small_corpus.source, small_corpus.target).eval()
