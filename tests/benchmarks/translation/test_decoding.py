"""Beam search and sampling from encoder outputs that are computed once."""

import copy

import pytest
import torch

from benchmarks.errors import InputError
from benchmarks.translation.decoding import encode, sample, translate
from tests.benchmarks.translation.conftest import translated_by_fairseq


def test_translations_are_those_of_fairseqs_generator(translator, small_corpus):
    sentences = small_corpus.test.source_numbers
    found = translate(translator, encode(translator, sentences), [4, 0, 9], beam=3)
    for number, hypotheses in zip([4, 0, 9], found, strict=True):
        expected = translated_by_fairseq(translator, sentences[number], 3)
        assert [one.tolist() for one in hypotheses] == [one["tokens"].tolist() for one in expected]


@pytest.mark.parametrize("layer", ["decoder.layers.2.", "encoder.layers.1.", "decoder.embed_tokens."])
def test_changed_parameters_translate_like_a_patched_model(translator, small_corpus, layer):
    sentences = small_corpus.test.source_numbers
    source = torch.Generator().manual_seed(0)
    changed = {
        name: value.detach() + 0.3 * torch.randn(value.shape, generator=source)
        for name, value in translator.named_parameters()
        if name.startswith(layer)
    }
    patched = copy.deepcopy(translator)
    patched.load_state_dict(patched.state_dict() | changed)
    if "embed_tokens" in layer:  # the output projection is the same tensor
        patched.decoder.embed_tokens.weight.data = changed["decoder.embed_tokens.weight"]
    encoded, everything = encode(translator, sentences), range(len(sentences))
    found = translate(translator, encoded, everything, changed)
    expected = translate(patched, encode(patched, sentences), everything)
    assert [one[0].tolist() for one in found] == [one[0].tolist() for one in expected]
    assert any(
        not torch.equal(one[0], other[0])
        for one, other in zip(found, translate(translator, encoded, everything), strict=True)
    )


def test_a_sample_depends_on_its_axes_alone(translator, small_corpus):
    encoded = encode(translator, small_corpus.test.source_numbers)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    one = sample(translator, encoded, 3, 1.2, "a", 1)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(6)
    assert torch.equal(one, sample(translator, encoded, 3, 1.2, "a", 1))
    others = [sample(translator, encoded, 3, 1.2, "a", number) for number in range(2, 8)]
    assert any(not torch.equal(one, other) for other in others)
    assert not any(small_corpus.target.units(other).startswith("<s>") for other in others)


def test_a_low_temperature_samples_what_is_most_likely(translator, small_corpus):
    encoded = encode(translator, small_corpus.test.source_numbers)
    greedy = translate(translator, encoded, [2], beam=1)[0][0]
    assert torch.equal(sample(translator, encoded, 2, 1e-4, "a"), greedy)


def test_a_source_that_is_too_long_is_one_sentence(translator):
    with pytest.raises(InputError, match="a sentence has 70 units, the model only 64 positions"):
        encode(translator, [torch.full((70,), 5)])


def test_the_model_keeps_its_mode(translator, small_corpus):
    translator.train()
    translator.decoder.layers[0].eval()
    translate(translator, encode(translator, small_corpus.test.source_numbers), [0])
    assert translator.training
    assert translator.decoder.layers[1].training
    assert not translator.decoder.layers[0].training
