"""Stage 2: make the models to be edited, trained or made of each other.

``torchrun --nproc-per-node 8 -m pipelines.train imagenet distilled`` makes one of them, with ``ranks: 8``, on several
GPUs. The stage makes the same of it in one process, share after share.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any

import pandas as pd
import torch
import torch.distributed as dist
import typer

from baselines.model_files import DESCRIPTION, WEIGHTS, save_model
from benchmarks.errors import InputError
from benchmarks.files import atomic_path, write_atomically
from pipelines import command
from pipelines.config.params import Settings
from pipelines.jobs.cells import ModelKey, models_of
from pipelines.jobs.engine import share_out
from pipelines.jobs.progress import Progress
from pipelines.store.fingerprint import drop_unless_made_of, fingerprint, is_made_of
from pipelines.store.layout import HISTORY, ORIGIN, TIMING, Layout, write_csv, write_json
from pipelines.store.provenance import git_commit, made_here, now, one_at_a_time, timed
from pipelines.store.schemas import Origin, Trained, trained_on
from pipelines.tasks import data_fingerprint, data_of, load_settings, task_of
from pipelines.tasks.base import Made
from pipelines.tracking.records import metric_of_training, source_tags
from pipelines.tracking.runs import live_training


@timed(lambda layout: layout.models.glob(f"*/{WEIGHTS}"))
def train(
    benchmark: command.Benchmark,
    trainings: Annotated[
        list[str] | None, typer.Argument(help="Names under the benchmark's `trainings`; all of them, if none.")
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Take weights that came with the results; make only what is named.")
    ] = False,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Make models, keep of each the epoch that the tuning split chooses, and write them to models/<benchmark>."""
    settings = load_settings(params)
    if not trainings:
        trainings = _published(settings, benchmark) if published else list(settings.benchmark(benchmark).trainings)
    names = _with_sources(settings, benchmark, trainings)
    _tell_what_is_no_longer_made(settings, benchmark)
    for wave in _waves(settings, benchmark, names):
        keys = models_of(settings, benchmark, sorted(wave, key=partial(_effort, settings, benchmark), reverse=True))
        share_out(settings, partial(take if published else make, settings), keys, threads=settings.threads)


def _effort(settings: Settings, benchmark: str, name: str) -> int:
    """About how long a training takes, in epochs of plain training, for the longest to begin first.

    A step that edits takes as long as some four that do not.
    """
    chosen = settings.benchmark(benchmark).training(name)
    return getattr(chosen, "epochs", 0) * (4 if hasattr(chosen, "c_edit") else 1)


def _published(settings: Settings, benchmark: str) -> list[str]:
    """The trainings whose weights came with the results.

    :raises InputError: if there are none.
    """
    keys = models_of(settings, benchmark)
    found = list(dict.fromkeys(key.training for key in keys if (key.described / WEIGHTS).exists()))
    if not found:
        raise InputError(f"--published: no weights came with {Layout(benchmark).results / 'models'}")
    others = [name for name in settings.benchmark(benchmark).trainings if name not in found]
    if others:
        print(f"train {benchmark}: no weights came of {', '.join(others)}; name those that are to be made")
    return found


def _tell_what_is_no_longer_made(settings: Settings, benchmark: str) -> None:
    """Say which models belong to no training and seed; they may have cost days, so none is deleted."""
    known, models = {key.name for key in models_of(settings, benchmark)}, Layout(benchmark).models
    left = sorted(path.name for path in models.glob("*/") if path.name not in known)
    if left:
        print(f"{models} holds {', '.join(left)}, which no configuration makes; delete what you do not need")


def _with_sources(settings: Settings, benchmark: str, names: Sequence[str]) -> list[str]:
    """The names, and those whose models they are made of, which may have changed."""
    found = list(dict.fromkeys(names))
    for name in found:  # grows meanwhile
        found += [source for source in settings.benchmark(benchmark).sources_of(name) if source not in found]
    return found


