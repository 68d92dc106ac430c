"""One training on several GPUs: ``torchrun --nproc-per-node 8 -m pipelines.distributed imagenet distilled``.

For trainings with ``ranks: 8``. The stage ``train`` makes the same of them in one process, share after share.
"""

from __future__ import annotations

import os
from typing import Annotated

import torch
import torch.distributed as dist
import typer

from benchmarks.errors import InputError
from pipelines import command
from pipelines.config.params import Settings
from pipelines.jobs.cells import ModelKey, models_of
from pipelines.store.layout import Layout
from pipelines.store.locks import one_at_a_time
from pipelines.tasks import data_of, load_settings, task_of
from pipelines.train import is_made, make


def distributed(
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
            f"torchrun --nproc-per-node {ranks} -m pipelines.distributed {benchmark} {training}"
        )
    device = settings.torch_device()
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        for key in models_of(settings, benchmark, [training]):
            _make(settings, key)
    finally:
        dist.destroy_process_group()


def _make(settings: Settings, key: ModelKey) -> None:
    """Make a model: the first process as the stage does; the others compute along, and write nothing."""
    made = [is_made(settings, key)]
    dist.broadcast_object_list(made)  # before the first process writes what the others look at
    if dist.get_rank() == 0:
        with one_at_a_time(Layout(key.benchmark), "train"):
            make(settings, key)
    elif not made[0]:
        torch.set_num_threads(settings.threads)
        data = data_of(settings, key.benchmark, Layout(key.benchmark).data)
        task_of(settings, key.benchmark).make(settings, key, data, lambda numbers: None)


if __name__ == "__main__":
    command.run(distributed)
