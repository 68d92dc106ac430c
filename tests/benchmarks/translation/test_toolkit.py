"""fairseq is imported late and in one place."""

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


@needs(*FAIRSEQ)
def test_importing_fairseq_says_nothing():
    code = "from benchmarks.translation.toolkit import fairseq; fairseq().data.Dictionary; import logging\n"
    code += "assert logging.root.manager.disable == logging.NOTSET; logging.getLogger('another library').info('heard')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert (done.stdout, done.stderr) == ("", "")
