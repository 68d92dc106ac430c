"""Pieces of work on a Ray cluster, whose nodes see the repository through a shared file system.

Ray ships the settings and the name of a piece; data, models and results are files that nodes read and write themselves.
A piece that is lost with its worker or node is started again by this process, which alone knows what is to be done, and
goes on from its files. A node that was declared dead may still write: always the same bytes, by an atomic rename.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch

from benchmarks.errors import InputError
from pipelines.config.params import Settings
from pipelines.jobs.parallel_map import compute_reproducibly
from pipelines.store.provenance import cpu

TRIES = 3
"""How often a piece is started again after its worker or node was lost."""
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_DEDUP_LOGS": "0",  # lines of progress are alike
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_worker_niceness": "0",  # of a Ray that is started here; at its 15, whatever else runs would come first
}
"""What Ray reads when it is imported, where a person has not chosen otherwise."""
_OBJECT_STORE = 200 * 2**20  # bytes: results are small, files are not shipped

_ASKED_FOR = 5000
"""Pieces that the cluster knows of at a time: to wait for one of them takes as long as there are pieces."""
_TRACKING = "MLFLOW_TRACKING_URI"

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Place:
    """How a piece is to be computed on a node.

    :ivar marker: a file in the repository by which a node tells that it sees the same folder.
    :ivar gpu: whether the piece has a share of a GPU.
    :ivar tracking: the address of an MLflow server; empty for none.
    """

    marker: Path
    gpu: bool
    tracking: str


def share_out(
    settings: Settings,
    work: Callable[[_Piece], _Result],
    pieces: Sequence[_Piece],
    finished: Callable[[_Piece, _Result], None],
    threads: int,
    beside: Callable[[], Collection[str]] = tuple,
) -> list[_Result]:
    """See :func:`pipelines.jobs.engine.share_out`; each piece takes ``threads`` CPUs and its share of a GPU.

    :raises InputError: for a cluster that is not there or does not fit, for a node that sees other files, and for a
        piece that was lost :data:`TRIES` times after the first; whatever ``work`` raises.
    """
    if not pieces:
        return []
    ray = _connected(settings)
    with _marked(Path.cwd()) as marker:
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= threads]
        if not nodes:
            raise InputError(f"engine: no node of the Ray cluster has {threads} CPUs for a piece of work")
        gpu = _wants_gpus(settings, nodes)
        place = _Place(marker, gpu, os.environ.get(_TRACKING, ""))
        task = ray.remote(max_retries=0)(_on_node)
        placed = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy

        def ask(node: dict[str, Any]) -> Any:
            there = task.options(num_cpus=0, scheduling_strategy=placed(node["NodeID"], soft=False))
            return there.remote(place, _processor, gpu)

        def start(piece: _Piece) -> Any:
            asked = task.options(num_cpus=threads, num_gpus=settings.gpu_share if gpu else 0)
            return asked.remote(place, _do, work, piece, gpu)

        kinds = {kind for _, kind in _each(ray, ask, nodes, [f"node {node['NodeManagerHostname']}" for node in nodes])}
        _check_alike(settings, kinds := kinds.union(beside()))
        results: dict[int, _Result] = {}
        for number, (kind, result) in _each(ray, start, pieces, [_named(piece) for piece in pieces]):
            _check_alike(settings, kinds := kinds | {kind})  # of nodes that came later
            results[number] = result
            finished(pieces[number], result)
    return [results[number] for number in range(len(pieces))]


def _connected(settings: Settings) -> Any:
    """Ray, connected to the cluster that params.yaml names, or to one that is started on this machine."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)  # before it is imported
    try:
        import ray
    except ImportError as error:
        raise InputError("engine: ray needs Ray on all machines: pip install '.[ray]'") from error
    if ray.is_initialized():
        return ray
    variables = {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])])}
    variables |= {"OMP_NUM_THREADS": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    options: dict[str, Any] = {"address": settings.ray_address}
    if settings.ray_address is None:
        options = {"address": "local", "num_cpus": settings.processes, "object_store_memory": _OBJECT_STORE}
        options |= {"include_dashboard": False}
    try:
        ray.init(**options, runtime_env={"env_vars": variables}, logging_level="warning")
    except Exception as error:  # it raises many kinds, RuntimeError and ConnectionError among them
        where = settings.ray_address or "this machine"
        raise InputError(f"ray_address: no Ray cluster answers at {where} ({_reason(error)})") from error
    return ray


def _each(
    ray: Any, start: Callable[[Any], Any], pieces: Sequence[Any], names: Sequence[str]
) -> Iterator[tuple[int, Any]]:
    """The results as they come, each with its number; what still runs is cancelled if that is not the end."""
    lost: Counter[int] = Counter()
    waiting = iter(range(len(pieces)))
    running = {start(pieces[number]): number for number in islice(waiting, _ASKED_FOR)}
    try:
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            number = running.pop(done)
            try:
                result = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise error.cause or error from None
            except ray.exceptions.RayError as error:
                lost[number] += 1
                what = f"{names[number]} was lost with its worker or node ({_reason(error)})"
                if lost[number] > TRIES:
                    raise InputError(f"{what}, {lost[number]} times in all; run the command again to go on") from error
                print(f"{what}: it goes on elsewhere", file=sys.stderr, flush=True)
                running[start(pieces[number])] = number
            else:
                running |= {start(pieces[following]): following for following in islice(waiting, 1)}
                yield number, result
    finally:
        for task in running:
            ray.cancel(task, force=True)


def _on_node(place: _Place, work: Callable[..., _Result], *arguments: Any) -> _Result:
    """Run something on a node, in the repository's root and as reproducibly as on one machine.

    :raises InputError: where the files of the driver are not to be seen.
    """
    root = place.marker.parent.parent
    if not place.marker.exists():
        raise InputError(
            f"engine: the Ray node {os.uname().nodename} does not see {root}: the repository, with data, models and "
            f"results, must lie in a folder that all nodes share, under the same path"
        )
    os.chdir(root)
    if not place.gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray itself leaves them to be seen
    if place.tracking:
        os.environ[_TRACKING] = place.tracking
    torch.set_num_threads(1)
    compute_reproducibly()
    return work(*arguments)


def _do(work: Callable[[_Piece], _Result], piece: _Piece, gpu: bool) -> tuple[str, _Result]:
    return _processor(gpu), work(piece)


def _processor(gpu: bool) -> str:
    """The kind of processor that decides the last digits."""
    return torch.cuda.get_device_name() if gpu and torch.cuda.is_available() else cpu()


def _check_alike(settings: Settings, kinds: Iterable[str]) -> None:
    named = sorted(kinds)
    if len(named) > 1 and not settings.mixed_hardware:
        raise InputError(
            f"mixed_hardware: one benchmark would be computed with {' and with '.join(named)}, whose results differ "
            f"in last digits: choose nodes of one kind, that of the results which stay, or set it to true"
        )


def _wants_gpus(settings: Settings, nodes: Sequence[dict[str, Any]]) -> bool:
    """Whether pieces take a share of a GPU: where the device is one, or ``auto`` and a node has some."""
    there = any(node["Resources"].get("GPU", 0) for node in nodes)
    if settings.device.startswith("cuda") and not there:
        raise InputError(f"device {settings.device!r} was asked for, but no node of the Ray cluster has a GPU; use cpu")
    return there and settings.device != "cpu"


@contextmanager
def _marked(root: Path) -> Iterator[Path]:
    """Leave the file by which nodes tell that they see the same folder."""
    marker = root / "unfinished" / f"shared-{uuid.uuid4().hex}"
    marker.parent.mkdir(exist_ok=True)
    marker.touch()
    try:
        yield marker
    finally:
        marker.unlink(missing_ok=True)


def _named(piece: Any) -> str:
    parts = piece if isinstance(piece, tuple) else (getattr(piece, "cell", piece),)
    return " ".join(str(part) for part in parts if not callable(part) and not isinstance(part, slice))


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
