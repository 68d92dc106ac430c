"""The generated corpus: the same each time, without repetitions, and in correct German."""

from random import Random

import pytest

from benchmarks.errors import InputError
from benchmarks.translation import corpora
from benchmarks.translation.corpora import toy_lexicon as lexicon
from benchmarks.translation.corpora.toy_grammar import _decline, sentence
from tests.optional import needs


@needs("sacremoses")
def test_the_same_seed_gives_the_same_corpus_and_another_seed_another():
    one, again, other = (
        corpora.make("toy_translation", train_size=30, valid_size=3, test_size=5, seed_of_grammar=seed)
        for seed in (0, 0, 1)
    )
    assert one.train == again.train
    assert one.test == again.test
    assert one.test != other.test
    assert (len(one.train), len(one.valid), len(one.test)) == (30, 3, 5)


@needs("sacremoses")
def test_no_sentence_occurs_twice():
    texts = corpora.make("toy_translation", train_size=800, valid_size=100, test_size=100)
    everything = [*texts.train.source, *texts.valid.source, *texts.test.source]
    assert len(set(everything)) == len(everything) == 1000


@pytest.mark.parametrize(
    ("asked", "phrase"),
    [
        (("d", "alt", "Hund", "m", "m", "accusative"), "den alten Hund"),
        (("ein", "alt", "Hund", "m", "m", "nominative"), "ein alter Hund"),
        (("ein", "alt", "Pferd", "n", "n", "accusative"), "ein altes Pferd"),
        (("mein", "alt", "Frau", "f", "f", "dative"), "meiner alten Frau"),
        (("kein", "klein", "Kinder", "n", "plural", "dative"), "keinen kleinen Kindern"),
        (("d", "", "Frauen", "f", "plural", "dative"), "den Frauen"),
        (("d", "müd", "Junge", "w", "m", "dative"), "dem müden Jungen"),
        (("ein", "", "Student", "w", "m", "accusative"), "einen Studenten"),
        (("dies", "neu", "Türen", "f", "plural", "nominative"), "diese neuen Türen"),
    ],
)
def test_articles_adjectives_and_nouns_agree(asked, phrase):
    assert _decline(*asked) == phrase


def test_german_puts_verbs_where_english_does_not():
    source = Random(0)
    pairs = [sentence(source) for _ in range(3000)]
    prefixes = {row[5] for row in lexicon.rows(lexicon.VERBS)} - {"-"}
    separated = [german for german, _ in pairs if german[:-1].split()[-1] in prefixes]
    finite = {row[place] for row in lexicon.rows(lexicon.VERBS) for place in (1, 2)} | {"hat", "haben", "ist", "sind"}
    final = [german for german, _ in pairs if " weil " in german and german[:-1].split()[-1] in finite]
    assert len(separated) > 100
    assert len(final) > 50


def test_more_sentences_than_the_grammar_has_is_one_sentence():
    with pytest.raises(InputError, match="train_size of toy_translation must be >= 1, not 0"):
        corpora.make("toy_translation", train_size=0)
