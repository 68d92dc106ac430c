"""Stage 2: train the models to be edited."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from tqdm import tqdm

from baselines.edit_targets import RANDOM
from baselines.model_files import DESCRIPTION, WEIGHTS, ModelDescription, save_model
from baselines.training import Epoch
from benchmarks.data import dataset
from benchmarks.data.dataset import Dataset
from benchmarks.errors import InputError
from benchmarks.files import file_hash, write_atomically
from pipelines import command
from pipelines.config import params as parameters
from pipelines.config.params import Settings
from pipelines.config.trainings import targets_of
from pipelines.jobs import realistic_mistakes, sources
from pipelines.jobs.parallel_map import share_out
from pipelines.jobs.progress import Progress
from pipelines.jobs.recipes import RECIPES, Made, Task, code_of
from pipelines.store.code import code_hash
from pipelines.store.csv_files import write_csv
from pipelines.store.fingerprint import drop_unless_made_of, is_made_of
from pipelines.store.layout import COST, EDITOR, HISTORY, RANKS, TIMING, Layout, repeated
from pipelines.store.machine import machine
from pipelines.store.stage_times import timed
from pipelines.tracking.sync import live_training


@timed(lambda layout: layout.models.glob(f"*/{WEIGHTS}"))
def train(
    benchmark: Annotated[str, typer.Argument(help="A name under `benchmarks` in the parameter file.")],
    trainings: Annotated[
        list[str] | None, typer.Argument(help="Names under the benchmark's `trainings`; all that are listed, if none.")
    ] = None,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Train models, keep of each the epoch that the tuning split chooses, and write them to models/<benchmark>."""
    settings = parameters.load(params)
    listed = settings.run_of(benchmark).trainings
    names = _with_sources(settings, benchmark, trainings or listed)
    _tell_what_is_no_longer_trained(settings, Layout(benchmark).models, {*names, *listed})
    # Threads of its own for each training are for those that run alone: they must not be forked from.
    processes = settings.processes if settings.threads == 1 else 1
    for wave in _waves(settings, benchmark, names):
        tasks = [Task(benchmark, name, number) for number in settings.training_seeds for name in wave]
        share_out(partial(_train_one, settings), tasks, processes, settings.torch_device())


def _tell_what_is_no_longer_trained(settings: Settings, models: Path, names: Iterable[str]) -> None:
    """Say which models belong to no training and seed of the run; they may have cost days, so none is deleted."""
    trained = {repeated(name, number) for name in names for number in settings.training_seeds}
    left = sorted(path.name for path in models.glob("*/") if path.name not in trained)
    if left:
        print(f"{models} holds {', '.join(left)}, which params.yaml no longer trains; delete what you do not need")


def _with_sources(settings: Settings, benchmark: str, names: Sequence[str]) -> list[str]:
    """The names, and those whose models they are made of, which may have changed."""
    found = list(dict.fromkeys(names))
    for name in found:  # grows meanwhile
        found += [source for source in settings.benchmark(benchmark).sources_of(name) if source not in found]
    return found


def _waves(settings: Settings, benchmark: str, names: Sequence[str]) -> Iterator[list[str]]:
    """Names in groups that can be trained side by side: what is made of another model comes after it."""
    waiting = list(names)
    while waiting:
        sources = {name: settings.benchmark(benchmark).sources_of(name) for name in waiting}
        ready = [name for name in waiting if not set(sources[name]).intersection(waiting)]
        if not ready:
            raise InputError(f"benchmarks.{benchmark}.trainings: {', '.join(waiting)} are made of each other")
        yield ready
        waiting = [name for name in waiting if name not in ready]


def _train_one(settings: Settings, task: Task) -> None:
    """Make one model unless it is there already."""
    data = dataset.load(Layout(task.benchmark).data)
    layout = Layout(task.benchmark)
    folder, checkpoints = (place(task.training, task.seed) for place in (layout.model, layout.checkpoints))
    chosen = settings.training(task.benchmark, task.training)
    epochs = chosen.plan.epochs if chosen.plan else 0
    identity = _fingerprint(settings, data, task)
    progress = Progress(f"train {task}", epochs, "epochs")
    if is_made_of(folder / DESCRIPTION, identity, folder / WEIGHTS):
        progress.finish("unchanged")
        return
    sources.check(settings, task, data)
    if chosen.plan and chosen.plan.mixed_precision:
        _check_precision(task, settings.torch_device())
    torch.set_num_threads(settings.threads)
    tags = {"benchmark": task.benchmark, "training": task.training, "seed": str(task.seed)}
    live = live_training(task.benchmark, folder.name, chosen.model_dump(), tags) if epochs else nullcontext(_nothing)
    with live as log, _bar(task, epochs) as show:

        def on_epoch(epoch: Epoch) -> None:
            errors = f"training error {epoch.train_error:.2f} %, tuning error {epoch.tuning_error:.2f} %"
            show(errors)
            progress.advance(detail=errors, quiet=show is not _nothing)
            log(_numbers(epoch), epoch.epoch)

        drop_unless_made_of(checkpoints, identity)
        made = RECIPES[chosen.recipe].make(settings, task, data, on_epoch)
    where = {"batch_size": chosen.plan.batch_size} if chosen.plan else {}
    where |= {"machine": machine(settings.torch_device()), "threads": settings.threads}
    _write(folder, made, replace(made.description, fingerprint=identity), where)
    shutil.rmtree(checkpoints, ignore_errors=True)
    kept = f"kept epoch {made.description.epoch} of {epochs}, " if epochs else ""
    cost = f", a step costs {made.cost.ratio.value:.1f} plain ones" if made.cost else ""
    progress.finish(f"{kept}tuning error {made.description.tuning_error:.2f} %{cost}")


