"""Recipes: from a training's block in params.yaml to a model, trained or made of another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import torch
from torch import nn

import editors
from baselines import cnp, dknn, edit_targets, editable, images, model_files, training
from baselines.cost import StepCost, step_cost
from baselines.edit_targets import MatchedRanks, Targets
from baselines.editable import EditableObjective, EditObjective
from baselines.images import ImageBatches
from baselines.model_files import ModelDescription
from baselines.objectives import CrossEntropy, Distillation
from baselines.training import Epoch, Objective
from benchmarks import models
from benchmarks.data import mistakes
from benchmarks.data.dataset import Dataset
from benchmarks.errors import InputError
from benchmarks.models import torchvision_networks
from benchmarks.scoring import ranks
from benchmarks.seeds import seed
from pipelines.config.params import Settings
from pipelines.config.trainings import TrainingSettings, targets_of
from pipelines.jobs import realistic_mistakes
from pipelines.store.code import with_imports
from pipelines.store.layout import Layout

OnEpoch = Callable[[Epoch], None]


@dataclass(frozen=True)
class Task:
    """One model to be made: a training of a benchmark, with one of the training seeds."""

    benchmark: str
    training: str
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.benchmark} {self.training}" + (f" (seed {self.seed})" if self.seed else "")


@dataclass(frozen=True)
class Made:
    """A model and what is written beside it.

    :ivar history: its epochs, none for a model that is made without training; ``seconds`` the wall time they took.
    :ivar editor: the editor it was trained for, with the hyperparameters that training ended with.
    :ivar ranks: how often true classes of mistakes had each rank, and with which probability targets were drawn by it.
    :ivar cost: what a step cost, of an objective that edits, in steps of plain training.
    """

    model: nn.Module
    description: ModelDescription
    history: tuple[Epoch, ...] = ()
    seconds: float = 0.0
    editor: Mapping[str, Any] | None = None
    ranks: pd.DataFrame | None = None
    cost: StepCost | None = None


@dataclass(frozen=True)
class Recipe:
    """How models of one kind are made.

    :ivar make: ``(settings, task, data, on_epoch) -> Made``.
    :ivar code: modules that decide what comes out, with what they import; ``edits`` says that the editor of the
        training's block does as well, ``compiles`` that its steps can be compiled.
    """

    make: Callable[[Settings, Task, Dataset, OnEpoch], Made]
    code: tuple[ModuleType, ...]
    edits: bool = False
    compiles: bool = False


def _trained_with(
    objective_of: Callable[[TrainingSettings, Objective, Targets, bool], Objective],
) -> Callable[..., Made]:
    """A recipe that trains a network, from scratch or from where another training ended.

    :param objective_of: from settings, the base loss, the edits to be made, and whether their steps are compiled, to
        all that is minimised.
    """

    def make(settings: Settings, task: Task, data: Dataset, on_epoch: OnEpoch) -> Made:
        chosen = settings.training(task.benchmark, task.training)
        model, new = _initial(settings, task, data)
        targets, ranked = _targets(settings, task, data)
        objective = objective_of(chosen, _base(chosen, task), targets, settings.compile)
        device = settings.torch_device()
        folder = Layout(task.benchmark).checkpoints(task.training, task.seed)
        axes = _axes(settings, task)
        source = ImageBatches(data, device)
        trained = training.train(model.to(device), objective, source, chosen.plan, folder, axes, on_epoch, new=new)
        epochs, error = (trained.kept.epoch, chosen.plan.epochs), trained.kept.scores["tuning_error"]
        description = _description(settings, task, data, epochs, error)
        cost = step_cost(trained.model, objective, data, chosen.plan) if isinstance(objective, EditObjective) else None
        editor = _editor_of(objective) if isinstance(objective, EditableObjective) else None
        return Made(trained.model, description, trained.history, trained.seconds, editor, ranked, cost)

    return make


def _targets(settings: Settings, task: Task, data: Dataset) -> tuple[Targets, pd.DataFrame | None]:
    """Which edits a training makes, and the ranks of mistakes if targets are drawn by those."""

    @cache
    def division() -> realistic_mistakes.Division:
        return realistic_mistakes.divide(settings, task.benchmark, data, task.seed)

    targets = edit_targets.make(
        targets_of(settings.training(task.benchmark, task.training)),
        data,
        lambda: division().training,
        lambda: realistic_mistakes.distribution_of_ranks(division(), data),
    )
    if not isinstance(targets, MatchedRanks):
        return targets, None
    found = mistakes.ranks_of_mistakes(division().model, data, division().training)
    counts = torch.bincount(found, minlength=len(data.classes))
    columns = {"mistakes": counts.tolist(), "probability": targets.distribution.tolist()}
    return targets, pd.DataFrame(columns).rename_axis("rank").reset_index()


def _extended(settings: Settings, task: Task, data: Dataset, on_epoch: OnEpoch) -> Made:
    """Another training's model with parts that are new, and untrained."""
    model, _ = _initial(settings, task, data)
    model = model.to(settings.torch_device()).eval()
    _, error = images.evaluate(model, data, data.tuning)
    return Made(model, _description(settings, task, data, (0, 0), error))


def _pretrained(settings: Settings, task: Task, data: Dataset, on_epoch: OnEpoch) -> Made:
    """A network of torchvision's as it was published."""
    architecture = settings.benchmark(task.benchmark).model_of(task.training)
    if architecture.architecture != "torchvision":
        raise InputError(f"{task} is for the architecture torchvision, not {architecture.architecture}")
    weights = settings.training(task.benchmark, task.training).weights
    model = torchvision_networks.pretrained(architecture.options["network"], len(data.classes), weights)
    model = model.to(settings.torch_device()).eval()
    _, error = images.evaluate(model, data, data.tuning)
    return Made(model, _description(settings, task, data, (0, 0), error))


