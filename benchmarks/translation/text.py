"""From plain sentences to subword units and back: Moses tokenisation, lower case, joint byte-pair encoding."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from benchmarks.errors import InputError

LANGUAGES = ("de", "en")
"""Those of sources and of translations."""
_CONTINUED = "@@ "


@dataclass(frozen=True)
class Parallel:
    """Sentences with their translations.

    :ivar source, target: plain text, a sentence an entry.
    :ivar source_tokens, target_tokens: the same, tokenised and in lower case, with blanks between tokens.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    source_tokens: tuple[str, ...]
    target_tokens: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.source)

    def select(self, chosen: Iterable[int]) -> Parallel:
        """Some of the pairs, in the order given."""
        rows = list(chosen)
        return Parallel(*(tuple(side[row] for row in rows) for side in vars(self).values()))


def parallel(source: Sequence[str], target: Sequence[str], where: str) -> Parallel:
    """Tokenise pairs of plain sentences.

    :param where: what they are, such as two file names, for the sentence of an error.
    :raises InputError: if there are none, or not as many of one side as of the other.
    """
    if not source or not target:
        raise InputError(f"{where}: there must be sentences on both sides, found {len(source)} and {len(target)}")
    if len(source) != len(target):
        raise InputError(f"{where}: line n must translate line n, but there are {len(source)} and {len(target)} lines")
    sides = [tuple(line.strip() for line in side) for side in (source, target)]
    tokens = [tokenise(side, language) for side, language in zip(sides, LANGUAGES, strict=True)]
    return Parallel(*sides, *tokens)


def tokenise(lines: Iterable[str], language: str) -> tuple[str, ...]:
    """Moses' tokens, escaped as Moses does, in lower case."""
    moses = _moses("MosesTokenizer", language)
    return tuple(moses.tokenize(line, return_str=True).lower() for line in lines)


def detokenise(lines: Iterable[str], language: str) -> list[str]:
    """Plain text of tokenised lines, still in lower case."""
    moses = _moses("MosesDetokenizer", language)
    return [moses.detokenize(line.split()) for line in lines]


@cache
def _moses(kind: str, language: str) -> Any:
    import sacremoses  # takes a second: only for whoever prepares or scores translations

    return getattr(sacremoses, kind)(lang=language)


def learn_codes(lines: Iterable[str], merges: int) -> str:
    """Byte-pair codes of ``merges`` merges over tokenised lines of all languages together, as subword-nmt writes them.

    Source: Sennrich et al., ACL 2016

    :raises InputError: for another number than a whole one >= 0.
    """
    if type(merges) is not int or merges < 0:
        raise InputError(f"merges must be a whole number >= 0, not {merges!r}")
    from subword_nmt.learn_bpe import learn_bpe

    codes = io.StringIO()
    with contextlib.redirect_stderr(io.StringIO()):  # it shows a progress bar
        learn_bpe(io.StringIO("\n".join(lines) + "\n"), codes, merges)
    return codes.getvalue()


def apply_codes(lines: Iterable[str], codes: str) -> list[str]:
    """Tokenised lines, split into subword units; ``@@`` marks a unit that the next one continues."""
    from subword_nmt.apply_bpe import BPE

    bpe = BPE(io.StringIO(codes))
    return [bpe.process_line(line) for line in lines]


def join_units(line: str) -> str:
    """The tokens that subword units make up."""
    return f"{line} ".replace(_CONTINUED, "").strip()