def _check_precision(task: Task, device: torch.device) -> None:
    """Whether bfloat16 is worth it.

    :raises InputError: on a GPU that has none; a CPU emulates it, of which a line warns.
    """
    if device.type == "cuda":
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            raise InputError(f"{task}: mixed_precision needs a GPU with bfloat16, which this one has not")
    elif not any(has for name, has in torch.cpu.get_capabilities().items() if "bf16" in name):
        print(f"train {task}: this processor emulates bfloat16, so mixed_precision makes it slower")


def _fingerprint(settings: Settings, data: Dataset, task: Task) -> str:
    """A hash of all that a model follows from: data, settings, seeds, code, and the model it is made of."""
    chosen = settings.training(task.benchmark, task.training)
    architecture = settings.benchmark(task.benchmark).model_of(task.training)
    described = [data.fingerprint(), chosen.model_dump(), architecture.model_dump(), settings.seed, settings.threads]
    described += ["compiled"] if settings.compile and RECIPES[chosen.recipe].compiles else []
    digest = hashlib.sha256(json.dumps([*described, str(task)], sort_keys=True).encode())
    for path in code_of(settings, task):
        digest.update(code_hash(path).encode())
    if targets_of(chosen) != RANDOM:
        digest.update(realistic_mistakes.identity(settings, task.benchmark, task.seed).encode())
    for source in settings.benchmark(task.benchmark).sources_of(task.training):
        path = Layout(task.benchmark).model(source, task.seed) / WEIGHTS
        try:
            digest.update(file_hash(path).encode())
        except FileNotFoundError as error:
            raise InputError(f"{path} is missing: train {source} first") from error
    return digest.hexdigest()


def _write(folder: Path, made: Made, description: ModelDescription, where: Mapping[str, Any]) -> None:
    """Write a model and what belongs to it; ``where`` says on what the cost of a step was measured."""
    # The first is written last: without it there is no model here.
    for file in (DESCRIPTION, HISTORY, EDITOR, COST, RANKS):
        (folder / file).unlink(missing_ok=True)
    if made.history:
        history = pd.DataFrame([_numbers(epoch) for epoch in made.history])
        write_csv(folder / HISTORY, history, digits=6)
    write_atomically(folder / TIMING, json.dumps({"seconds": round(made.seconds, 1)}) + "\n")
    if made.editor is not None:
        write_atomically(folder / EDITOR, json.dumps(dict(made.editor), indent=2) + "\n")
    if made.ranks is not None:
        write_csv(folder / RANKS, made.ranks, digits=6)
    if made.cost is not None:
        ratio = made.cost.ratio
        cost = {"cost_ratio": ratio.value, "cost_ratio_low": ratio.low, "cost_ratio_high": ratio.high}
        cost |= {"edit_steps": made.cost.edit_steps}
        rounded = {name: round(value, 4) for name, value in cost.items()} | {"batches": made.cost.batches}
        write_atomically(folder / COST, json.dumps(rounded | dict(where), indent=2) + "\n")
    save_model(folder, made.model, description)


def _numbers(epoch: Epoch) -> dict[str, float]:
    values = asdict(epoch)
    return values | values.pop("parts")


@contextlib.contextmanager
def _bar(task: Task, epochs: int) -> Iterator[Callable[[str], None]]:
    """On a terminal, a progress bar; elsewhere lines say the same (see :class:`Progress`)."""
    if not sys.stderr.isatty() or not epochs:
        yield _nothing
        return
    with tqdm(total=epochs, desc=f"train {task}", unit="epoch", mininterval=1.0, leave=False) as bar:

        def show(errors: str) -> None:
            bar.update()
            bar.set_postfix_str(errors)

        yield show


def _nothing(*_: object) -> None:
    """Drop it: what is logged is in history.csv as well, from which the report fills MLflow."""


if __name__ == "__main__":
    command.run(train)