def _axes(settings: Settings, task: Task) -> tuple[str | int, ...]:
    return settings.seed, task.benchmark, task.training, task.seed


def _initial(settings: Settings, task: Task, data: Dataset) -> tuple[nn.Module, frozenset[str]]:
    """The model to be trained as it is at first, and the names of what the model that it goes on from lacks."""
    architecture = settings.benchmark(task.benchmark).model_of(task.training)
    shape = {"channels": data.train.images.shape[1], "classes": len(data.classes)}
    with torch.random.fork_rng(devices=[]):  # the only use of torch's global generator: initial weights
        torch.manual_seed(seed(*_axes(settings, task), "initial weights"))
        model = models.make(architecture.architecture, **shape, **architecture.options)
    start = settings.training(task.benchmark, task.training).start
    if start is None:
        return model, frozenset()
    return model, _go_on_from(model, Layout(task.benchmark).model(start, task.seed))


def _description(
    settings: Settings, task: Task, data: Dataset, epochs: tuple[int, int], tuning_error: float
) -> ModelDescription:
    architecture = settings.benchmark(task.benchmark).model_of(task.training)
    return ModelDescription(
        architecture=architecture.architecture,
        options=architecture.options,
        channels=data.train.images.shape[1],
        classes=len(data.classes),
        training=task.training,
        epoch=epochs[0],
        epochs=epochs[1],
        tuning_error=tuning_error,
        dataset=data.fingerprint(),
    )


def _base(chosen: TrainingSettings, task: Task) -> Objective:
    """The base loss: answers of a teacher if there is one, labels otherwise."""
    if chosen.taught_by is None:
        return CrossEntropy()
    teacher, _ = model_files.load_model(Layout(task.benchmark).model(chosen.taught_by, task.seed))
    return Distillation(teacher)


def _go_on_from(model: nn.Module, folder: Path) -> frozenset[str]:
    """Start with the weights of the model in ``folder``; what that model lacks keeps its own, and is returned by name.

    :raises InputError: if its weights do not fit.
    """
    earlier, described = model_files.load_model(folder)
    weights, wanted = earlier.state_dict(), model.state_dict()
    for name, value in weights.items():
        if name not in wanted or wanted[name].shape != value.shape:
            raise InputError(f"{folder} holds a {described.architecture} whose {name} has no place in this training")
    model.load_state_dict(wanted | weights)
    return frozenset(wanted.keys() - weights.keys())


def _neighbours(settings: Settings, task: Task, data: Dataset, on_epoch: OnEpoch) -> Made:
    """A DkNN over the training images, as the network of another training sees them."""
    chosen = settings.training(task.benchmark, task.training)
    device = settings.torch_device()
    network, described = model_files.load_model(Layout(task.benchmark).model(chosen.network, task.seed), device)
    examples, labels, classes = data.train.images.to(device), data.train.labels, len(data.classes)
    options = {"classes": classes, "k": chosen.k, "parts": chosen.parts, "prepare": data.inputs}
    model = dknn.from_network(network, examples, labels, **options)
    _, error = images.evaluate(model, data, data.tuning)
    description = ModelDescription(
        architecture="dknn",
        options=dknn.options_of(model, described.architecture, described.options),
        channels=described.channels,
        classes=classes,
        training=task.training,
        epoch=described.epoch,
        epochs=described.epochs,
        tuning_error=error,
        dataset=data.fingerprint(),
    )
    return Made(model, description)


_TRAINING = (images,)
_EDITING = (*_TRAINING, editable)
RECIPES: Mapping[str, Recipe] = {
    "plain": Recipe(_trained_with(lambda chosen, base, *more: base), _TRAINING),
    "distilled": Recipe(_trained_with(lambda chosen, base, *more: base), _TRAINING),
    "editable": Recipe(
        _trained_with(lambda chosen, *given: EditableObjective(chosen.terms, *given)),
        _EDITING,
        edits=True,
        compiles=True,
    ),
    "cnp": Recipe(_trained_with(lambda chosen, *given: cnp.CnpObjective(chosen.terms)), (*_TRAINING, cnp), edits=True),
    "pretrained": Recipe(_pretrained, _TRAINING),
    "extended": Recipe(_extended, _TRAINING),
    "dknn": Recipe(_neighbours, (dknn,)),
}
"""By name, as in ``recipe`` of a training's block."""


def code_of(settings: Settings, task: Task) -> list[Path]:
    """The files that decide what comes out of a training, beside the data's."""
    chosen = settings.training(task.benchmark, task.training)
    recipe = RECIPES[chosen.recipe]
    architecture = settings.benchmark(task.benchmark).model_of(task.training).architecture
    files = [models.file_of(architecture), *(Path(module.__file__) for module in recipe.code)]
    if recipe.edits:
        files.append(editors.file_of(getattr(chosen, "editor", cnp.EDITOR)))
    if targets_of(chosen) != edit_targets.RANDOM:
        files += [Path(module.__file__) for module in (mistakes, ranks, realistic_mistakes)]
    return [Path(__file__), *with_imports(files, ("editors", "benchmarks", "baselines"))]


def _editor_of(objective: EditableObjective) -> dict[str, Any]:
    terms = objective.terms
    values = {"editor": terms.editor, "layers": terms.layers, "hyperparameters": objective.editor_parameters()}
    return values | {"max_steps": terms.max_steps}
