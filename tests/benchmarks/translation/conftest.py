"""A small corpus, and a small translator that has learned it by heart well enough to end its sentences."""

import pytest
import torch

import editors
from benchmarks.seeds import drawn_from
from benchmarks.translation import corpora, corpus
from benchmarks.translation.batches import previous_tokens, rows
from benchmarks.translation.corpus import Corpus
from benchmarks.translation.model import Architecture, Translator
from benchmarks.translation.toolkit import fairseq
from tests.optional import PREPARING, skip_without

SMALL = Architecture(embed_dim=16, ffn_dim=32, heads=2, layers=3, dropout=0.1, max_positions=64)


@pytest.fixture(scope="session")
def small_corpus() -> Corpus:
    skip_without(*PREPARING)
    return corpus.prepare(corpora.make("toy_translation", train_size=60, valid_size=8, test_size=12, merges=400))


@pytest.fixture(scope="session")
def _weights(small_corpus: Corpus) -> dict[str, torch.Tensor]:
    pairs = small_corpus.train
    source, target = rows(pairs.source_numbers, 1), rows(pairs.target_numbers, 1)
    previous = previous_tokens(target, small_corpus.target.end, 1)
    with drawn_from("translator of the tests", device=torch.device("cpu")):
        model = Translator(SMALL, small_corpus.source, small_corpus.target)
        model.double()  # so that processors that round otherwise learn the same
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            logits = model(source, previous)
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=1).backward()
            optimizer.step()
    return model.float().state_dict()


@pytest.fixture
def translator(small_corpus: Corpus, _weights: dict[str, torch.Tensor]) -> Translator:
    model = Translator(SMALL, small_corpus.source, small_corpus.target).eval()
    model.load_state_dict(_weights)
    return model


@pytest.fixture
def strong() -> editors.Editor:
    """Takes several steps for each of the requests."""
    return editors.build("rmsprop", lr=1e-2, max_steps=20)


def translated_by_fairseq(model: Translator, sentence: torch.Tensor, beam: int) -> list[dict[str, torch.Tensor]]:
    """The hypotheses of fairseq's generator on the model itself, encoder included, for one sentence."""
    options = {"beam_size": beam, "max_len_a": 2, "max_len_b": 10, "tokens_to_suppress": model.target.never_used}
    generator = fairseq().sequence_generator.SequenceGenerator([model], model.target.dictionary, **options)
    given = {"src_tokens": rows([sentence], model.pad), "src_lengths": torch.tensor([len(sentence)])}
    return generator.generate([], {"net_input": given})[0]
