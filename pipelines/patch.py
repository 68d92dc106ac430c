"""Correct mistakes of one's own classifier: a patched checkpoint, the patch alone, and a report of what else changed.

``python -m pipelines.patch --model ...`` makes a patch, ``... patch apply`` and ``... patch remove`` use one.
"""

from __future__ import annotations

import copy
import csv
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

import editors
from baselines.checkpoints import DESCRIPTION, WEIGHTS
from benchmarks import checkpoint_files, patches
from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from benchmarks.models.torchvision_networks import modern_name
from benchmarks.parts import WHOLE_MODEL, layers_of
from benchmarks.patches import Patch
from pipelines import command, own_models
from pipelines.own_models import OwnModel, Preprocessing
from pipelines.presentation.patch_report import EditedImage, PatchReport, write
from pipelines.settings import device_of
from pipelines.side_effects import control_images, side_effects

THIRD_CHAINS = ("chain3", "layer3", "features.denseblock3")
"""What is edited by default, where a network has it: the part that keeps edits most local in the paper."""


@dataclass(frozen=True)
class Mistake:
    """An image that the model gets wrong, and the number of the class it should get."""

    image: Path
    label: int


def patch(
    model: Annotated[Path, typer.Option(help="A checkpoint of a torchvision classifier, or models/<...>/<training>.")],
    control: Annotated[Path, typer.Option(help="Images that should stay as they are, best in a folder per class.")],
    out: Annotated[Path, typer.Option(help="The patched checkpoint; reports go beside it.")],
    image: Annotated[Path | None, typer.Option("--input", help="The image that the model gets wrong.")] = None,
    label: Annotated[str | None, typer.Option(help="The class that it should get.")] = None,
    mistakes: Annotated[Path | None, typer.Option(help="Several at once: a CSV with columns image,label.")] = None,
    architecture: Annotated[str | None, typer.Option(help="torchvision's name of a checkpoint's network.")] = None,
    classes: Annotated[Path | None, typer.Option(help="A file with a class name per line.")] = None,
    editor: Annotated[str, typer.Option(help="An editor that changes weights.")] = "rmsprop",
    layers: Annotated[
        str | None, typer.Option(help="What may change: a module, a glob, or `all`. [default: chain 3, else all]")
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", help="lr=1e-3 and so on. [default: the smallest learning rate that succeeds]"),
    ] = None,
    max_steps: Annotated[int, typer.Option(help="Most gradient steps.")] = 10,
    size: Annotated[int | None, typer.Option(min=1, help="Side of inputs in pixels, if not torchvision's.")] = None,
    mean: Annotated[str | None, typer.Option(help="Of inputs from 0 to 1, such as 0.5,0.5,0.5.")] = None,
    std: Annotated[str | None, typer.Option(help="Of inputs from 0 to 1.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>.")] = "auto",
) -> None:
    """Edit a classifier until it gives the wanted answers, or refuse; then say what else changed.

    `python -m pipelines.patch apply --help` and `... remove --help` tell how to use a patch later.
    """
    chosen = _hyperparameters(values or [])
    preprocessing = Preprocessing(size, _numbers("--mean", mean), _numbers("--std", std))
    own = own_models.load(model, architecture, classes, preprocessing)
    _check_out(model, out)
    own.network.to(device_of(device, "--device"))
    wanted = _mistakes(own, image, label, mistakes)
    controls = control_images(control, own, [mistake.image for mistake in wanted])
    where = layers or next((name for name in THIRD_CHAINS if name in dict(own.network.named_modules())), WHOLE_MODEL)
    inputs = own.inputs([mistake.image for mistake in wanted])
    labels = torch.tensor([mistake.label for mistake in wanted])
    before = _answers(own.network, inputs)
    if before == labels.tolist():
        raise InputError(f"{model} gives the wanted answers already: there is nothing to patch")
    began = time.perf_counter()
    edit, used = _edit(own, inputs, labels, editor, where, chosen, max_steps)
    seconds = time.perf_counter() - began
    made, patched = _as_stored(own, edit)
    after = _answers(patched, inputs)
    if not edit.succeeded or after != labels.tolist():
        failed = next((one for one, answer in zip(wanted, after, strict=True) if answer != one.label), wanted[0])
        raise InputError(
            f"{failed.image} could not be made {own.classes[failed.label]!r} by {editor} on {where} in {max_steps} "
            "steps: nothing was written; try other layers, more steps or another learning rate"
        )
    report = PatchReport(
        model=str(model),
        editor=editor,
        layers=where,
        hyperparameters=used,
        edited=tuple(
            EditedImage(str(one.image), own.classes[old], own.classes[one.label])
            for one, old in zip(wanted, before, strict=True)
        ),
        steps=edit.steps,
        seconds=seconds,
        changed={name: value.numel() for name, value in made.after.items()},
        parameters=sum(value.numel() for value in own.network.parameters()),
        patch_bytes=made.size,
        original=made.original,
        patched=made.patched,
        effects=side_effects(own, patched, controls),
    )
    _write(made, model, out, patches.apply)
    stem = out.with_name(out.name if model.is_dir() else out.stem)
    patches.save(made, stem.with_name(f"{stem.name}.patch.safetensors"))
    print(write(report, stem, own.mode))


