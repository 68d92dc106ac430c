"""Sentences near another one: a word left out or two neighbours exchanged, and nothing else."""

import pytest

from benchmarks.translation.perturbations import perturbed
from benchmarks.translation.vocabulary import Vocabulary
from tests.optional import FAIRSEQ, skip_without


@pytest.fixture
def vocabulary() -> Vocabulary:
    skip_without(*FAIRSEQ)
    return Vocabulary.of(["der hu@@ nd schläft nicht"])


def _variants(vocabulary: Vocabulary, line: str, count: int, *axes: int) -> list[str]:
    found = perturbed(vocabulary.numbers(line), vocabulary, count, *axes)
    assert all(one.tolist()[-1] == vocabulary.end and one.tolist().count(vocabulary.end) == 1 for one in found)
    return [vocabulary.units(one) for one in found]


def test_all_ways_are_found_and_words_stay_whole(vocabulary):
    assert sorted(_variants(vocabulary, "der hu@@ nd schläft", 99)) == [
        "der hu@@ nd",
        "der schläft",
        "der schläft hu@@ nd",
        "hu@@ nd der schläft",
        "hu@@ nd schläft",
    ]


def test_no_variant_is_the_sentence_itself_or_comes_twice(vocabulary):
    assert sorted(_variants(vocabulary, "der der nicht", 99)) == ["der der", "der nicht", "der nicht der"]


def test_a_sentence_of_one_word_has_none(vocabulary):
    assert _variants(vocabulary, "hu@@ nd", 5) == []


def test_the_draw_depends_on_its_axes_alone(vocabulary):
    line = "der hu@@ nd schläft nicht der hu@@ nd"
    draws = [_variants(vocabulary, line, 3, seed) for seed in range(6)]
    assert draws[4] == _variants(vocabulary, line, 3, 4)
    assert all(len(set(draw)) == 3 for draw in draws)
    assert len({tuple(draw) for draw in draws}) > 1
