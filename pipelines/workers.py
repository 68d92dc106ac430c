"""Independent pieces of work on several cores."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import torch

from benchmarks.errors import InputError

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")


def share_out(
    work: Callable[[_Piece], _Result], pieces: Sequence[_Piece], processes: int, device: torch.device
) -> list[_Result]:
    """``[work(piece) for piece in pieces]``, on ``processes`` processes of one thread each.

    One thread, so that a result does not depend on how many processes there are. A GPU is not shared out.

    :param work: a function of a module, so that it can be sent to another process.
    :raises InputError: if a process is killed; whatever ``work`` raises.
    """
    if device.type == "cuda":
        return [work(piece) for piece in pieces]
    if processes == 1 or len(pieces) == 1:
        torch.set_num_threads(1)
        return [work(piece) for piece in pieces]
    # Forking spares every worker the seconds that importing torch takes; it is safe before torch has started threads.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(min(processes, len(pieces)), context, torch.set_num_threads, (1,)) as pool:
        futures = [pool.submit(work, piece) for piece in pieces]
        try:
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise InputError("a worker process was killed (out of memory?); run the command again to go on") from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
