"""Perturbed sentences: a word left out, or two neighbours exchanged.

An edit that is to be of use holds for them as well; one that only knows its own sentence does not.
"""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor

from benchmarks.seeds import generator
from benchmarks.translation.vocabulary import Vocabulary

_CONTINUES = "@@"


def perturbed(sentence: Tensor, vocabulary: Vocabulary, count: int, *axes: str | int) -> list[Tensor]:
    """Up to ``count`` variants of ``sentence`` int32 ``(S,)``, no two alike and each with its end.

    In each, either one word is left out or two neighbouring words have changed places; all ways to do so are equally
    likely. Units that make up a word stay together. Fewer come back where there are not so many ways: none of a
    sentence of one word.

    :param axes: what the draw depends on.
    """
    *words, end = _words(sentence, vocabulary)
    left_out = [words[:place] + words[place + 1 :] for place in range(len(words) if len(words) > 1 else 0)]
    exchanged = [
        [*words[:place], words[place + 1], words[place], *words[place + 2 :]] for place in range(len(words) - 1)
    ]
    same = tuple(sentence.tolist())
    variants = dict.fromkeys(tuple(chain(*parts, end)) for parts in (*left_out, *exchanged))
    different = [variant for variant in variants if variant != same]
    order = torch.randperm(len(different), generator=generator(*axes, "perturbed"))[:count].tolist()
    return [torch.tensor(different[place], dtype=torch.int32) for place in order]


def _words(sentence: Tensor, vocabulary: Vocabulary) -> list[list[int]]:
    """The units of each word; the end of the sentence is the last one."""
    words: list[list[int]] = [[]]
    for number in sentence.tolist():
        words[-1].append(number)
        if not vocabulary.dictionary[number].endswith(_CONTINUES):
            words.append([])
    return words[:-1]
