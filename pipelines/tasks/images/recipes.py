"""Recipes: from a training's block to a classifier, trained or made of another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import torch
from torch import nn

import editors
from baselines import cnp, dknn, edit_targets, editable, images, model_files, training
from baselines.cnp import FrontBatches, FrozenFrontObjective
from baselines.cost import StepCost, step_cost
from baselines.edit_targets import MatchedRanks, Targets
from baselines.editable import EditableObjective, EditObjective
from baselines.images import ImageBatches
from baselines.model_files import ModelDescription
from baselines.objectives import CrossEntropy, Distillation
from baselines.training import Objective
from benchmarks import models
from benchmarks.data.dataset import Dataset
from benchmarks.errors import InputError
from benchmarks.models import torchvision_networks
from benchmarks.scoring import mistakes, ranks
from benchmarks.seeds import seed
from pipelines.config.blocks import Training
from pipelines.config.params import Settings
from pipelines.jobs.cells import ModelKey
from pipelines.store.layout import COST, EDITOR, RANKS
from pipelines.store.provenance import machine
from pipelines.tasks.base import Made, OnEpoch
from pipelines.tasks.images import edits
from pipelines.tasks.images.settings import targets_of


@dataclass(frozen=True)
class Recipe:
    """How models of one kind are made.

    :ivar make: ``(settings, key, data, on_epoch) -> Made``.
    :ivar code: modules that decide what comes out, with what they import; ``edits`` says that the editor of the
        training's block does as well, ``compiles`` that its steps can be compiled.
    """

    make: Callable[[Settings, ModelKey, Dataset, OnEpoch], Made]
    code: tuple[ModuleType, ...]
    edits: bool = False
    compiles: bool = False


def _trained_with(
    objective_of: Callable[[Training, Objective, Targets, bool], Objective],
) -> Callable[..., Made]:
    """A recipe that trains a network, from scratch or from where another training ended.

    :param objective_of: from settings, the base loss, the edits to be made, and whether their steps are compiled, to
        all that is minimised.
    """

    def make(settings: Settings, key: ModelKey, data: Dataset, on_epoch: OnEpoch) -> Made:
        chosen = settings.benchmark(key.benchmark).training(key.training)
        model, new = _initial(settings, key, data)
        targets, ranked = _targets(settings, key, data)
        objective = objective_of(chosen, _base(chosen, key), targets, settings.compile)
        device = settings.torch_device()
        folder = key.checkpoints
        axes = _axes(settings, key)
        source = _source(model.to(device), objective, data, axes)
        trained = training.train(
            *(model, objective, source, chosen.plan, folder, axes),
            on_epoch=lambda epoch: on_epoch(epoch.numbers),
            new=new,
        )
        epochs, error = (trained.kept.epoch, chosen.plan.epochs), trained.kept.scores["tuning_error"]
        description = _description(settings, key, data, epochs, error)
        files: dict[str, Any] = {}
        outcome = f"kept epoch {epochs[0]} of {epochs[1]}, {_error(error)}"
        if isinstance(objective, EditableObjective):
            files[EDITOR] = _editor_of(objective)
        if ranked is not None:
            files[RANKS] = ranked
        if isinstance(objective, EditObjective) and not isinstance(objective, FrozenFrontObjective):
            cost = step_cost(trained.model, objective, data, chosen.plan)
            files[COST] = _cost(cost) | {"batch_size": chosen.plan.batch_size, "machine": machine(device)}
            files[COST]["threads"] = settings.threads
            outcome += f", a step costs {cost.ratio.value:.1f} plain ones"
        history = [epoch.numbers for epoch in trained.history]
        return Made(trained.model, description, outcome, history, trained.seconds, files)

    return make


def _source(model: nn.Module, objective: Objective, data: Dataset, axes: training.Axes) -> ImageBatches:
    """The batches that an objective takes; of a model of whose front nothing is trained, that is frozen."""
    device = next(model.parameters()).device
    if not isinstance(objective, FrozenFrontObjective):
        return ImageBatches(data, device)
    objective.freeze(model)
    return FrontBatches(data, model, objective.terms.copies, axes, device)


def _targets(settings: Settings, key: ModelKey, data: Dataset) -> tuple[Targets, pd.DataFrame | None]:
    """Which edits a training makes, and the ranks of mistakes if targets are drawn by those."""

    @cache
    def division() -> edits.Division:
        return edits.divide(settings, key.benchmark, data, key.seed)

    targets = edit_targets.make(
        targets_of(settings.benchmark(key.benchmark).training(key.training)),
        data,
        lambda: division().training,
        lambda: edits.distribution_of_ranks(division(), data),
    )
    if not isinstance(targets, MatchedRanks):
        return targets, None
    found = mistakes.ranks_of_mistakes(division().model, data, division().training)
    counts = torch.bincount(found, minlength=len(data.classes))
    columns = {"mistakes": counts.tolist(), "probability": targets.distribution.tolist()}
    return targets, pd.DataFrame(columns).rename_axis("rank").reset_index()


def _extended(settings: Settings, key: ModelKey, data: Dataset, on_epoch: OnEpoch) -> Made:
    """Another training's model with parts that are new, and untrained."""
    model, _ = _initial(settings, key, data)
    model = model.to(settings.torch_device()).eval()
    _, error = images.evaluate(model, data, data.tuning)
    return Made(model, _description(settings, key, data, (0, 0), error), _error(error))


