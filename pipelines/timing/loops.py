"""The loops of the report on speed: each does something in the suite's way and in the naive way, on the same data."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import editors
from baselines import naive
from benchmarks.metrics import Estimate
from benchmarks.networks.folding import fold
from benchmarks.networks.model_split import activations, layers_of, split
from benchmarks.scoring.scorer import EditRecord, Scorer
from pipelines import timing
from pipelines.timing import Comparison, Conditions, Counts, Goal, Growth, Record, in_turns, ratio, subjects, timed

K = 10
_BETA, _EPS = 0.5, 1e-6
_PATIENCE = 8.0  # seconds after which growth is not measured once more, nor the naive way at a larger size
LEARNING_RATES = {
    (16, "chain1"): 1e-4,
    (16, "chain2"): 7e-5,
    (16, "chain3"): 3e-5,
    (16, "chain4"): 1.5e-5,
    (16, "all"): 8e-6,
    (32, "chain3"): 1e-5,
    (64, "chain3"): 3e-6,
    (64, "chain4"): 2e-6,
}
"""Those with which an edit takes about three steps, as in the paper's tables, by width and layers."""


@dataclass(frozen=True)
class Ways:
    """Two ways to the same thing, and what they find differently.

    :ivar counted: what takes as many operations as ``ours`` and can be counted, where that is compiled.
    """

    ours: Callable[[], Any]
    naive: Callable[[], Any]
    differences: Callable[[Any, Any], dict[str, float]]
    counted: Callable[[], Any] | None = None


def edits(width: int, layers: str, count: int, device: torch.device, compiled: bool = False) -> Ways:
    """``count`` edits with RMSProp: in batches behind a frozen, folded front, and one by one on copies of the model."""
    model, data = subjects.network(width, device), subjects.dataset(count)
    requests, lr = subjects.requests(data, count), LEARNING_RATES[width, layers]
    inputs = data.inputs(data.test.images[requests.images].to(device))
    part, targets = layers_of(layers), requests.targets.tolist()

    def in_batches(editor: editors.Editor) -> list[editors.EditResult]:
        with torch.no_grad():
            prefix, suffix = split(fold(model, part), part)
        features = activations(prefix, inputs)
        asked = [(one[None], editors.constraints.predicts(label)) for one, label in zip(features, targets, strict=True)]
        return editor.edit_many(suffix, asked, part)

    def naively() -> list[naive.Edited]:
        pairs = zip(inputs, targets, strict=True)
        return [naive.edit(model, one[None], label, part, naive.RMSProp(lr, _BETA, _EPS), K) for one, label in pairs]

    plain, ours = (
        partial(in_batches, editors.build("rmsprop", lr=lr, beta=_BETA, eps=_EPS, max_steps=K, compiled=flag))
        for flag in (False, compiled)
    )
    return Ways(ours, naively, edit_differences, counted=plain)


def evaluation(width: int, layers: str, images: int, device: torch.device) -> Ways:
    """One edit's drawdown on ``images``: only what follows the frozen front, and the whole patched model."""
    model, data = subjects.network(width, device), subjects.dataset(images)
    scorer = Scorer(model, layers, data, data.test, subjects.requests(data, 20))
    editor = editors.build("rmsprop", lr=10 * LEARNING_RATES[width, layers], beta=_BETA, eps=_EPS, max_steps=K)
    row, edit = next((row, edit) for row in range(20) if (edit := scorer.edit(editor, [row])[0][0]).steps)
    inputs, labels = data.inputs(data.test.images.to(device)), data.test.labels.to(device)
    patched = edit.apply(model)

    @cache
    def before() -> Tensor:
        return naive.predictions(model, inputs)

    def ours() -> EditRecord:
        return scorer.record(row, edit, generality=False)

    def naively() -> tuple[float, int]:
        after = naive.predictions(patched, inputs)
        return naive.drawdown(before(), after, labels), int((after != before()).sum())

    return Ways(ours, naively, lambda one, other: record_differences([one], [other]))


def edits_and_evaluation(width: int, layers: str, count: int, images: int, device: torch.device) -> Ways:
    """``count`` edits and their drawdown on ``images``, from the model on: what is computed once is part of it."""
    model, data = subjects.network(width, device), subjects.dataset(images)
    requests, lr = subjects.requests(data, count), LEARNING_RATES[width, layers]
    inputs, labels = data.inputs(data.test.images.to(device)), data.test.labels.to(device)
    editor = editors.build("rmsprop", lr=lr, beta=_BETA, eps=_EPS, max_steps=K)

    def ours() -> list[EditRecord]:
        scorer = Scorer(model, layers, data, data.test, requests)
        made, _ = scorer.edit(editor, range(count))
        return scorer.records(range(count), made, generality=False)

    def naively() -> list[tuple[float, int]]:
        before, found = naive.predictions(model, inputs), []
        for image, target in zip(requests.images.tolist(), requests.targets.tolist(), strict=True):
            rule = naive.RMSProp(lr, _BETA, _EPS)
            edited = naive.edit(model, inputs[image : image + 1], target, layers_of(layers), rule, K)
            after = naive.predictions(edited.model, inputs)
            found.append((naive.drawdown(before, after, labels), int((after != before).sum())))
        return found

    return Ways(ours, naively, record_differences)


