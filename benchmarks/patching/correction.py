"""Editing a user's model until it gives the wanted answers, judged by the weights that will be stored."""

from __future__ import annotations

import copy
import csv
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import editors
from benchmarks.errors import InputError
from benchmarks.networks.model_split import WHOLE_MODEL, layers_of
from benchmarks.patching import patches
from benchmarks.patching.own_models import NOTHING, ControlImage, OwnModel, answers
from benchmarks.patching.patches import Patch
from benchmarks.seeds import generator

THIRD_CHAINS = ("chain3", "layer3", "features.denseblock3")
"""What is edited by default, where a network has it: the part that keeps edits most local in the paper."""


MOST_TRAINING = 500
"""Training images that are looked at: more tell little more, and they are in memory together."""


@dataclass(frozen=True)
class Mistake:
    """An image that the model gets wrong, and the number of the class it should get."""

    image: Path
    label: int


@dataclass(frozen=True, eq=False)
class Correction:
    """An edit that succeeded.

    :ivar network: as it comes back from the patched file.
    :ivar before: the model's answers to the images, by class number.
    :ivar seconds: wall time, attempts that failed included.
    """

    patch: Patch
    network: nn.Module
    before: tuple[int, ...]
    hyperparameters: Mapping[str, float]
    steps: int
    seconds: float


def read_mistakes(own: OwnModel, table: Path) -> list[Mistake]:
    """The rows of a CSV with columns image,label; images lie relative to it.

    :raises InputError: naming the file, for one that is missing, of another kind, without rows, or unclear.
    """
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            rows = list(reader)
    except FileNotFoundError as error:
        raise InputError(f"{table} is missing: it should be a CSV with columns image,label") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table} is not a readable CSV in UTF-8: {error}") from error
    if not rows or not all(row.get("image") and row.get("label") for row in rows):
        raise InputError(f"{table} needs rows with columns image,label, divided by commas")
    if wide := [row["image"] for row in rows if None in row]:
        raise InputError(f"{table} has more columns than names at {wide[0]}: put a label with a comma in quotes")
    mistakes = [Mistake(table.parent / row["image"].strip(), own.label(row["label"].strip())) for row in rows]
    seen: dict[Path, int] = {}
    for one in mistakes:
        if seen.setdefault(one.image.resolve(), one.label) != one.label:
            raise InputError(f"{table} names {one.image} twice, with two labels")
    return mistakes


def default_layers(network: nn.Module) -> str:
    """The third chain, or all of a network that has none."""
    there = dict(network.named_modules())
    return next((name for name in THIRD_CHAINS if name in there), WHOLE_MODEL)


@dataclass(frozen=True)
class Method:
    """How a model is corrected.

    :ivar hyperparameters: those that were chosen; the others are found or take their defaults.
    :ivar views: augmented copies of each image that must get its class too.
    :ivar training: images like those that the model was trained on, for editors that must know them; of those without
        a class folder, the model's own answer counts as the class.
    """

    editor: str
    layers: str
    hyperparameters: Mapping[str, float]
    max_steps: int
    views: int = 0
    training: tuple[ControlImage, ...] = ()


def correct(own: OwnModel, mistakes: Sequence[Mistake], method: Method) -> Correction:
    """One edit for all mistakes, by the first of :func:`_attempts` that succeeds.

    :raises InputError: if no attempt succeeds, there is nothing to correct, or the editor changes no weights.
    """
    inputs = own.inputs([mistake.image for mistake in mistakes])
    labels = [mistake.label for mistake in mistakes]
    before = answers(own.network, inputs)
    if NOTHING in before:
        raise InputError(f"{own.weights} answers {mistakes[before.index(NOTHING)].image} with what is no finite number")
    if before == labels:
        raise InputError(f"{own.weights} gives the wanted answers already: there is nothing to patch")
    request = _request(own, inputs, labels, method.views)
    began = time.perf_counter()
    known = _statistics(own, method)
    after = before
    for values in _attempts(method.editor, method.hyperparameters):
        built = editors.build(method.editor, **values, max_steps=method.max_steps).informed(known)
        edit = built.edit(own.network, *request, layers=layers_of(method.layers))
        if not isinstance(edit, editors.EditResult):
            raise InputError(f"editor {method.editor!r} changes no weights, so there is nothing to write: try rmsprop")
        if not edit.succeeded:
            continue
        patch, network = _as_stored(own, edit)
        finite = all(value.double().isfinite().all() for value in patch.after.values())
        after = answers(network, inputs) if finite else [NOTHING] * len(labels)
        if after == labels:
            return Correction(patch, network, tuple(before), values, edit.steps, time.perf_counter() - began)
    failed = next(mistake for mistake, answer in zip(mistakes, after, strict=True) if answer != mistake.label)
    rounded = " (its numbers would not be finite as the file stores them)" if NOTHING in after else ""
    views = f" with {method.views} views of it" if method.views else ""
    raise InputError(
        f"{failed.image}{views} could not be made {own.classes[failed.label]!r} by {method.editor} on {method.layers} "
        f"in {method.max_steps} steps{rounded}: nothing was written; "
        "try other layers, more steps or another learning rate"
    )


def _request(own: OwnModel, inputs: Tensor, labels: list[int], views: int) -> editors.Request:
    request = editors.Request(inputs, editors.constraints.predicts(labels))
    if not views:
        return request
    return editors.views.with_views(request, partial(own.augment, source=generator("patch", "views")), views)


def _statistics(own: OwnModel, method: Method) -> Any:
    """What the editor must know of training images, from at most :data:`MOST_TRAINING` of them, evenly chosen."""
    editor = editors.build(method.editor)
    if not editor.needs_statistics:
        return None
    if not method.training:
        raise InputError(
            f"{method.editor} must know images like those of training: give a folder of some by --training"
        )
    some = method.training[:: math.ceil(len(method.training) / MOST_TRAINING)]
    inputs = own.inputs([image.file for image in some])
    found = answers(own.network, inputs)
    labels = [answer if image.label is None else image.label for image, answer in zip(some, found, strict=True)]
    where = layers_of(method.layers)
    return editor.statistics(own.network, inputs, torch.tensor(labels, device=inputs.device), where)


def _attempts(name: str, chosen: Mapping[str, float]) -> Iterator[dict[str, float]]:
    """Hyperparameters to try, none of which looks at control images: those ``chosen``, others at their defaults.

    A learning rate that was not chosen rises over its range in steps of a factor of √10: the smaller the first
    that succeeds, the less is changed.
    """
    known = {parameter.name: parameter for parameter in editors.describe(name).hyperparameters}
    if strange := [key for key in chosen if key not in known]:
        raise InputError(f"editor {name!r} has no hyperparameter {strange[0]!r}; it has: {', '.join(known)}")
    values = {key: parameter.default for key, parameter in known.items()} | dict(chosen)
    if "lr" in chosen or "lr" not in known:
        yield values
        return
    low, high = known["lr"].low, known["lr"].high
    for place in range(round(2 * math.log10(high / low)) + 1):
        yield values | {"lr": float(f"{low * 10 ** (place / 2):.2g}")}


def _as_stored(own: OwnModel, edit: editors.EditResult) -> tuple[Patch, nn.Module]:
    """The patch, and the network as it comes back from the patched file, which may round to another dtype."""
    edited = edit.apply(own.network).state_dict()
    made = patches.make(own.weights, {name: edited[known] for name, known in own.names.items()})
    patched = copy.deepcopy(own.network)
    there = patched.state_dict()
    for name, value in made.after.items():
        there[own.names[name]].copy_(value)
    return made, patched
