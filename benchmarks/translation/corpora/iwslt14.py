"""IWSLT'14 German-English: talks, about 160,000 pairs for training. Prepared as for the fairseq models of the paper.

Cettolo et al., Report on the 11th IWSLT Evaluation Campaign, 2014.
"""

from __future__ import annotations

import re
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from benchmarks.data.download import fetch
from benchmarks.errors import InputError
from benchmarks.translation.corpus import Texts
from benchmarks.translation.text import LANGUAGES, Parallel, parallel

DOWNLOADS = Path("data/downloads")
ARCHIVE = "de-en.tgz"
MIRRORS = (
    "https://dl.fbaipublicfiles.com/fairseq/data/iwslt14/de-en.tgz",
    "https://wit3.fbk.eu/archive/2014-01/texts/de/en/de-en.tgz",
)
TESTS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")
RATIO, LONGEST = 1.5, 175
"""Training pairs are kept if neither side is this many times longer than the other, and both have 1 to 175 tokens."""
HELD_OUT = 23
"""Every so-manieth training pair is for validation."""
_DROPPED = ("<url>", "<talkid>", "<keywords>")
_TAGS = re.compile(r"</?(?:title|description)>")
_SEGMENT = re.compile(r'<seg id="[0-9]*">\s*(.*?)\s*</seg>')


def iwslt14(archive: str | None = None, md5: str | None = None, merges: int = 10_000) -> Texts:
    """The official ``de-en.tgz``: tags stripped, training pairs cleaned, five TED and TEDX sets as the test set.

    :param archive: the path of the file; None to download it, which takes the ``md5`` that it must have.
    :param merges: of byte pairs, to make units of.
    :raises InputError: for an archive that is missing, damaged or of another layout.
    """
    path = Path(archive) if archive is not None else _download(md5)
    if not path.is_file():
        raise InputError(f"{path} is missing: give IWSLT'14's {ARCHIVE} as the option 'archive'")
    with tempfile.TemporaryDirectory() as temporary:
        try:
            with tarfile.open(path) as contents:
                contents.extractall(temporary, filter="data")
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            reason = str(error).partition("\n")[0].rstrip(":")  # tarfile adds a line for each way that it tried
            raise InputError(f"{path} cannot be unpacked: {reason}") from error
        folder = Path(temporary) / "de-en"
        training = _cleaned(_pairs(folder, "train.tags.de-en.{}", _tagged_lines))
        tests = [_pairs(folder, f"IWSLT14.{name}.de-en.{{}}.xml", _segments) for name in TESTS]
    valid = range(HELD_OUT - 1, len(training), HELD_OUT)
    test = Parallel(*(sum(sides, ()) for sides in zip(*(vars(one).values() for one in tests), strict=True)))
    return Texts(
        name="iwslt14",
        origin=f"IWSLT'14 German-English, cleaned to {len(training)} training and validation pairs.",
        merges=merges,
        train=training.select(sorted(set(range(len(training))) - set(valid))),
        valid=training.select(valid),
        test=test,
    )


def _download(md5: str | None) -> Path:
    elsewhere = f"get {ARCHIVE} from {' or '.join(MIRRORS)} and give its path as the option 'archive'"
    if md5 is None:
        raise InputError(f"iwslt14 downloads only what it can check: give the option 'md5', or {elsewhere}")
    try:
        return fetch(MIRRORS, DOWNLOADS / ARCHIVE, md5)
    except InputError as error:
        raise InputError(f"{error}; {elsewhere}") from error


def _pairs(folder: Path, name: str, read: Callable[[str], list[str]]) -> Parallel:
    files = [folder / name.format(language) for language in LANGUAGES]
    try:
        sides = [read(file.read_text(encoding="utf-8")) for file in files]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the archive has no readable {folder.name}/{name.format('*')}: is it IWSLT'14's?") from error
    return parallel(*sides, name.format("*"))


def _tagged_lines(content: str) -> list[str]:
    """Training text: titles and descriptions count as sentences, addresses and keywords do not."""
    lines = content.removesuffix("\n").split("\n")
    return [_TAGS.sub("", line) for line in lines if not any(tag in line for tag in _DROPPED)]


def _segments(content: str) -> list[str]:
    return [found.group(1).replace("’", "'") for found in map(_SEGMENT.search, content.split("\n")) if found]


def _cleaned(pairs: Parallel) -> Parallel:
    """Without pairs that are empty, very long, or of very unequal length, counted in tokens."""
    lengths = [
        (len(source.split()), len(target.split()))
        for source, target in zip(pairs.source_tokens, pairs.target_tokens, strict=True)
    ]
    return pairs.select(
        row
        for row, (one, other) in enumerate(lengths)
        if min(one, other) >= 1 and max(one, other) <= LONGEST and max(one, other) <= RATIO * min(one, other)
    )