def compare(make: Callable[[torch.device], Ways], goal: Goal, asked: Conditions) -> Record:
    """How much faster ours is; the first runs of each way are compared and not timed."""
    ways = make(asked.device)
    differences = ways.differences(ways.ours(), ways.naive())
    seconds, limit = _measured({"naive": ways.naive, "ours": ways.ours}, ways.counted or ways.ours, asked)
    return Comparison(goal, seconds, ratio(seconds["naive"], seconds["ours"]), differences, limit)


def training_step(width: int, batch: int, k: int, goal: Goal, asked: Conditions, compiled: bool = False) -> Record:
    """The cost of a step of Editable Training, in plain steps."""
    training = subjects.Training(width, batch, k, asked.device, compiled)
    found, expected = training.gradient(training.ours), training.gradient(training.naive)
    differences = {"gradient (relative)": float((found - expected).norm() / expected.norm())}
    counted = subjects.Training(width, batch, k, asked.device) if compiled else training
    ways = {name: training.stepper(getattr(training, name)) for name in ("plain", "ours", "naive")}
    seconds, limit = _measured(ways, counted.stepper(counted.ours), asked)
    ours, naively = (ratio(seconds[name], seconds["plain"]) for name in ("ours", "naive"))
    return Comparison(goal, seconds, ours, differences, limit, naively)


def mixed_precision(width: int, batch: int, device: torch.device) -> Ways:
    """A plain training step in bfloat16, channels last, as ``mixed_precision: true`` has it, and one in float32."""
    ours, naively = (subjects.plain_step(width, batch, device, mixed) for mixed in (True, False))
    return Ways(ours, naively, lambda one, other: {"loss (relative)": float(abs(one - other) / other)})


def _measured(
    ways: Mapping[str, Callable[[], Any]], counted: Callable[[], Any], asked: Conditions
) -> tuple[dict[str, list[float]], Estimate]:
    """Seconds of each round but a first one, for the references as well, and ours over the limit of ``counted``."""
    known = timing.references(asked.device)
    every = {**ways, **{name: reference.way for name, reference in known.items()}}
    seconds = {name: spent[1:] for name, spent in in_turns(every, asked.turns + 1, asked.device).items()}
    return seconds, timing.over_limit(seconds, timing.operations(counted), known)


def dispatched(asked: Conditions) -> Record:
    """Tensor operations of one inner step: the difference between four inner steps and three, forward and backward."""
    counts = {}
    for name in ("ours", "naive"):
        totals = []
        for k in (3, 4):
            training = subjects.Training(16, 8, k, torch.device("cpu"))
            with _Counter() as counter:
                training.gradient(getattr(training, name))
            totals.append(counter.count)
        counts[name] = totals[1] - totals[0]
    return Counts("Tensor operations in one inner step of Editable Training, ResNet-18, chain 3", counts)