def _pretrained(settings: Settings, key: ModelKey, data: Dataset, on_epoch: OnEpoch) -> Made:
    """A network of torchvision's as it was published."""
    architecture = settings.benchmark(key.benchmark).model_of(key.training)
    if architecture.architecture != "torchvision":
        raise InputError(f"{key} is for the architecture torchvision, not {architecture.architecture}")
    weights = settings.benchmark(key.benchmark).training(key.training).weights
    model = torchvision_networks.pretrained(architecture.options["network"], len(data.classes), weights)
    model = model.to(settings.torch_device()).eval()
    _, error = images.evaluate(model, data, data.tuning)
    return Made(model, _description(settings, key, data, (0, 0), error), _error(error))


def _axes(settings: Settings, key: ModelKey) -> tuple[str | int, ...]:
    return settings.seed, key.benchmark, key.training, key.seed


def _initial(settings: Settings, key: ModelKey, data: Dataset) -> tuple[nn.Module, frozenset[str]]:
    """The model to be trained as it is at first, and the names of what the model that it goes on from lacks."""
    architecture = settings.benchmark(key.benchmark).model_of(key.training)
    shape = {"channels": data.train.images.shape[1], "classes": len(data.classes)}
    with torch.random.fork_rng(devices=[]):  # the only use of torch's global generator: initial weights
        torch.manual_seed(seed(*_axes(settings, key), "initial weights"))
        model = models.make(architecture.architecture, **shape, **architecture.options)
    start = settings.benchmark(key.benchmark).training(key.training).start
    if start is None:
        return model, frozenset()
    return model, _go_on_from(model, replace(key, training=start).folder)


def _description(
    settings: Settings, key: ModelKey, data: Dataset, epochs: tuple[int, int], tuning_error: float
) -> ModelDescription:
    architecture = settings.benchmark(key.benchmark).model_of(key.training)
    return ModelDescription(
        architecture=architecture.architecture,
        options=architecture.options,
        channels=data.train.images.shape[1],
        classes=len(data.classes),
        training=key.training,
        epoch=epochs[0],
        epochs=epochs[1],
        tuning_error=tuning_error,
        dataset=data.fingerprint(),
    )


def _base(chosen: Training, key: ModelKey) -> Objective:
    """The base loss: answers of a teacher if there is one, labels otherwise."""
    if chosen.taught_by is None:
        return CrossEntropy()
    teacher, _ = model_files.load_model(replace(key, training=chosen.taught_by).folder)
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


