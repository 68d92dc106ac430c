"""Vocabularies: the units of a language as numbers, by fairseq's dictionary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.errors import InputError
from benchmarks.files import atomic_path
from benchmarks.translation.toolkit import fairseq

_MULTIPLE = 8  # fairseq's default: sizes that a GPU likes


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The units of one language.

    :ivar dictionary: a ``fairseq.data.Dictionary``.
    """

    dictionary: Any

    @classmethod
    def of(cls, lines: Iterable[str]) -> Vocabulary:
        """All units in lines of units, most frequent first."""
        dictionary = fairseq().data.Dictionary()
        for unit, count in Counter(unit for line in lines for unit in line.split()).items():
            dictionary.add_symbol(unit, n=count)
        dictionary.finalize(padding_factor=_MULTIPLE)
        return cls(dictionary)

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """The vocabulary that :meth:`save` wrote: fairseq's text format, a unit and its count a line.

        :raises InputError: if the file is missing or broken.
        """
        try:
            return cls(fairseq().data.Dictionary.load(str(path)))
        except FileNotFoundError as error:
            raise InputError(f"{path} is missing: prepare the corpus first") from error
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{path} is not a dictionary of fairseq's: prepare the corpus again") from error

    def save(self, path: Path) -> None:
        """Write fairseq's text format."""
        with atomic_path(path) as temporary:
            self.dictionary.save(str(temporary))

    def __len__(self) -> int:
        return len(self.dictionary)

    @property
    def pad(self) -> int:
        """The number that fills up rows."""
        return self.dictionary.pad()

    @property
    def end(self) -> int:
        """The number that ends a sentence."""
        return self.dictionary.eos()

    @property
    def never_used(self) -> tuple[str, ...]:
        """Units that no sentence has: fairseq's start of a sentence, and what fills up the dictionary."""
        return tuple(unit for unit in self.dictionary.symbols if unit == "<s>" or unit.startswith("madeupword"))

    def numbers(self, line: str) -> Tensor:
        """int32 ``(T,)``: the units of a line and the end of the sentence."""
        return torch.tensor([*(self.dictionary.index(unit) for unit in line.split()), self.end], dtype=torch.int32)

    def units(self, numbers: Tensor | Sequence[int]) -> str:
        """The units that numbers stand for, without the end of the sentence and what fills up a row."""
        return " ".join(self.dictionary[int(one)] for one in numbers if int(one) not in (self.end, self.pad))
