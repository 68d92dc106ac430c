"""Independent pieces of work on several cores, or on the GPUs, of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.queues import SimpleQueue
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
    visible: Sequence[str] = (),
) -> list[_Result]:
    """``[work(piece) for piece in pieces]``, on ``processes`` processes of one thread each.

    One thread, so that a result does not depend on how many processes there are. A GPU is not shared out, unless
    ``visible`` names one for each process. The workers end with this process, however it ends: one that went on would
    write into what the next run resumes from.

    :param work: a function of a module, so that it can be sent to another process.
    :param finished: called in this process as soon as a piece is done.
    :param visible: the GPU that each process sees, as CUDA_VISIBLE_DEVICES names it; then ``processes`` is not read.
    :raises InputError: if a process is killed; whatever ``work`` raises.
    """
    if not pieces or (not visible and (device.type == "cuda" or processes == 1)):
        if device.type != "cuda":
            torch.set_num_threads(1)
        results = []
        for piece in pieces:
            results.append(work(piece))
            finished(piece, results[-1])
        return results
    # Forking spares every worker the seconds that importing torch takes; it is safe before torch has started threads,
    # which a backward pass does too. So even a single piece is not worked on here: others may follow it. A process that
    # has found GPUs must not be forked.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" and not visible else "spawn")
    seen = context.SimpleQueue() if visible else None
    for one in visible:
        seen.put(one)
    with ProcessPoolExecutor(min(len(visible) or processes, len(pieces)), context, _begin, (seen,)) as pool:
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


def compute_reproducibly() -> None:
    """On a GPU: the same sums in the same order each time, and in full float32. A CPU does so anyway.

    What a GPU can only sum in any order is an error from here on.
    """
    if not torch.cuda.is_available():
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a launch for each tensor; nobody reads what it fills
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether a GPU may round the factors of products to TF32 (10 bits of mantissa) in this block; a CPU never does."""
    kinds = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [kind.allow_tf32 for kind in kinds]
    try:
        for kind in kinds:
            kind.allow_tf32 = allowed
        yield
    finally:
        for kind, was in zip(kinds, before, strict=True):
            kind.allow_tf32 = was


def _begin(seen: SimpleQueue | None) -> None:
    """Make this process a worker: one thread, one GPU at most, quiet at Ctrl-C, gone when its parent is."""
    if seen is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = seen.get()  # before CUDA is asked for anything
        compute_reproducibly()
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
