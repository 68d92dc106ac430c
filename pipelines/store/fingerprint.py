"""Whether something lies there already: a JSON file beside it holds the fingerprint of all that it follows from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from benchmarks.files import write_atomically

MADE_OF = "made_of.json"
_FINGERPRINT = "fingerprint"


def write_made_of(path: Path, fingerprint: str) -> None:
    """Write what the files beside ``path`` are made of, once they are complete."""
    write_atomically(path, json.dumps({_FINGERPRINT: fingerprint}) + "\n")


def is_made_of(path: Path, fingerprint: str, *others: Path) -> bool:
    """Whether ``path``, and with it the ``others``, are there and made of just that."""
    try:
        return json.loads(path.read_text())[_FINGERPRINT] == fingerprint and all(one.exists() for one in others)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def drop_unless_made_of(folder: Path, fingerprint: str) -> None:
    """Empty a folder of unfinished work that other code or settings began; what comes next is of this fingerprint."""
    if not is_made_of(folder / MADE_OF, fingerprint):
        shutil.rmtree(folder, ignore_errors=True)
        write_made_of(folder / MADE_OF, fingerprint)
