"""The one place that imports fairseq: late, because that takes seconds, and quietly, because it talks a lot."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from functools import cache
from types import ModuleType

from benchmarks.errors import InputError

FINGERPRINTED = False  # decides no number
_NOISE = "Support for mismatched key_padding_mask and attn_mask is deprecated"
_PARTS = ("data", "models.transformer", "sequence_generator", "search", "criterions.label_smoothed_cross_entropy")


@cache
def fairseq() -> ModuleType:
    """fairseq with the parts that translation needs, such as ``fairseq().sequence_generator.SequenceGenerator``.

    :raises InputError: if it is not installed.
    """
    warnings.filterwarnings("ignore", message=_NOISE)  # said of fairseq's attention at every first call
    talking, level, handlers = logging.root.manager.disable, logging.root.level, logging.root.handlers[:]
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            for part in _PARTS:
                importlib.import_module(f"fairseq.{part}")
            return importlib.import_module("fairseq")
    except ImportError as error:
        raise InputError(f"translation needs fairseq ({error}): run `make .venv/translation` first") from error
    finally:
        logging.disable(talking)
        logging.root.setLevel(level)  # it makes the logger of the whole process tell everything that libraries do
        logging.root.handlers[:] = handlers
