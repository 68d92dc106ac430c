"""A large grid of evaluations on a large cluster, on paper: ``python -m pipelines.timing.scale`` prints the table.

100 editors edit 10 models, 1,000 edits each, and each edit is scored on 50,000 images; 1,000 GPUs in nodes of 8. A
simulation gives tasks out as the engine ``ray`` does, in the order of the cells, each to the first GPU that is free.
How much longer than others some cells take is what was recorded: the times of the studies under results/.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

EDITORS, MODELS, EDITS, IMAGES, GPUS, GPUS_OF_A_NODE = 100, 10, 1000, 50_000, 1000, 8
FORWARD = 2 * 1.82e9 / 40e12
"""Seconds of one image of 3x224x224 through a ResNet-18 (1.82 G multiply-adds), at 40 TFLOP/s in float32."""
READ = (100_000 + 10_000 + IMAGES) * 3 * 224 * 224
"""Bytes of prepared data that a task looks through before it trusts them; a node's memory keeps them for its others."""
CHECK = 2 * READ / 1.5e9
"""Seconds that a task takes to hash them, twice, at 1.5 GB/s."""
START = 30.0
"""Seconds of a task until it computes: Python, CUDA, the activations of control images before the edited part."""
HANDED_OUT = 0.005
"""Seconds that the driver spends on a task, one after the other."""


@dataclass(frozen=True)
class Outcome:
    """:ivar seconds: from start to end; ``busy`` the share of all GPUs' time that edits and scores are computed in."""

    seconds: float
    busy: float


def simulate(
    work: Sequence[float], gpus: int, begin: float = 0.0, start: float = 0.0, handed_out: float = 0.0
) -> Outcome:
    """Tasks that take ``work`` seconds, in this order, each on the GPU that is free first.

    :param begin: seconds until every node has the data.
    :param start: seconds that each task takes before its work.
    :param handed_out: seconds between two tasks' beginnings, at least.
    """
    free, driver = [begin] * gpus, 0.0
    for seconds in work:
        driver += handed_out
        heapq.heapreplace(free, max(free[0], driver) + start + seconds)
    end = max(free)
    return Outcome(end, sum(work) / (end * gpus))


def recorded(results: Path) -> list[float]:
    """Times of studies relative to their benchmark's mean, as they lie under ``results``."""
    shares: list[float] = []
    for benchmark in sorted(results.glob("*/tuned")):
        content = [json.loads(path.read_text()) for path in sorted(benchmark.glob("*/timing.json"))]
        seconds = [value for times in content for value in times.values() if value]
        shares += [value / float(np.mean(seconds)) for value in seconds]
    return shares


def cells(results: Path) -> list[float]:
    """Seconds of every cell on one GPU; the mean is that of the arithmetic, the spread that of the records."""
    spread = np.random.default_rng(0).choice(recorded(results), EDITORS * MODELS)
    return list(spread / spread.mean() * EDITS * IMAGES * FORWARD)


def table(results: Path) -> str:
    """Tasks, hours and busy GPUs by the number of pieces of a cell and the speed of the shared file system."""
    whole = cells(results)
    lines = ["| pieces of a cell | tasks | file system | data are there after | all done after | GPUs busy |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    for pieces, speed in ((1, 10), (10, 10), (100, 10), (10, 1), (10, 100)):
        work = [seconds / pieces for seconds in whole for _ in range(pieces)]
        begin = READ * -(-GPUS // GPUS_OF_A_NODE) / (speed * 1e9)
        found = simulate(work, GPUS, begin, START + CHECK, HANDED_OUT)
        lines.append(
            f"| {pieces} | {len(work):,} | {speed} GB/s | {begin / 60:.0f} min "
            f"| {found.seconds / 3600:.1f} h | {100 * found.busy:.0f} % |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(Path("results")))
