"""The corpora, by name. Adding one means adding a file to this folder and a line to ``CORPORA``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.errors import InputError
from benchmarks.translation.corpora.iwslt14 import iwslt14
from benchmarks.translation.corpora.multi30k import multi30k
from benchmarks.translation.corpora.toy_translation import toy_translation
from benchmarks.translation.corpus import Texts

FINGERPRINTED = False  # decides no number: the file of a corpus does
CORPORA: dict[str, Callable[..., Texts]] = {one.__name__: one for one in (toy_translation, multi30k, iwslt14)}


def options(name: str) -> dict[str, inspect.Parameter]:
    """The options of a corpus by name.

    :raises InputError: for an unknown name.
    """
    if name not in CORPORA:
        raise InputError(f"unknown corpus {name!r}; available: {', '.join(CORPORA)}")
    return dict(inspect.signature(CORPORA[name], eval_str=True).parameters)


def make(name: str, **chosen: Any) -> Texts:
    """Generate or read a corpus.

    :raises InputError: for an unknown name or option, and for what is wrong with the files.
    """
    known = options(name)
    for option in chosen:
        if option not in known:
            raise InputError(f"corpus {name}: unknown option {option!r}; options: {', '.join(known)}")
    return CORPORA[name](**chosen)


def file_of(name: str) -> Path:
    """The file that makes a corpus."""
    return Path(inspect.getfile(CORPORA[name]))
