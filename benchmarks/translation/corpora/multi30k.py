"""Multi30k: German and English captions of photographs, 29,000 pairs for training.

Elliott et al., Multi30K: Multilingual English-German Image Descriptions, 2016.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from benchmarks.errors import InputError
from benchmarks.translation.corpus import Texts
from benchmarks.translation.text import LANGUAGES, Parallel, parallel

_FILES = {"train": "train", "valid": "val", "test": "test_2016_flickr"}


def multi30k(folder: str, merges: int = 8000) -> Texts:
    """The task-1 captions in ``folder``: ``train``, ``val`` and ``test_2016_flickr``, each ``.de`` and ``.en``, as
    they are or as ``.gz``.

    Raises InputError, naming the file, for one that is missing, empty, broken or of another length than its partner.
    """
    return Texts(
        name="multi30k",
        origin="Multi30k task 1, test_2016_flickr as test set.",
        merges=merges,
        **{split: _read(Path(folder), stem) for split, stem in _FILES.items()},
    )


def _read(folder: Path, stem: str) -> Parallel:
    return parallel(*(_lines(folder, f"{stem}.{language}") for language in LANGUAGES), str(folder / f"{stem}.*"))


def _lines(folder: Path, name: str) -> list[str]:
    plain, packed = folder / name, folder / f"{name}.gz"
    path = packed if packed.exists() else plain
    try:
        content = gzip.decompress(path.read_bytes()) if path is packed else path.read_bytes()
        lines = content.decode("utf-8").split("\n")
    except FileNotFoundError as error:
        raise InputError(f"{plain} is missing (or {packed.name}): give Multi30k's task-1 files as `folder`") from error
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path} cannot be read as text ({error})") from error
    if lines[-1] == "":
        lines.pop()
    if not any(line.strip() for line in lines):
        raise InputError(f"{path} is empty")
    return lines
