"""Whether the models that a training is made of fit the data that it is to be trained on."""

from __future__ import annotations

from baselines.model_files import read_description
from benchmarks.data.dataset import Dataset
from benchmarks.errors import InputError
from pipelines.config.params import Settings
from pipelines.jobs.recipes import Task
from pipelines.store.layout import Layout


def check(settings: Settings, task: Task, data: Dataset) -> None:
    """Compare the descriptions of a training's teacher, of the model it goes on from, and of others, with the data.

    :raises InputError: for one that is missing or broken, that has other classes, or that was trained on other data.
    """
    for name in settings.benchmark(task.benchmark).sources_of(task.training):
        folder = Layout(task.benchmark).model(name, task.seed)
        described = read_description(folder)
        if described.classes != len(data.classes):
            fault = f"it tells {described.classes} classes apart, the data of {task.benchmark} have {len(data.classes)}"
        elif described.dataset != data.fingerprint():
            fault = f"it was trained on other data than those of {task.benchmark}"
        else:
            continue
        again = f"run `python -m pipelines.train {task.benchmark} {name}` without {folder}"
        raise InputError(f"{task} cannot be made of the model in {folder}: {fault}; {again}")
