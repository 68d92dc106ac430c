"""Packages of the extra `translation`, and a compiler: tests that need one are skipped where it is missing."""

import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

FAIRSEQ = ("fairseq", "sacrebleu")
"""fairseq, and what it imports itself."""
PREPARING = (*FAIRSEQ, "sacremoses", "subword_nmt")
"""What turns sentences into numbers."""

_COMPILER = shutil.which("c++") is not None and (Path(sysconfig.get_path("include")) / "Python.h").exists()
compiles = pytest.mark.skipif(not _COMPILER, reason="needs a C++ compiler and Python's headers")


def needs(*packages: str) -> pytest.MarkDecorator:
    """Skip the test where one of the ``packages`` is missing."""
    missing = _missing(packages)
    return pytest.mark.skipif(bool(missing), reason=missing)


def skip_without(*packages: str) -> None:
    """The same for whoever uses the fixture that says so."""
    if missing := _missing(packages):
        pytest.skip(missing)


def _missing(packages: tuple[str, ...]) -> str:
    missing = [name for name in packages if find_spec(name) is None]
    return f"needs {', '.join(missing)} of the extra `translation`" if missing else ""
