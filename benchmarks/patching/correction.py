"""Editing a user's model until it gives the wanted answers, judged by the weights that will be stored."""

from __future__ import annotations

import copy
import csv
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    """An edit that corrected mistakes, or several in a row; not always all of them.

    :ivar network: as it comes back from the patched file.
    :ivar before, after: the answers to the images, by class number.
    :ivar held: of each image, that it and all of its views get the class that they should.
    :ivar hyperparameters: of the edits, the same ones once.
    :ivar seconds: wall time, attempts that failed included.
    """

    patch: Patch
    network: nn.Module
    before: tuple[int, ...]
    after: tuple[int, ...]
    held: tuple[bool, ...]
    hyperparameters: tuple[Mapping[str, float], ...]
    steps: int
    seconds: float = 0.0


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
    :ivar one_by_one: each mistake is edited after the other, in place of all together.
    :ivar training: images like those that the model was trained on, for editors that must know them; of those without
        a class folder, the model's own answer counts as the class.
    """

    editor: str
    layers: str
    hyperparameters: Mapping[str, float]
    max_steps: int
    views: int = 0
    one_by_one: bool = False
    training: tuple[ControlImage, ...] = ()


def correct(
    own: OwnModel, mistakes: Sequence[Mistake], method: Method, on_edit: Callable[[], object] = lambda: None
) -> Correction:
    """Edit a model until its mistakes are corrected, or as many of them as can be.

    One edit asks for all of them, made by the first of :func:`attempts` that corrects most; or one edit after the
    other for each, made by the first attempt that corrects that one.

    :param on_edit: called after each attempt, or after each mistake of several in a row.
    :raises InputError: if no more images get their class than before, or the editor changes no weights.
    """
    inputs = own.inputs([mistake.image for mistake in mistakes])
    labels = [mistake.label for mistake in mistakes]
    before = answers(own.network, inputs)
    if NOTHING in before:
        raise InputError(f"{own.weights} answers {mistakes[before.index(NOTHING)].image} with what is no finite number")
    if before == labels:
        raise InputError(f"{own.weights} gives the wanted answers already: there is nothing to patch")
    began = time.perf_counter()
    parts = [slice(at, at + 1) for at in range(len(labels))] if method.one_by_one else [slice(None)]
    requests = [_request(own, inputs[part], labels[part], method.views, at) for at, part in enumerate(parts)]
    known = _statistics(own, method)
    tried = {
        tuple(values.items()): editors.build(method.editor, **values, max_steps=method.max_steps).informed(known)
        for values in attempts(method)
    }
    if method.one_by_one:
        made = _in_a_row(own, requests, tried, method, on_edit)
    else:
        made = _together(own, *requests, tried, method, on_edit)
    best, overflow = _best(own, inputs, requests, made, method.views)
    if best is None:
        raise InputError(_failure(own, mistakes, before, method, overflow))
    return replace(best, seconds=time.perf_counter() - began)


def _best(
    own: OwnModel, inputs: Tensor, requests: Sequence[editors.Request], made: Iterable[_Edited], views: int
) -> tuple[Correction | None, bool]:
    """The first of those that correct most, as they are stored, and whether one was left out for its numbers.

    :returns: None if none gives more images their class than have it before.
    """
    best, overflow = None, False
    before, most = tuple(answers(own.network, inputs)), sum(_held(own.network, requests, views))
    for edited in made:
        if sum(_held(edited.answer, requests, views)) <= most:
            continue
        patch, network = _as_stored(own, edited.network())
        after, held = tuple(answers(network, inputs)), tuple(_held(network, requests, views))
        if NOTHING in after or not all(value.double().isfinite().all() for value in patch.after.values()):
            overflow = True
        elif sum(held) > most:
            best = Correction(patch, network, before, after, held, edited.values, edited.steps)
            most = sum(held)
        if most == len(inputs):
            break
    return best, overflow


def _failure(own: OwnModel, mistakes: Sequence[Mistake], before: Sequence[int], method: Method, overflow: bool) -> str:
    wrong = [one for one, answer in zip(mistakes, before, strict=True) if answer != one.label]
    views = f" with {method.views} views" if method.views else ""
    what = f"{wrong[0].image}{views} could not be made {own.classes[wrong[0].label]!r}"
    if len(wrong) > 1:
        what = f"none of {len(wrong)} images{views} could be given the class that it should get"
    rounded = " (its numbers would not be finite as the file stores them)" if overflow else ""
    return (
        f"{what} by {method.editor} on {method.layers} in {method.max_steps} steps{rounded}: nothing was written; "
        "try other layers, more steps or another learning rate"
    )


def _request(own: OwnModel, inputs: Tensor, labels: list[int], views: int, number: int) -> editors.Request:
    request = editors.Request(inputs, editors.constraints.predicts(labels))
    if not views:
        return request
    source = generator("patch", "views", *([number] if number else []))
    return editors.views.with_views(request, partial(own.augment, source=source), views)


def _held(answer: Callable[[Tensor], Tensor], requests: Sequence[editors.Request], views: int) -> list[bool]:
    """Of each image, that it and all of its views get the class that they should."""
    held: list[bool] = []
    for inputs, constraint in requests:
        right = torch.tensor(answers(answer, inputs)) == constraint.labels.cpu()
        held += right.reshape(views + 1, -1).all(dim=0).tolist()
    return held


@dataclass(frozen=True, eq=False)
class _Edited:
    """A network with one edit or several: what it answers, itself, the hyperparameters, the steps in all."""

    answer: Callable[[Tensor], Tensor]
    network: Callable[[], nn.Module]
    values: tuple[Mapping[str, float], ...]
    steps: int


_Tried = Mapping[tuple[tuple[str, float], ...], editors.Editor]
"""Editors by their hyperparameters, in the order in which they are tried."""


def _together(
    own: OwnModel, request: editors.Request, tried: _Tried, method: Method, on_edit: Callable[[], object]
) -> Iterator[_Edited]:
    """An edit for all images at once, by each editor."""
    for values, editor in tried.items():
        edit = _edit(own.network, editor, request, method)
        on_edit()
        yield _Edited(edit.predict, partial(edit.apply, own.network), (dict(values),), edit.steps)


def _in_a_row(
    own: OwnModel, requests: Sequence[editors.Request], tried: _Tried, method: Method, on_edit: Callable[[], object]
) -> Iterator[_Edited]:
    """An edit for each image, by the first editor that succeeds, each from where those before left the network."""
    network, used, steps = own.network, {}, 0
    for request in requests:
        made = ((values, _edit(network, editor, request, method)) for values, editor in tried.items())
        values, edit = next(((values, edit) for values, edit in made if edit.succeeded), (None, None))
        on_edit()
        if edit is None or edit.unchanged:
            continue
        network, steps = edit.apply(network), steps + edit.steps
        used[values] = dict(values)
        where = layers_of(method.layers)
        tried = {known: editor.remember(network, request.inputs, where) for known, editor in tried.items()}
    yield _Edited(network, lambda: network, tuple(used.values()), steps)


def _edit(network: nn.Module, editor: editors.Editor, request: editors.Request, method: Method) -> editors.EditResult:
    edit = editor.edit(network, *request, layers=layers_of(method.layers))
    if not isinstance(edit, editors.EditResult):
        raise InputError(f"editor {method.editor!r} changes no weights, so there is nothing to write: try rmsprop")
    return edit


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


def attempts(method: Method) -> list[dict[str, float]]:
    """Hyperparameters to try, none of which looks at control images: those chosen, others at their defaults.

    A learning rate that was not chosen rises over its range in steps of a factor of √10: the smaller the first
    that succeeds, the less is changed.

    :raises InputError: for a hyperparameter that the editor does not have.
    """
    name, chosen = method.editor, method.hyperparameters
    known = {parameter.name: parameter for parameter in editors.describe(name).hyperparameters}
    if strange := [key for key in chosen if key not in known]:
        raise InputError(f"editor {name!r} has no hyperparameter {strange[0]!r}; it has: {', '.join(known)}")
    values = {key: parameter.default for key, parameter in known.items()} | dict(chosen)
    if "lr" in chosen or "lr" not in known:
        return [values]
    low, high = known["lr"].low, known["lr"].high
    places = range(round(2 * math.log10(high / low)) + 1)
    return [values | {"lr": float(f"{low * 10 ** (place / 2):.2g}")} for place in places]


def _as_stored(own: OwnModel, network: nn.Module) -> tuple[Patch, nn.Module]:
    """The patch, and the network as it comes back from the patched file, which may round to another dtype."""
    edited, original = network.state_dict(), own.network.state_dict()
    # What was not edited keeps the file's bits, also those that the network's dtype has no room for.
    changed = {name: known for name, known in own.names.items() if not torch.equal(edited[known], original[known])}
    made = patches.make(own.weights, {name: edited[known] for name, known in changed.items()})
    patched = copy.deepcopy(own.network)
    there = patched.state_dict()
    for name, value in made.after.items():
        there[own.names[name]].copy_(value)
    return made, patched
