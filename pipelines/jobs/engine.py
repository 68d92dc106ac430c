"""The engine that shares out the work of a stage: this process, cores or GPUs of this machine, or a Ray cluster.

None of them changes a result: pieces of work are independent of each other, each computes with the same number of
threads wherever it runs, and writes its files itself, atomically.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import torch

from benchmarks.errors import InputError
from pipelines.config.params import Settings
from pipelines.jobs.parallel_map import parallel_map

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")


def share_out(
    settings: Settings,
    work: Callable[[_Piece], _Result],
    pieces: Sequence[_Piece],
    finished: Callable[[_Piece, _Result], None] = lambda piece, result: None,
    threads: int = 1,
    beside: Callable[[], Collection[str]] = tuple,
) -> list[_Result]:
    """``[work(piece) for piece in pieces]``, by the engine that params.yaml names.

    :param work: a function of a module with the settings, so that it can be sent to another process.
    :param finished: called in this process as soon as a piece is done.
    :param threads: with which each piece computes on a CPU.
    :param beside: asked on a cluster: the kinds of processor that made the results among which the new ones will stand.
    :raises InputError: for an engine that is not there, a cluster of other processors than those, or a piece that is
        lost; whatever ``work`` raises.
    """
    if settings.engine == "ray":
        from pipelines.jobs import ray_cluster  # Ray is an extra, imported only when asked for

        return ray_cluster.share_out(settings, work, pieces, finished, threads, beside)
    device = settings.torch_device()
    visible = gpus(device, settings.gpu_share) if settings.engine == "gpus" else ()
    # Threads of their own are for pieces that run alone: a process that has started them must not be forked.
    processes = settings.processes if settings.engine == "cores" and threads == 1 else 1
    return parallel_map(work, pieces, processes, device, finished, visible)


def gpus(device: torch.device, share: float) -> list[str]:
    """The GPU of each worker, as CUDA_VISIBLE_DEVICES names it: as many workers on each as their ``share`` allows.

    :raises InputError: where there are none, or ``device`` is a single one.
    """
    if device.type != "cuda" or device.index is not None:
        raise InputError(f"engine: gpus needs GPUs and `device: auto` or `cuda`, not {device}; use cores")
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = given.split(",") if given else [str(number) for number in range(torch.cuda.device_count())]
    return names * int(1 / share + 1e-9)
