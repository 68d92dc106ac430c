"""The error that a user sees for bad input: one sentence instead of a traceback; and the refusal of unknown names."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable
from typing import Any

FINGERPRINTED = False  # decides no number


class InputError(ValueError):
    """Bad input; the message is one sentence that names the file or value, what was found, and what is allowed."""


def check_known(where: str, name: str, known: Iterable[str], what: str) -> None:
    """Refuse a name that is not among the ``known`` ones.

    :raises InputError: saying ``where`` it stands, the name that was probably meant, and ``what`` the known ones are.
    """
    known = list(known)
    if name not in known:
        meant = difflib.get_close_matches(str(name), known, n=1)
        told = where if repr(name) in where else f"{where}: unknown {name!r}"
        proposed = f"did you mean {meant[0]!r}? " if meant else ""
        raise InputError(f"{told}; {proposed}{what}: {', '.join(known) or 'none'}")


def check_once(where: str, names: Iterable[Any]) -> None:
    """Refuse a name that is listed twice.

    :raises InputError: saying which.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{where}: {twice[0]!r} is listed twice")
