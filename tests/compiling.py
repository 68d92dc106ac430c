"""Tests that compile are skipped where there is nothing to compile with, and no others."""

import shutil
import sysconfig
from pathlib import Path

import pytest

_THERE = shutil.which("c++") is not None and (Path(sysconfig.get_path("include")) / "Python.h").exists()
compiles = pytest.mark.skipif(not _THERE, reason="needs a C++ compiler and Python's headers")
