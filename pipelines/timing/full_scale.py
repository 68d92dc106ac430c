"""What a benchmark of images at full scale should take on one GPU, by arithmetic: operations and launches, no clock.

Every part takes what its operations take at the GPU's rates, or what its launches take if that is longer. Launches of
a step were counted on the emulated GPU; edits' own steps, on one image each, are few beside the control images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import models
from benchmarks.networks.model_split import layers_of, split
from pipelines.config.params import Settings
from pipelines.jobs.cells import Cell, cells_of_run

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
FINALISTS = 3
FACTORS = 7
"""Learning rates of a trade-off curve."""
SAMPLE, TOGETHER = 2000, 3
"""What is proposed: control images drawn for each edit, and trainings on the GPU at a time."""


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
    said = "TF32, which decides between trials and prints no drawdown: not there yet"
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
        with FlopCounterMode(display=False) as counted:
            suffix(features)
    return float(counted.get_total_flops())


def table(settings: Settings, benchmark: str) -> str:
    """The parts as Markdown, with their sum."""
    found = list(parts(settings, benchmark))
    found.append(Part("all", sum(part.hours for part in found), "", sum(part.then for part in found)))
    lines = ["| part | as configured | with what | then |", "| --- | --- | --- | --- |"]
    lines += [f"| {part.name} | {part.hours:.1f} h | {part.changed} | {part.then:.1f} h |" for part in found]
    return "\n".join(lines)
