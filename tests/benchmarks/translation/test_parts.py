"""The frozen front of a translator and the top that an edit may change."""

import pytest
import torch

import editors
from benchmarks.errors import InputError
from benchmarks.translation.batches import by_tokens, previous_tokens, rows
from benchmarks.translation.model import layers_named
from benchmarks.translation.parts import split
from editors.constraints import prefers


@pytest.fixture
def batch(translator, small_corpus):
    """Sources and what is known of their translations, of unequal lengths."""
    source, target = (
        rows(side[:6], translator.pad) for side in (small_corpus.test.source_numbers, small_corpus.test.target_numbers)
    )
    return source, previous_tokens(target, small_corpus.target.end, translator.pad)


@pytest.mark.parametrize(
    ("layers", "frozen"),
    [
        ("decoder.layers.2", "decoder.layers.1"),
        ("decoder.layers.1", "decoder.layers.0"),
        ("decoder.layers.0", "encoder"),
        (["decoder.layers.1", "decoder.layers.2.fc1"], "decoder.layers.0"),
    ],
)
def test_suffix_of_prefix_is_the_model_bit_by_bit(translator, batch, layers, frozen):
    prefix, suffix = split(translator, layers)
    with torch.no_grad():
        torch.testing.assert_close(suffix(*prefix(*batch)), translator(*batch), rtol=0, atol=0)
    names = {name for name, _ in suffix.named_parameters()}
    assert names < {name for name, _ in translator.named_parameters(remove_duplicate=False)}
    assert not any(name.startswith(f"{frozen}.") for name in names)


@pytest.mark.parametrize("layers", [None, "encoder.layers.0", "decoder.embed_tokens", "decoder.output_projection"])
def test_where_the_front_is_edited_all_is_suffix(translator, batch, layers):
    prefix, suffix = split(translator, layers)
    assert suffix is translator
    with torch.no_grad():
        torch.testing.assert_close(suffix(*prefix(*batch)), translator(*batch), rtol=0, atol=0)


def test_one_source_serves_all_rows(translator, batch):
    source, previous = batch
    prefix, suffix = split(translator, "decoder.layers.2")
    with torch.no_grad():
        once = suffix(*prefix(source[:1], previous))
        each = suffix(*prefix(source[:1].expand(6, -1), previous))
    torch.testing.assert_close(once, each)


@pytest.mark.parametrize("layers", ["decoder.layers.2", "encoder"])
def test_each_of_several_sources_serves_a_run_of_rows(translator, batch, layers):
    source, previous = batch
    prefix, suffix = split(translator, layers)
    with torch.no_grad():
        found = suffix(*prefix(source[:2], previous))
        expected = suffix(*prefix(source[:2].repeat_interleave(3, dim=0), previous))
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found[:3], suffix(*prefix(source[1:2], previous))[:3])


@pytest.mark.parametrize("layers", ["decoder.layers.2", "encoder"])
def test_rows_that_are_no_multiple_of_the_sources_are_refused(translator, batch, layers):
    source, previous = batch
    prefix, _ = split(translator, layers)
    with torch.no_grad(), pytest.raises(ValueError, match="6 rows are not a multiple of 4 sources"):
        prefix(source[:4], previous)


def test_an_edit_of_the_top_is_an_edit_of_the_model_and_leaves_the_rest_bit_identical(translator, batch):
    before = {name: value.clone() for name, value in translator.state_dict().items()}
    source, previous = batch
    prefix, suffix = split(translator, layers_named(translator, "last_decoder_layer"))
    targets = [[5, 6, 7], [8, 9], [10, 11, 12, 2]]
    constraint = prefers(targets[0], targets[1:])
    inputs = prefix(source[:1], previous[:3, : constraint.tokens.shape[1]])
    edit = editors.build("rmsprop", lr=1e-2, max_steps=20).edit(suffix, inputs, constraint, "decoder.layers.2")
    assert edit.steps > 0
    for name, value in translator.state_dict().items():
        assert torch.equal(value, before[name]), name
    patched = edit.apply(translator)
    for name, value in patched.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith("decoder.layers.2."), name
    with torch.no_grad():
        torch.testing.assert_close(edit.predict(prefix(*batch)), patched(*batch), rtol=0, atol=0)


def test_a_sentence_beyond_the_models_positions_is_one_sentence(translator):
    translator.check_length(torch.zeros(64))
    with pytest.raises(InputError, match="a sentence has 65 units, the model only 64 positions"):
        translator.check_length(torch.zeros(3), torch.zeros(65))


def test_batches_hold_every_sentence_once_and_not_too_many_tokens():
    lengths = [3, 9, 1, 4, 20, 4, 7, 2]
    batches = list(by_tokens(lengths, range(8), 12))
    assert sorted(number for batch in batches for number in batch) == list(range(8))
    assert all(len(batch) == 1 or len(batch) * max(lengths[n] for n in batch) <= 12 for batch in batches)
    assert batches[0] == [2, 7, 0]
    assert batches[-1] == [4]
