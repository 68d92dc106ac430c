"""fairseq is imported late and in one place."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from tests.optional import FAIRSEQ, needs

ROOT = Path(__file__).parents[3]
ROOMS = ("editors", "benchmarks", "baselines", "pipelines")


def test_importing_the_suite_never_imports_fairseq():
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        if path.name != "__init__.py"
    ]
    code = f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
    code += "print(sorted(name for name in sys.modules if name.partition('.')[0] == 'fairseq'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_one_file_alone_imports_fairseq():
    importing = set()
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            named = isinstance(node, ast.Constant | ast.JoinedStr) and "fairseq." in ast.unparse(node)[:12]
            if named or any(name.partition(".")[0] == "fairseq" for name in names):
                importing.add(str(path.relative_to(ROOT)))
    assert importing == {"benchmarks/translation/toolkit.py"}


@needs(*FAIRSEQ)
def test_importing_fairseq_says_nothing():
    code = "from benchmarks.translation.toolkit import fairseq; fairseq().data.Dictionary; import logging\n"
    code += "assert logging.root.manager.disable == logging.NOTSET"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert (done.stdout, done.stderr) == ("", "")
