"""Text to numbers, and both to files and back."""

import pytest
import torch

from benchmarks.errors import InputError
from benchmarks.translation import corpus, text
from benchmarks.translation.vocabulary import Vocabulary
from tests.optional import FAIRSEQ, needs


@needs("sacremoses", "subword_nmt")
def test_units_join_to_the_tokens_that_they_were_made_of():
    lines = text.tokenise(["Der Hund schläft, nicht wahr?", "Hunde & Katzen schlafen."], "de")
    assert lines[0] == "der hund schläft , nicht wahr ?"
    codes = text.learn_codes(lines, 8)
    units = text.apply_codes(lines, codes)
    assert any("@@" in line for line in units)
    assert [text.join_units(line) for line in units] == list(lines)
    assert text.detokenise(lines, "de") == ["der hund schläft, nicht wahr?", "hunde & katzen schlafen."]


@needs(*FAIRSEQ)
def test_numbers_stand_for_units_and_the_end_of_the_sentence():
    vocabulary = Vocabulary.of(["b a b", "b"])
    numbers = vocabulary.numbers("a b unheard")
    assert vocabulary.units(numbers) == "a b <unk>"
    assert numbers.tolist()[-1] == vocabulary.end
    assert numbers[1] < numbers[0]  # the more frequent one comes first
    assert len(vocabulary) % 8 == 0


def test_a_corpus_comes_back_as_it_was_saved(small_corpus, tmp_path):
    corpus.save(small_corpus, tmp_path)
    again = corpus.load(tmp_path)
    assert again.fingerprint == small_corpus.fingerprint
    assert again.test.source == small_corpus.test.source
    assert all(map(torch.equal, again.train.target_numbers, small_corpus.train.target_numbers))
    assert (tmp_path / "train.de").read_text("utf-8").splitlines() == list(small_corpus.train.source)
    units = (tmp_path / "test.bpe.en").read_text("utf-8").splitlines()
    assert all(map(torch.equal, map(small_corpus.target.numbers, units), small_corpus.test.target_numbers))
    assert text.join_units(units[0]) == text.tokenise([small_corpus.test.target[0]], "en")[0]


def test_a_dictionary_of_another_run_is_refused(small_corpus, tmp_path):
    corpus.save(small_corpus, tmp_path)
    path = tmp_path / "dict.en.txt"
    first, second, *rest = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([second, first, *rest]) + "\n", "utf-8")
    with pytest.raises(InputError, match="text, dictionaries and numbers are not of one run: prepare the corpus again"):
        corpus.load(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"dict\.en\.txt is missing: prepare the corpus first"):
        corpus.load(tmp_path)
