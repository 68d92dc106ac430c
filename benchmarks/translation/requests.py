"""Edit requests as data: a sentence, its wanted translation, and those it must be preferred to (section 4.4)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from benchmarks.seeds import generator, seed
from benchmarks.translation.batches import previous_tokens, rows
from benchmarks.translation.corpus import Corpus
from benchmarks.translation.decoding import encode, sample, translate
from benchmarks.translation.model import Translator
from editors.base import Request
from editors.constraints import prefers
from editors.views import Everywhere

ALTERNATIVES = 32
TEMPERATURE = 1.2


@dataclass(frozen=True, eq=False)
class TranslationRequest:
    """A request for one edit; tokens are int32, each sentence with its end.

    :ivar sentence: its number in the split, ``source (S,)`` its tokens.
    :ivar target: the translation that is wanted.
    :ivar alternatives: the model's best translations, best first.
    :ivar seed: decides on which sentences the edit is scored.
    """

    sentence: int
    source: Tensor
    target: Tensor
    alternatives: tuple[Tensor, ...]
    seed: int


def draw_requests(
    model: Translator,
    corpus: Corpus,
    split: str,
    count: int,
    *axes: str | int,
    temperature: float = TEMPERATURE,
    alternatives: int = ALTERNATIVES,
) -> Iterator[TranslationRequest]:
    """Draw ``count`` requests one by one: sentences without replacement, targets sampled from ``model``.

    :param model: the plain model; every model is asked for the same edits.
    :param axes: what the draw depends on, such as the suite's seed and the benchmark.
    :raises InputError: for more requests than sentences.
    """
    sentences = getattr(corpus, split).source_numbers
    if not 1 <= count <= len(sentences):
        raise InputError(f"the number of edits must be 1 to {len(sentences)}, the {split} sentences, not {count}")
    order = torch.randperm(len(sentences), generator=generator(*axes, "requests"))[:count].tolist()
    encoded = encode(model, [sentences[number] for number in order])
    best = translate(model, encoded, range(count), beam=alternatives)
    for row, number in enumerate(order):
        target = sample(model, encoded, row, temperature, *axes, "target", row)
        known = seed(*axes, "request", row)
        yield TranslationRequest(number, sentences[number], target, tuple(best[row]), known)


def as_asked(
    model: Translator, prefix: nn.Module, one: TranslationRequest, score: str, near: Sequence[Tensor] = ()
) -> Request:
    """The request for an editor: the suffix's inputs for the wanted translation and its alternatives, the constraint.

    :param prefix: of ``model``, see :func:`benchmarks.translation.parts.split`; it runs once, encoder included.
    :param score: how translations are compared, see :func:`editors.constraints.prefers`.
    :param near: other sources ``(S',)`` for which the same translation must be preferred to the same alternatives.
    :raises InputError: for a sentence that is longer than the model has positions.
    """
    model.check_length(one.source, one.target, *one.alternatives, *near)
    device = next(model.parameters()).device
    hypotheses = rows([one.target, *one.alternatives], model.pad).to(device)
    previous = previous_tokens(hypotheses, model.target.end, model.pad)
    wanted = prefers(one.target, one.alternatives, score)
    sources = rows([one.source, *near], model.pad).to(device)
    everywhere = Everywhere(wanted, len(sources)) if near else wanted
    return Request(prefix(sources, previous.repeat(len(sources), 1)), everywhere)


def save_requests(path: Path, corpus: Corpus, requests: Sequence[TranslationRequest]) -> None:
    """Write one JSON object a line, sentences as the units that the model sees."""
    lines = [
        {
            "edit": number,
            "sentence": one.sentence,
            "source": corpus.source.units(one.source),
            "target": corpus.target.units(one.target),
            "alternatives": [corpus.target.units(row) for row in one.alternatives],
            "seed": one.seed,
        }
        for number, one in enumerate(requests)
    ]
    write_atomically(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def load_requests(path: Path, corpus: Corpus) -> list[TranslationRequest]:
    """The requests that :func:`save_requests` wrote.

    :raises InputError: if the file is missing or broken, or has units that the corpus does not have.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        requests = [
            TranslationRequest(
                int(line["sentence"]),
                corpus.source.numbers(line["source"]),
                corpus.target.numbers(line["target"]),
                tuple(corpus.target.numbers(row) for row in line["alternatives"]),
                int(line["seed"]),
            )
            for line in lines
        ]
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: draw the requests first") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not hold edit requests ({error!r}): remove it and draw them again") from error
    for line, one in zip(lines, requests, strict=True):
        for vocabulary, units, numbers in (
            (corpus.source, line["source"], one.source),
            (corpus.target, line["target"], one.target),
        ):
            if vocabulary.units(numbers) != units:
                raise InputError(f"{path} belongs to a vocabulary of another run: remove it and draw requests again")
    return requests