def _neighbours(settings: Settings, key: ModelKey, data: Dataset, on_epoch: OnEpoch) -> Made:
    """A DkNN over the training images, as the network of another training sees them."""
    chosen = settings.benchmark(key.benchmark).training(key.training)
    device = settings.torch_device()
    network, described = model_files.load_model(replace(key, training=chosen.network).folder, device)
    examples, labels, classes = data.train.images.to(device), data.train.labels, len(data.classes)
    options = {"classes": classes, "k": chosen.k, "parts": chosen.parts, "prepare": data.inputs}
    model = dknn.from_network(network, examples, labels, **options)
    _, error = images.evaluate(model, data, data.tuning)
    description = ModelDescription(
        architecture="dknn",
        options=dknn.options_of(model, described.architecture, described.options),
        channels=described.channels,
        classes=classes,
        training=key.training,
        epoch=described.epoch,
        epochs=described.epochs,
        tuning_error=error,
        dataset=data.fingerprint(),
    )
    return Made(model, description, _error(error))


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
    "cnp": Recipe(_trained_with(lambda chosen, *given: cnp.objective(chosen.terms)), (*_TRAINING, cnp), edits=True),
    "pretrained": Recipe(_pretrained, _TRAINING),
    "extended": Recipe(_extended, _TRAINING),
    "dknn": Recipe(_neighbours, (dknn,)),
}
"""By name, as in ``recipe`` of a training's block."""


def code_of(settings: Settings, key: ModelKey) -> list[Path]:
    """The files that decide about a training, beside the data's."""
    chosen = settings.benchmark(key.benchmark).training(key.training)
    recipe = RECIPES[chosen.recipe]
    architecture = settings.benchmark(key.benchmark).model_of(key.training).architecture
    files = [models.file_of(architecture), *(Path(module.__file__) for module in recipe.code)]
    if recipe.edits:
        files.append(editors.file_of(getattr(chosen, "editor", cnp.EDITOR)))
    if targets_of(chosen) != edit_targets.RANDOM:
        files += [Path(module.__file__) for module in (mistakes, ranks, edits)]
    return [Path(__file__), *files]


def check_sources(settings: Settings, key: ModelKey, data: Dataset) -> None:
    """Compare the models that a training is made of with its data.

    :raises InputError: for one that is missing or broken, that has other classes, or that was trained on other data.
    """
    for name in settings.benchmark(key.benchmark).sources_of(key.training):
        source = replace(key, training=name)
        described = model_files.read_description(source.folder)
        if described.classes != len(data.classes):
            fault = f"it tells {described.classes} classes apart, the data of {key.benchmark} have {len(data.classes)}"
        elif described.dataset != data.fingerprint():
            fault = f"it was trained on other data than those of {key.benchmark}"
        else:
            continue
        again = f"run `python -m pipelines.train {key.benchmark} {name}` without {source.folder}"
        raise InputError(f"{key} cannot be made of the model in {source.folder}: {fault}; {again}")


def check_precision(key: ModelKey, device: torch.device) -> None:
    """Refuse bfloat16 where there is none.

    :raises InputError: on a GPU that has none; a CPU emulates it, of which a line warns.
    """
    if device.type == "cuda":
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            raise InputError(f"{key}: mixed_precision needs a GPU with bfloat16, which this one has not")
    elif not any(has for name, has in torch.cpu.get_capabilities().items() if "bf16" in name):
        print(f"train {key}: this processor emulates bfloat16, so mixed_precision makes it slower")


def _error(percent: float) -> str:
    return f"tuning error {percent:.2f} %"


def _cost(cost: StepCost) -> dict[str, Any]:
    ratio = cost.ratio
    values = {"cost_ratio": ratio.value, "cost_ratio_low": ratio.low, "cost_ratio_high": ratio.high}
    values |= {"edit_steps": cost.edit_steps}
    return {name: round(value, 4) for name, value in values.items()} | {"batches": cost.batches}


def _editor_of(objective: EditableObjective) -> dict[str, Any]:
    terms = objective.terms
    values = {"editor": terms.editor, "layers": terms.layers, "hyperparameters": objective.editor_parameters()}
    return values | {"max_steps": terms.max_steps}
