"""Multi30k: German and English captions of photographs, 29,000 pairs for training.

Elliott et al., Multi30K: Multilingual English-German Image Descriptions, 2016.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from benchmarks.data.download import fetch
from benchmarks.errors import InputError
from benchmarks.translation.corpus import Texts
from benchmarks.translation.text import LANGUAGES, Parallel, parallel

DOWNLOADS = Path("data/downloads/multi30k")
SOURCE = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
MD5 = {
    "train.de.gz": "81ff90b99829c0cd4b1b587d394afd39",
    "train.en.gz": "0065d13af80720a55ca8153d126e6627",
    "val.de.gz": "6e0e229eb049e3fc99a1ef02fb2d5f91",
    "val.en.gz": "2b69aa9253948ac9f67e94917272dd40",
    "test_2016_flickr.de.gz": "efd67d314d98489b716b145475101932",
    "test_2016_flickr.en.gz": "ff2c0fcb4893a13bd73414306bc250ae",
}
_LARGEST = 2**28
"""Bytes of a file, unpacked; Multi30k's have a hundredth."""
_FILES = {"train": "train", "valid": "val", "test": "test_2016_flickr"}


def multi30k(folder: str | None = None, merges: int = 8000) -> Texts:
    """The task-1 captions: ``train``, ``val`` and ``test_2016_flickr``, each ``.de`` and ``.en``.

    :param folder: holds the files, as they are or as ``.gz``; None to download them.
    :param merges: of byte pairs, to make units of.
    :raises InputError: naming the file, for one that is missing, empty, broken or of another length than its partner.
    """
    folder = _download() if folder is None else folder
    return Texts(
        name="multi30k",
        origin="Multi30k task 1, test_2016_flickr as test set.",
        merges=merges,
        **{split: _read(Path(folder), stem) for split, stem in _FILES.items()},
    )


def _download() -> Path:
    try:
        for name, md5 in MD5.items():
            fetch([f"{SOURCE}/{name}"], DOWNLOADS / name, md5)
    except InputError as error:
        raise InputError(f"{error}; give a folder that has Multi30k's task-1 files as the option 'folder'") from error
    return DOWNLOADS


def _read(folder: Path, stem: str) -> Parallel:
    return parallel(*(_lines(folder, f"{stem}.{language}") for language in LANGUAGES), str(folder / f"{stem}.*"))


def _lines(folder: Path, name: str) -> list[str]:
    plain, packed = folder / name, folder / f"{name}.gz"
    path = packed if packed.exists() else plain
    try:
        with (gzip.open if path is packed else open)(path, "rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ValueError(f"more than {_LARGEST} bytes")
        # A carriage return inside a line would be taken for its end when the prepared text is read.
        lines = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", " ").split("\n")
    except FileNotFoundError as error:
        raise InputError(f"{plain} is missing (or {packed.name}): give Multi30k's task-1 files as `folder`") from error
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path} cannot be read as text ({error})") from error
    if lines[-1] == "":
        lines.pop()
    if not any(line.strip() for line in lines):
        raise InputError(f"{path} is empty")
    return lines
