"""The stages of dvc.yaml, each of which also runs by itself: ``python -m pipelines.<stage> --help``."""

import signal
import sys

if sys.argv[:1] == ["-m"]:  # a command that still imports: Ctrl-C ends it at once, without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)