def _waves(settings: Settings, benchmark: str, names: Sequence[str]) -> Iterator[list[str]]:
    """Names in groups that can be made side by side: what is made of another model comes after it."""
    order = TopologicalSorter({name: settings.benchmark(benchmark).sources_of(name) for name in names})
    try:
        order.prepare()
    except CycleError as error:
        circle = ", ".join(dict.fromkeys(error.args[1]))
        raise InputError(f"{benchmark}: trainings: {circle} are made of each other") from error
    while ready := order.get_ready():
        yield list(ready)
        order.done(*ready)


def is_made(settings: Settings, key: ModelKey) -> bool:
    """Whether the model is there already, made of what it would be made of now."""
    identity = _identity(settings, key)
    return is_made_of(key.folder / DESCRIPTION, identity, key.folder / WEIGHTS, key.described / DESCRIPTION)


def take(settings: Settings, key: ModelKey) -> None:
    """Take the weights of one model that lie beside its description in results/; make it if there are none.

    They stand for what today's code and settings would make, until either changes.

    :raises InputError: if they were trained on other data than those that are prepared here, or with other settings.
    """
    weights, folder = key.described / WEIGHTS, key.folder
    if is_made(settings, key) or not weights.exists():
        make(settings, key)
        return
    again = Layout(key.benchmark).again("train", key.training)
    description, made = Trained.read(key.described / DESCRIPTION, again), Origin.read(key.described / ORIGIN, again)
    if trained_on(description) != data_fingerprint(settings, key.benchmark):
        raise InputError(f"{weights} was trained on other data than {Layout(key.benchmark).data} holds")
    asked = _asked(settings, key)
    for name, value in made["asked"].items():
        if asked.get(name) != value:
            raise InputError(f"{weights} was trained with {name}: {value}, but {key} asks for {asked.get(name)}")
    (folder / DESCRIPTION).unlink(missing_ok=True)
    with atomic_path(folder / WEIGHTS) as temporary:
        shutil.copyfile(weights, temporary)
    text = json.dumps(description | {"fingerprint": _identity(settings, key)}, indent=2) + "\n"
    for described in (folder, key.described):
        write_atomically(described / DESCRIPTION, text)
    print(f"train {key}: took {weights}, made on {made['machine']} at commit {made['commit'][:12]}")


def make(settings: Settings, key: ModelKey) -> None:
    """Make one model unless it is there already."""
    chosen, task = settings.benchmark(key.benchmark).training(key.training), task_of(settings, key.benchmark)
    epochs = getattr(chosen, "epochs", 0)
    progress = Progress(f"train {key}", epochs, "epochs")
    if is_made(settings, key):
        progress.finish("unchanged")
        return
    identity = _identity(settings, key)
    data = data_of(settings, key.benchmark, Layout(key.benchmark).data)
    torch.set_num_threads(settings.threads)
    tags = {"benchmark": key.benchmark, "training": key.training, "seed": str(key.seed)}
    tags |= source_tags("train", git_commit())
    # Nodes of a cluster must not all write into one database file; a server takes what they say.
    seen = epochs and (settings.engine != "ray" or "MLFLOW_TRACKING_URI" in os.environ)
    live = live_training(key.benchmark, key.name, chosen.model_dump(), tags) if seen else nullcontext(lambda *_: None)
    with live as log:

        def on_epoch(numbers: Mapping[str, float]) -> None:
            progress.advance(detail=_said(numbers))
            shown = {metric_of_training(name): value for name, value in numbers.items() if name != "epoch"}
            log(shown, int(numbers["epoch"]))

        drop_unless_made_of(key.checkpoints, identity)
        made = task.make(settings, key, data, on_epoch)
    where = made_here(settings.torch_device()) | {"threads": settings.threads, "asked": _asked(settings, key)}
    _write(key, made, replace(made.description, fingerprint=identity), where)
    shutil.rmtree(key.checkpoints, ignore_errors=True)
    progress.finish(made.outcome)


