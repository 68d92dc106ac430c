"""What large work should take, by arithmetic and not by a clock.

A benchmark of images at full scale on one GPU (:func:`of_benchmark`): every part takes what its operations take at the
GPU's rates, or what its launches take if that is longer. Launches of a step were counted on the emulated GPU; edits'
own steps, on one image each, are few beside the control images.

A large grid of evaluations on a large cluster (:func:`of_cluster`; ``python -m pipelines.timing.estimates`` prints it):
100 editors edit 10 models, 1,000 edits each, and each edit is scored on 50,000 images; 1,000 GPUs in nodes of 8. A
simulation gives tasks out as the engine ``ray`` does, in the order of the cells, each to the first GPU that is free.
How much longer than others some cells take is what was recorded: the times of the studies under results/.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks import models
from benchmarks.errors import InputError
from benchmarks.networks.model_split import layers_of, split
from pipelines import timing
from pipelines.config.params import Settings
from pipelines.jobs.cells import Cell, cells_of_run
from pipelines.jobs.trials import FINALISTS
from pipelines.reporting.tables.sheet import markdown_table

RATES = {"float32": 40e12, "TF32": 120e12, "bfloat16": 200e12}
"""Operations a second that convolutions reach on an H200, as assumed."""
LAUNCH = 6e-6
"""Seconds of the host for a kernel."""
LAUNCHES = {"plain": 370, "editable": 2600, "cnp": 900}
"""Of a step of a training, by recipe; four inner steps in an editable one."""
FORWARDS = {"plain": 3.0, "editable": 6.2, "cnp": 6.2}
"""Operations of a step in forward passes of its batch: a backward pass is two, and an edited model answers too."""
CHUNK, OF_CHUNK = 500, 70
"""Control images that pass a network at a time, and the launches that it takes."""
FACTORS = 7
"""Learning rates of a trade-off curve."""
SAMPLE, TOGETHER = 2000, 3
"""What is proposed: control images drawn for each edit, and trainings on the GPU at a time."""
EDITORS, MODELS, EDITS, IMAGES, GPUS, GPUS_OF_A_NODE = 100, 10, 1000, 50_000, 1000, 8
FORWARD = 2 * 1.82e9 / RATES["float32"]
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
class Part:
    """Hours of a part of the work as it is configured, and as it could be, with what."""

    name: str
    hours: float
    changed: str
    then: float


def parts(settings: Settings, benchmark: str) -> Iterator[Part]:
    """Trainings, tuning, finalists, evaluation and analysis of a benchmark with the architecture resnet18."""
    block = settings.benchmark(benchmark)
    images, test, tuning = 50_000 - block.data.options["tuning_size"], 10_000, block.data.options["tuning_size"]
    network = models.make("resnet18", channels=3, classes=10, **block.model.options)
    cells = [cell for found in cells_of_run(settings, benchmark, None).values() for cell in found]
    of_layers = {layers: operations(network, layers) for layers in {"all", *(cell.layers for cell in cells)}}
    plain = trained_together = 0.0
    for training in block.trainings.values():
        if training.recipe in LAUNCHES:
            steps = training.epochs * math.ceil(images / training.batch_size)
            work = steps * training.batch_size * FORWARDS[training.recipe] * of_layers["all"]
            launched = steps * LAUNCHES[training.recipe] * LAUNCH
            plain += max(work / RATES["float32"], launched)
            trained_together += max(work / RATES["bfloat16"], launched / TOGETHER)
    share = f"`engine: gpus`, `gpu_share: {1 / TOGETHER:.2f}`"
    said = f"`mixed_precision: true`, and {TOGETHER} on the GPU at once ({share}): launches bind"
    yield Part("trainings", plain / 3600, said, trained_together / 3600)

    def scored(edits: Mapping[Cell, float], control: int, rate: str = "float32") -> float:
        """Hours of control images through what each cell edits."""
        seconds = 0.0
        for cell, count in edits.items():
            launched = math.ceil(control / CHUNK) * OF_CHUNK * LAUNCH
            seconds += count * max(control * of_layers[cell.layers] / RATES[rate], launched)
        return seconds / 3600

    asked, trials = block.tuning, {cell: block.editor(cell.editor).trials for cell in cells}
    searched = scored({cell: number * asked.edits for cell, number in trials.items()}, asked.control_size or tuning)
    yield Part("tuning", searched, "", searched)
    finalists = {cell: min(number, FINALISTS) * asked.edits for cell, number in trials.items() if number > 1}
    hours, faster = (scored(finalists, tuning, rate) for rate in ("float32", "TF32"))
    said = "`tuning.tf32: true`, which decides between trials and is in no reported drawdown"
    yield Part("finalists on the whole tuning split", hours, said, faster)
    most = block.evaluation.edits
    edits = {cell: min(block.editor(cell.editor).max_edits or most, most) for cell in cells}
    said = f"`evaluation.control_size: {SAMPLE}`, drawn for each edit; without the rows that go on to all images"
    yield Part("evaluation", scored(edits, test), said, scored(edits, SAMPLE))
    drawn = [Cell(benchmark, *names) for names in block.analysis.cells]
    figure = scored(dict.fromkeys(drawn, float(block.analysis.edits)), test)
    curves = dict.fromkeys(drawn, float(FACTORS * block.evaluation.edits))
    said = "half as many edits in Figure 2, curves on the sample"
    yield Part("Figure 2 and curves", figure + scored(curves, test), said, figure / 2 + scored(curves, SAMPLE))


def operations(network: nn.Module, layers: str = "all") -> float:
    """Of one 3x32x32 image through what an edit of ``layers`` leaves to compute; two for a multiplication."""
    named = {name.partition(".")[0] for name, _ in network.named_parameters()}
    if layers != "all" and layers.partition(".")[0] not in named:
        return operations(network)  # a part of another network, as large
    prefix, suffix = split(network.eval(), layers_of(layers))
    with torch.no_grad():
        features = prefix(torch.zeros(1, 3, 32, 32))
        return float(timing.operations(lambda: suffix(features)))


def of_benchmark(settings: Settings, benchmark: str) -> str:
    """The parts as Markdown, with their sum.

    :raises InputError: for anything but a ResNet-18 on CIFAR-10.
    """
    block = settings.benchmark(benchmark).model_dump()
    if (block["data"].get("dataset"), block["model"].get("architecture")) != ("cifar10", "resnet18"):
        raise InputError(f"what is counted is a resnet18 on cifar10, which {benchmark} is not")
    found = list(parts(settings, benchmark))
    found.append(Part("all", sum(part.hours for part in found), "", sum(part.then for part in found)))
    lines = [[part.name, f"{part.hours:.1f} h", part.changed, f"{part.then:.1f} h"] for part in found]
    return markdown_table(["part", "as configured", "with what", "then"], lines)


def simulate(
    work: Sequence[float], gpus: int, begin: float = 0.0, start: float = 0.0, handed_out: float = 0.0
) -> tuple[float, float]:
    """Tasks that take ``work`` seconds, in this order, each on the GPU that is free first.

    :param begin: seconds until every node has the data.
    :param start: seconds that each task takes before its work.
    :param handed_out: seconds between two tasks' beginnings, at least.
    :returns: seconds from start to end, and the share of all GPUs' time that edits and scores are computed in.
    """
    free, driver = [begin] * gpus, 0.0
    for seconds in work:
        driver += handed_out
        heapq.heapreplace(free, max(free[0], driver) + start + seconds)
    end = max(free)
    return end, sum(work) / (end * gpus)


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


def of_cluster(results: Path) -> str:
    """Tasks, hours and busy GPUs by the number of pieces of a cell and the speed of the shared file system."""
    whole = cells(results)
    headings, lines = ["pieces of a cell", "tasks", "file system", "data are there after"], []
    for pieces, speed in ((1, 10), (10, 10), (100, 10), (10, 1), (10, 100)):
        work = [seconds / pieces for seconds in whole for _ in range(pieces)]
        begin = READ * -(-GPUS // GPUS_OF_A_NODE) / (speed * 1e9)
        seconds, busy = simulate(work, GPUS, begin, START + CHECK, HANDED_OUT)
        spent = [f"{begin / 60:.0f} min", f"{seconds / 3600:.1f} h", f"{100 * busy:.0f} %"]
        lines.append([str(pieces), f"{len(work):,}", f"{speed} GB/s", *spent])
    return markdown_table([*headings, "all done after", "GPUs busy"], lines)


if __name__ == "__main__":
    print(of_cluster(Path("results")))