class _Counter(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def memory(width: int, layers: str, images: int, limit: float, title: str, asked: Conditions) -> Record:
    """Peak memory of a fresh process that prepares and evaluates one edit; on a GPU, of the GPU."""
    work = partial(_peak_of_evaluation, width, layers, images, str(asked.device))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return Counts(title, {"ours": round(pool.submit(work).result() / 1e9, 2), "allowed": limit})


def _peak_of_evaluation(width: int, layers: str, images: int, device: str) -> int:
    where = torch.device(device)
    data = subjects.dataset(images)
    # The unedited model is evaluated on all images; an edit's answers take the same memory, so a few are enough here.
    scorer = Scorer(
        subjects.network(width, where), layers, data, data.test, subjects.requests(data, 1), control_size=100
    )
    editor = editors.build("rmsprop", lr=LEARNING_RATES[width, layers], max_steps=1)
    scorer.record(0, scorer.edit(editor, [0])[0][0], generality=False)
    if where.type == "cuda":
        return torch.cuda.max_memory_allocated(where)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def growth(make: Callable[..., Ways], quantity: str, sizes: list[int], title: str, asked: Conditions) -> Record:
    """Seconds of both ways at each size; the naive way is left out where it would take too long."""
    seconds: dict[str, list[float]] = {"ours": [], "naive": []}
    for size in sizes:
        ways = make(size, device=asked.device)
        for name, way in (("ours", ways.ours), ("naive", ways.naive)):
            before = seconds[name]
            if name == "naive" and before and before[-1] * size / sizes[len(before) - 1] > 2 * _PATIENCE:
                continue
            before.append(_typical(way, asked))
    exponents = {name: timing.exponent(sizes[: len(spent)], spent) for name, spent in seconds.items()}
    return Growth(title, quantity, sizes, seconds, exponents)


def _typical(way: Callable[[], object], asked: Conditions) -> float:
    """Median seconds of three runs after a first one; of that one alone if it takes long."""
    first = timed(way, asked.device)
    if first > _PATIENCE / 4:
        return first
    return float(np.median([timed(way, asked.device) for _ in range(3)]))


def edit_differences(ours: list[editors.EditResult], others: list[naive.Edited]) -> dict[str, float]:
    """Largest difference of a parameter, and how many edits ended otherwise or after another number of steps."""
    pairs = list(zip(ours, others, strict=True))
    return {
        "parameters": max(
            float((value - other.model.get_parameter(name).detach()).abs().max())
            for one, other in pairs
            for name, value in one.parameters.items()
        ),
        "success flags": sum(one.succeeded != other.succeeded for one, other in pairs),
        "steps": sum(one.steps != other.steps for one, other in pairs),
    }


def record_differences(ours: list[EditRecord], others: list[tuple[float, int]]) -> dict[str, float]:
    """Largest difference of a drawdown in points, and of the number of flipped predictions."""
    pairs = list(zip(ours, others, strict=True))
    drawdowns = [100 * abs(one.wrong_after - one.wrong_before) / one.control_size for one, _ in pairs]
    return {
        "drawdown": max(abs(found - other[0]) for found, (_, other) in zip(drawdowns, pairs, strict=True)),
        "flips": max(abs(one.flips - other[1]) for one, other in pairs),
    }


@cache
def loops() -> Mapping[str, Callable[[Conditions], Record]]:
    """All of them by name, in the order of the report, with what each should reach."""
    table: dict[str, Callable[[Conditions], Record]] = {}
    many = (
        (16, "chain3", 64, 5, 7),
        (16, "chain4", 32, 4, 5.4),
        (16, "chain1", 32, 4, 5.4),
        (16, "all", 32, 2.2, 2.8),
        (64, "chain3", 12, 1.7, 2.2),
        (64, "chain4", 12, 2.0, 2.6),
    )
    one = (
        (16, "chain2", 500, 1.7, 2.1),
        (16, "chain3", 500, 3.8, 4.5),
        (16, "chain4", 500, 8, 10),
        (16, "all", 500, 1.25, 1.4),
        (64, "chain3", 128, 2.0, 2.4),
        (64, "chain4", 128, 3.8, 4.6),
    )
    for width, layers, count, *goals in many:
        for compiled in (False, True):
            make = partial(edits, width, layers, count, compiled=compiled)
            goal = Goal(f"{count} edits, width {width}, {layers}{', compiled' * compiled}", *goals)
            table[f"edits-w{width}-{layers}{'-compiled' * compiled}"] = partial(compare, make, goal)
    for width, layers, count, *goals in one:
        goal = Goal(f"evaluation on {count} images, width {width}, {layers}", *goals)
        table[f"evaluation-w{width}-{layers}"] = partial(compare, partial(evaluation, width, layers, count), goal)
    both = partial(edits_and_evaluation, 16, "chain3", 16, 500)
    goal = Goal("16 edits and their evaluation on 500 images each, width 16, chain3", 3.5, 4.3)
    table["both-w16-chain3"] = partial(compare, both, goal)
    steps = (
        (16, 128, 4, False, 2.35, 2.2),
        (64, 64, 4, False, 2.45, 2.3),
        (16, 64, 10, False, 3.2, 2.95),
        (16, 128, 4, True, 2.35, 2.2),
    )
    for width, batch, k, compiled, *goals in steps:
        title = f"Editable Training, chain3, k = {k}, width {width}, batch {batch}{', compiled' * compiled}"
        step = partial(training_step, width, batch, k, Goal(title, *goals), compiled=compiled)
        table[f"training-w{width}-k{k}{'-compiled' * compiled}"] = step
    for width, *goals in ((16, 1.8, 2.4), (32, 1.8, 2.2)):
        goal = Goal(f"a plain training step in mixed precision, against float32, width {width}, batch 128", *goals)
        table[f"mixed-w{width}"] = partial(compare, partial(mixed_precision, width, 128), goal)
    table["operations"] = dispatched
    some, one_edit = partial(edits, 16, "chain3"), partial(evaluation, 16, "chain3")
    table["growth-edits"] = partial(growth, some, "edits", [16, 64, 256, 1024], "Edits, width 16, chain 3")
    sizes = [500, 1000, 2000, 5000, 10000]
    table["growth-control"] = partial(growth, one_edit, "control images", sizes, "Evaluation of an edit, width 16")
    few = partial(edits_and_evaluation, layers="chain3", count=4, images=100)
    table["growth-width"] = partial(growth, few, "width", [16, 32, 64], "4 edits and evaluation on 100 images")
    title = "Peak memory of evaluating an edit of chain3 on 10000 images, width 64, in GB"
    table["memory"] = partial(memory, 64, "chain3", 10000, 2.5, title)
    return table
