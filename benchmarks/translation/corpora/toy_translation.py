"""A small German-English corpus that a grammar generates: nothing to download, and translated well within minutes."""

from __future__ import annotations

from random import Random

from benchmarks.errors import InputError
from benchmarks.seeds import seed
from benchmarks.translation.corpora.toy_grammar import sentence
from benchmarks.translation.corpus import Texts
from benchmarks.translation.text import parallel


def toy_translation(
    train_size: int = 5000, valid_size: int = 300, test_size: int = 300, merges: int = 1200, seed_of_grammar: int = 0
) -> Texts:
    """German sentences of 3 to 25 words, no two alike, with one of their translations each.

    :raises InputError: for a size below 1, or more sentences than the grammar has.
    """
    sizes = {"train_size": train_size, "valid_size": valid_size, "test_size": test_size}
    for option, size in sizes.items():
        if size < 1:
            raise InputError(f"{option} of toy_translation must be >= 1, not {size}")
    source = Random(seed("toy_translation", seed_of_grammar))
    pairs: dict[str, str] = {}
    total = sum(sizes.values())
    for _ in range(2 * total + 1000):
        if len(pairs) < total:
            pairs.setdefault(*sentence(source))
    if len(pairs) < total:
        raise InputError(f"toy_translation has no {total} different sentences; lower train_size")
    everything = parallel(list(pairs), list(pairs.values()), "toy_translation")
    test, rest = range(test_size), test_size + valid_size
    return Texts(
        name="toy_translation",
        origin=f"German-English sentences of a generated grammar (seed {seed_of_grammar}).",
        merges=merges,
        train=everything.select(range(rest, total)),
        valid=everything.select(range(test_size, rest)),
        test=everything.select(test),
    )
