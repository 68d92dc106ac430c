"""fairseq is imported without a word."""

import subprocess
import sys
from pathlib import Path

from tests.optional import FAIRSEQ, needs

ROOT = Path(__file__).parents[3]


@needs(*FAIRSEQ)
def test_importing_fairseq_says_nothing():
    code = "from benchmarks.translation.toolkit import fairseq; fairseq().data.Dictionary; import logging\n"
    code += "assert logging.root.manager.disable == logging.NOTSET; logging.getLogger('another library').info('heard')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert (done.stdout, done.stderr) == ("", "")
