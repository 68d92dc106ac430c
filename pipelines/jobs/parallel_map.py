"""Independent pieces of work on several cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import wait
from typing import TypeVar

import torch

from benchmarks.errors import InputError

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")


def parallel_map(
    work: Callable[[_Piece], _Result],
    pieces: Sequence[_Piece],
    processes: int,
    device: torch.device,
    finished: Callable[[_Piece, _Result], None] = lambda piece, result: None,
) -> list[_Result]:
    """``[work(piece) for piece in pieces]``, on ``processes`` processes of one thread each.

    One thread, so that a result does not depend on how many processes there are. A GPU is not shared out. The workers
    end with this process, however it ends: one that went on would write into what the next run resumes from.

    :param work: a function of a module, so that it can be sent to another process.
    :param finished: called in this process as soon as a piece is done.
    :raises InputError: if a process is killed; whatever ``work`` raises.
    """
    if device.type == "cuda" or processes == 1 or not pieces:
        if device.type != "cuda":
            torch.set_num_threads(1)
        results = []
        for piece in pieces:
            results.append(work(piece))
            finished(piece, results[-1])
        return results
    # Forking spares every worker the seconds that importing torch takes; it is safe before torch has started threads,
    # which a backward pass does too. So even a single piece is not worked on here: others may follow it.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(min(processes, len(pieces)), context, _begin) as pool:
        futures = {pool.submit(partial(_work, work), piece): piece for piece in pieces}
        try:
            for future in as_completed(futures):
                finished(futures[future], future.result())
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise InputError("a worker process was killed (out of memory?); run the command again to go on") from error
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if not isinstance(error, Exception):  # Ctrl-C: nobody wants to wait for the pieces under way
                for worker in multiprocessing.active_children():
                    worker.terminate()
            raise


def _begin() -> None:
    """Make this process a worker: one thread, quiet at Ctrl-C, gone when its parent is."""
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(130))
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    wait([parent.sentinel])
    os._exit(1)


def _work(work: Callable[[_Piece], _Result], piece: _Piece) -> _Result:
    try:
        return work(piece)
    except SystemExit:  # a signal; temporary files are gone by now, and the pool must not hand out another piece
        os._exit(130)