def train_across_ranks(
    benchmark: command.Benchmark,
    training: Annotated[str, typer.Argument(help="A name under its `trainings`, with `ranks`.")],
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Train a model in the processes that torchrun started; what it goes on from must be there already."""
    settings = load_settings(params)
    ranks, here = getattr(settings.benchmark(benchmark).training(training), "ranks", 1), os.environ.get("WORLD_SIZE")
    if here != str(ranks):
        raise InputError(
            f"trainings.{training}.ranks is {ranks}, but torchrun started {here or 'no'} processes: "
            f"torchrun --nproc-per-node {ranks} -m pipelines.train {benchmark} {training}"
        )
    device = settings.torch_device()
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        for key in models_of(settings, benchmark, [training]):
            _make_share(settings, key)
    finally:
        dist.destroy_process_group()


def _make_share(settings: Settings, key: ModelKey) -> None:
    """Make a model: the first process as the stage does; the others compute along, and write nothing."""
    first = dist.get_rank() == 0
    with one_at_a_time(Layout(key.benchmark), "train") if first else nullcontext():
        made = [is_made(settings, key)]
        if first and not made[0]:
            drop_unless_made_of(key.checkpoints, _identity(settings, key))
        dist.broadcast_object_list(made)  # all look at what is there before the first writes, and find the same
        if first:
            make(settings, key)
        elif not made[0]:
            torch.set_num_threads(settings.threads)
            data = data_of(settings, key.benchmark, Layout(key.benchmark).data)
            task_of(settings, key.benchmark).make(settings, key, data, lambda numbers: None)


def _said(numbers: Mapping[str, float]) -> str:
    """The losses and errors among an epoch's numbers, in words."""
    shown = [name for name in numbers if name.endswith(("_error", "valid_loss"))]
    return ", ".join(f"{name.replace('_', ' ')} {numbers[name]:.3g}" for name in shown)


def _identity(settings: Settings, key: ModelKey) -> str:
    """A fingerprint of all that a model follows from: data, settings, seeds, code, and the models it is made of."""
    block, task = settings.benchmark(key.benchmark), task_of(settings, key.benchmark)
    decides, code = task.made_from(settings, key)
    described = [data_fingerprint(settings, key.benchmark), block.training(key.training).model_dump(), *decides]
    described += [settings.seed, settings.threads, str(key)]
    sources = [ModelKey(key.benchmark, name, key.seed).folder / WEIGHTS for name in block.sources_of(key.training)]
    return fingerprint(described, code, sources)


def _asked(settings: Settings, key: ModelKey) -> dict[str, Any]:
    """What params.yaml and the benchmark ask of a model, by name: seeds, its training, its architecture."""
    chosen = settings.benchmark(key.benchmark).training(key.training).model_dump(mode="json")
    asked = {"seed": settings.seed, "training_seed": key.seed, **chosen}
    for more in task_of(settings, key.benchmark).made_from(settings, key)[0]:
        asked |= more if isinstance(more, dict) else {}
    return asked


def _write(key: ModelKey, made: Made, description: Any, where: Mapping[str, Any]) -> None:
    """Write the small files about a model, and the model, whose description comes last: without it there is none."""
    (key.folder / DESCRIPTION).unlink(missing_ok=True)
    shutil.rmtree(key.described, ignore_errors=True)
    if made.history:
        write_csv(key.described / HISTORY, pd.DataFrame(made.history), digits=6)
    write_json(key.described / TIMING, {"seconds": round(made.seconds, 1), "ended": now()})
    write_json(key.described / ORIGIN, where)
    for name, content in made.files.items():
        if isinstance(content, pd.DataFrame):
            write_csv(key.described / name, content, digits=6)
        else:
            write_json(key.described / name, content)
    save_model(key.folder, made.model, description)
    write_atomically(key.described / DESCRIPTION, (key.folder / DESCRIPTION).read_text())


if __name__ == "__main__":
    command.run(train_across_ranks if dist.is_torchelastic_launched() else train)