def apply(
    patch: Annotated[Path, typer.Argument(help="A file that ends in .patch.safetensors.")],
    model: Annotated[Path, typer.Option(help="The model that was patched: a checkpoint, or a folder.")],
    out: Annotated[Path, typer.Option(help="Where to write it with the patch; it may be the same.")],
) -> None:
    """Put a patch into the model that it was made for."""
    _write(patches.load(patch), model, out, patches.apply)
    print(f"{out} is {model} with {patch}")


def remove(
    patch: Annotated[Path, typer.Argument(help="A file that ends in .patch.safetensors.")],
    model: Annotated[Path, typer.Option(help="The patched model: a checkpoint, or a folder.")],
    out: Annotated[Path, typer.Option(help="Where to write it without the patch; it may be the same.")],
) -> None:
    """Take a patch out of a model; the file has the bytes that it had before."""
    _write(patches.load(patch), model, out, patches.remove)
    print(f"{out} is {model} without {patch}")


def _hyperparameters(assignments: list[str]) -> dict[str, float]:
    chosen = {}
    for one in assignments:
        name, _, value = one.partition("=")
        try:
            chosen[name] = float(value)
        except ValueError as error:
            raise InputError(f"--set needs a name and a number, such as lr=1e-3, not {one!r}") from error
    return chosen


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 3 or (option == "--std" and min(numbers) <= 0):
        raise InputError(f"{option} needs three numbers, such as 0.5,0.5,0.5, not {text!r}")
    return numbers


def _check_out(model: Path, out: Path) -> None:
    if out.resolve() == model.resolve():
        raise InputError(f"--out is the model itself, {model}: give another name, so that the original stays")
    if model.is_dir() and out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: a patched {model} is a folder")
    if model.is_file() and out.suffix != model.suffix:
        raise InputError(f"{out} must end in {model.suffix}: a patched file keeps the format of {model}")


def _mistakes(own: OwnModel, image: Path | None, label: str | None, table: Path | None) -> list[Mistake]:
    if (table is None) == (image is None) or (image is None) != (label is None):
        raise InputError("give either --input and --label, or --mistakes")
    if table is None:
        return [Mistake(image, own.label(label))]
    try:
        with open(table, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise InputError(f"{table} is missing: it should be a CSV with columns image,label") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table} is not a readable CSV: {error}") from error
    if not rows or not all(row.get("image") and row.get("label") for row in rows):
        raise InputError(f"{table} needs rows with columns image,label")
    return [Mistake(table.parent / row["image"], own.label(row["label"])) for row in rows]


def _edit(
    own: OwnModel, inputs: Tensor, labels: Tensor, name: str, layers: str, chosen: dict[str, float], max_steps: int
) -> tuple[editors.EditResult, dict[str, float]]:
    """The first of :func:`_attempts` that succeeds, otherwise the last, with its hyperparameters."""
    constraint = editors.constraints.predicts(labels)
    for values in _attempts(name, chosen):
        edit = editors.build(name, **values, max_steps=max_steps).edit(
            own.network, inputs, constraint, layers=layers_of(layers)
        )
        if not isinstance(edit, editors.EditResult):
            raise InputError(f"editor {name!r} changes no weights, so there is nothing to write: try rmsprop")
        if edit.succeeded:
            break
    return edit, values


def _attempts(name: str, chosen: dict[str, float]) -> Iterator[dict[str, float]]:
    """Hyperparameters to try, none of which looks at control images: those ``chosen``, others at their defaults.

    A learning rate that was not chosen rises over its range in steps of a factor of √10: the smaller the first
    that succeeds, the less is changed.
    """
    known = {parameter.name: parameter for parameter in editors.describe(name).hyperparameters}
    defaults = {key: parameter.default for key, parameter in known.items()} | chosen
    if "lr" in chosen or "lr" not in known:
        yield defaults
        return
    low, high = known["lr"].low, known["lr"].high
    count = round(2 * math.log10(high / low)) + 1
    for place in range(count):
        yield defaults | {"lr": float(f"{low * 10 ** (place / 2):.2g}")}


def _as_stored(own: OwnModel, edit: editors.EditResult) -> tuple[Patch, torch.nn.Module]:
    """The patch, and the network as it comes back from the patched file, which may round to another dtype."""
    weights = checkpoint_files.read(own.weights)
    edited = edit.apply(own.network).state_dict()
    made = patches.make(weights, {name: edited[modern_name(name)] for name in weights})
    patched = copy.deepcopy(own.network)
    patched.load_state_dict({modern_name(name): value for name, value in made.after.items()}, strict=False)
    return made, patched


def _answers(network: torch.nn.Module, inputs: Tensor) -> list[int]:
    with torch.no_grad():
        return network(inputs).argmax(dim=1).tolist()


def _write(patch: Patch, model: Path, out: Path, change: patches.Change) -> None:
    if not model.is_dir():
        change(patch, model, out)
        return
    change(patch, model / WEIGHTS, out / WEIGHTS)
    write_atomically(out / DESCRIPTION, (model / DESCRIPTION).read_bytes())


if __name__ == "__main__":
    command.run(patch, apply, remove)
