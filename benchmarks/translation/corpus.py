"""A prepared corpus: sentence pairs as text and as numbers, with the codes and vocabularies in between."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from benchmarks.errors import InputError
from benchmarks.files import atomic_path, write_atomically
from benchmarks.translation.text import LANGUAGES, Parallel, apply_codes, detokenise, join_units, learn_codes
from benchmarks.translation.vocabulary import Vocabulary

SPLITS = ("train", "valid", "test")
DESCRIPTION = "corpus.json"
_NUMBERS, _CODES = "numbers.safetensors", "codes.bpe"


@dataclass(frozen=True, eq=False)
class Texts:
    """The plain and tokenised pairs of a corpus, as its file in ``corpora`` makes them.

    :ivar origin: a sentence about where they come from.
    :ivar merges: the number of byte-pair merges of which their units are to be made.
    """

    name: str
    origin: str
    merges: int
    train: Parallel
    valid: Parallel
    test: Parallel


@dataclass(frozen=True, eq=False)
class Sentences:
    """The sentence pairs of one split.

    :ivar source, target: plain text.
    :ivar source_numbers, target_numbers: their units as int32 ``(T,)``, each sentence with its end.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    source_numbers: tuple[Tensor, ...]
    target_numbers: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True, eq=False)
class Corpus:
    """A prepared corpus: three splits, and the codes and vocabularies that they were made with."""

    name: str
    origin: str
    codes: str
    source: Vocabulary
    target: Vocabulary
    train: Sentences
    valid: Sentences
    test: Sentences

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every number and of what the numbers stand for."""
        digest = hashlib.sha256(self.codes.encode())
        for vocabulary in (self.source, self.target):
            digest.update(json.dumps(vocabulary.dictionary.symbols).encode())
        for split in SPLITS:
            sentences: Sentences = getattr(self, split)
            digest.update(json.dumps([sentences.source, sentences.target]).encode())
            for numbers in (*sentences.source_numbers, *sentences.target_numbers):
                digest.update(numbers.numpy().tobytes() + b"\0")
        return digest.hexdigest()

    def words(self, numbers: Tensor) -> str:
        """A translation as a person reads it: plain text, in lower case."""
        return detokenise([join_units(self.target.units(numbers))], LANGUAGES[1])[0]


def prepare(texts: Texts) -> Corpus:
    """Learn byte-pair codes and vocabularies from the training pairs and turn every sentence into numbers, once."""
    training = texts.train
    codes = learn_codes([*training.source_tokens, *training.target_tokens], texts.merges)
    units = {
        split: [apply_codes(side, codes) for side in (pairs.source_tokens, pairs.target_tokens)]
        for split, pairs in ((split, getattr(texts, split)) for split in SPLITS)
    }
    source, target = (Vocabulary.of(side) for side in units["train"])
    made = {
        split: Sentences(
            getattr(texts, split).source,
            getattr(texts, split).target,
            tuple(source.numbers(line) for line in units[split][0]),
            tuple(target.numbers(line) for line in units[split][1]),
        )
        for split in SPLITS
    }
    return Corpus(texts.name, texts.origin, codes, source, target, **made)


def save(corpus: Corpus, folder: Path) -> None:
    """Write text, units, dictionaries, codes and numbers, the description last."""
    numbers: dict[str, Tensor] = {}
    for split in SPLITS:
        sentences: Sentences = getattr(corpus, split)
        for side, language in zip(("source", "target"), LANGUAGES, strict=True):
            rows, vocabulary = getattr(sentences, f"{side}_numbers"), getattr(corpus, side)
            numbers[f"{split}.{language}"] = torch.cat(rows)
            numbers[f"{split}.{language}.lengths"] = torch.tensor([len(row) for row in rows], dtype=torch.int32)
            _write_lines(folder / f"{split}.{language}", getattr(sentences, side))
            _write_lines(folder / f"{split}.bpe.{language}", (vocabulary.units(row) for row in rows))
    for side, language in zip((corpus.source, corpus.target), LANGUAGES, strict=True):
        side.save(folder / f"dict.{language}.txt")
    write_atomically(folder / _CODES, corpus.codes)
    with atomic_path(folder / _NUMBERS) as temporary:
        safetensors.torch.save_file(numbers, temporary)
    described = {"name": corpus.name, "origin": corpus.origin, "fingerprint": corpus.fingerprint}
    described |= {split: len(getattr(corpus, split)) for split in SPLITS}
    described |= {"units": [len(corpus.source), len(corpus.target)]}
    write_atomically(folder / DESCRIPTION, json.dumps(described, indent=2) + "\n")


def load(folder: Path) -> Corpus:
    """The corpus that :func:`save` wrote.

    :raises InputError: naming the folder, if something in it is missing or does not belong to the rest.
    """
    try:
        described = json.loads((folder / DESCRIPTION).read_text())
        numbers = safetensors.torch.load_file(folder / _NUMBERS)
        source, target = (Vocabulary.load(folder / f"dict.{language}.txt") for language in LANGUAGES)
        codes = (folder / _CODES).read_text(encoding="utf-8")
        splits = {split: _read_split(folder, split, numbers) for split in SPLITS}
        corpus = Corpus(described["name"], described["origin"], codes, source, target, **splits)
        wanted = described["fingerprint"]
    except FileNotFoundError as error:
        raise InputError(f"{error.filename or folder} is missing: prepare the corpus first") from error
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder} does not hold a prepared corpus ({error!r}): prepare it again") from error
    if corpus.fingerprint != wanted:
        raise InputError(f"{folder}: text, dictionaries and numbers are not of one run: prepare the corpus again")
    return corpus


def _read_split(folder: Path, split: str, numbers: dict[str, Tensor]) -> Sentences:
    texts = [tuple((folder / f"{split}.{language}").read_text("utf-8").split("\n")[:-1]) for language in LANGUAGES]
    rows = [
        tuple(numbers[f"{split}.{language}"].split(numbers[f"{split}.{language}.lengths"].tolist()))
        for language in LANGUAGES
    ]
    return Sentences(*texts, *rows)


def _write_lines(path: Path, lines: object) -> None:
    write_atomically(path, "".join(f"{line}\n" for line in lines))
