"""BLEU by sacrebleu, from counts that are kept for each sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from benchmarks.metrics import CONFIDENCE, Estimate
from benchmarks.seeds import seed

_ORDERS = 4
_RESAMPLES = 1000
COUNTED = (
    *(f"matches_{order}" for order in range(1, _ORDERS + 1)),
    *(f"ngrams_{order}" for order in range(1, _ORDERS + 1)),
    "length",
    "reference_length",
)
"""The columns of :func:`counts`."""


@dataclass(frozen=True, eq=False)
class Bleu:
    """BLEU of a translator on the test set before any edit: a :class:`benchmarks.metrics.Quality`.

    :ivar counts: ``(N, 10)``, the :func:`counts` of its translations.
    :ivar seconds: wall time in which it translates these N sentences.
    :ivar signature: what sacrebleu says about how it reckons.
    """

    estimate: Estimate
    counts: np.ndarray
    seconds: float
    signature: str

    name: ClassVar[str] = "bleu"

    @classmethod
    def read(cls, description: Mapping[str, Any], translations: Path, timing: Path) -> Bleu:
        """Read what evaluation wrote: BLEU in a row's ``description``, counts beside the model's ``translations``.

        :raises OSError, KeyError, ValueError: if it did not.
        """
        found = Estimate(*(description[f"bleu{end}"] for end in ("", "_low", "_high")))
        counted = pd.read_csv(translations, usecols=list(COUNTED))[list(COUNTED)].to_numpy()
        taken = float(json.loads(timing.read_text())["seconds"])
        return cls(found, counted, taken, description["bleu_signature"])

    @property
    def measured_on(self) -> str:
        return f"{len(self.counts)} test sentences"

    @property
    def timings(self) -> dict[str, float]:
        return {"decoding_seconds": self.seconds, "test_sentences": len(self.counts)}

    def difference(self, other: Bleu, name: str) -> tuple[Estimate, str]:
        """In points, by a bootstrap over the same sentences."""
        return difference(self.counts, other.counts, name), f"paired, the same {self.measured_on}"


def counts(translations: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """int64 ``(N, 10)``: matching n-grams of each order, n-grams there are, length of translation and reference."""
    return np.array([_counts(*pair) for pair in zip(translations, references, strict=True)]).reshape(-1, 10)


def bleu(table: np.ndarray) -> float:
    """BLEU in points (0 to 100) of a corpus with these :func:`counts`."""
    total = table.sum(axis=0).tolist()
    metric = _metric()
    return metric.compute_bleu(
        correct=total[:_ORDERS],
        total=total[_ORDERS : 2 * _ORDERS],
        sys_len=total[-2],
        ref_len=total[-1],
        smooth_method=metric.smooth_method,
        smooth_value=metric.smooth_value,
        effective_order=False,
    ).score


def estimate(table: np.ndarray) -> Estimate:
    """BLEU with its 95 % interval (percentile bootstrap over sentences, as in sacrebleu)."""
    source = np.random.default_rng(seed("bootstrap", "bleu"))
    drawn = source.integers(len(table), size=(_RESAMPLES, len(table)))
    values = [bleu(table[rows]) for rows in drawn]
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(bleu(table), float(low), float(high))


def difference(table: np.ndarray, other: np.ndarray, name: str) -> Estimate:
    """BLEU of one translation of a corpus minus that of another, with a bootstrap interval over the same sentences."""
    if len(table) != len(other):
        raise ValueError(f"pairs need two translations of one corpus, found {len(table)} and {len(other)} sentences")
    source = np.random.default_rng(seed("bootstrap", "bleu", name))
    drawn = source.integers(len(table), size=(_RESAMPLES, len(table)))
    values = [bleu(table[rows]) - bleu(other[rows]) for rows in drawn]
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(bleu(table) - bleu(other), float(low), float(high))


def signature() -> str:
    """sacrebleu's description of how its numbers are computed, to be stored beside them."""
    metric = _metric()
    metric.corpus_score(["a"], [["a"]])  # it knows the number of references only then
    return str(metric.get_signature())


@cache
def _metric() -> object:
    from sacrebleu.metrics import BLEU  # only for whoever scores translations

    # Translations are in lower case, references as people wrote them.
    return BLEU(lowercase=True)


@cache
def _counter() -> object:
    from sacrebleu.metrics import BLEU

    return BLEU(lowercase=True, effective_order=True)  # of a single sentence, or sacrebleu warns


@cache
def _counts(translation: str, reference: str) -> tuple[int, ...]:
    score = _counter().sentence_score(translation, [reference])
    return (*score.counts, *score.totals, score.sys_len, score.ref_len)
