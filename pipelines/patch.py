"""Correct mistakes of one's own classifier: a patched checkpoint, the patch alone, and a report of what else changed.

``python -m pipelines.patch --model ...`` makes a patch, ``... patch apply`` and ``... patch remove`` use one.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from baselines.model_files import DESCRIPTION, WEIGHTS
from benchmarks.errors import InputError
from benchmarks.files import file_hash, write_atomically
from benchmarks.patching import checkpoint_files, patches
from benchmarks.patching.correction import Method, Mistake, attempts, correct, default_layers, read_mistakes
from benchmarks.patching.own_models import FLIPS, Preprocessing, control_images, order_note
from benchmarks.patching.side_effects import side_effects
from pipelines import command, own_models
from pipelines.config.params import device_of
from pipelines.jobs.progress import Progress
from pipelines.reporting.patches import EditedImage, PatchReport, is_report, write
from pipelines.tracking import registry


def patch(
    model: Annotated[Path, typer.Option(help="A checkpoint of a torchvision classifier, or models/<...>/<training>.")],
    control: Annotated[Path, typer.Option(help="Images that should stay as they are, best in a folder per class.")],
    out: Annotated[Path, typer.Option(help="The patched checkpoint; reports go beside it.")],
    image: Annotated[Path | None, typer.Option("--input", help="The image that the model gets wrong.")] = None,
    label: Annotated[str | None, typer.Option(help="The class that it should get.")] = None,
    mistakes: Annotated[Path | None, typer.Option(help="Several, in one edit: a CSV with columns image,label.")] = None,
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
    max_steps: Annotated[int, typer.Option(min=0, max=100_000, help="Most gradient steps.")] = 10,
    views: Annotated[int, typer.Option(min=0, max=1000, help="Augmented copies that must get the class too.")] = 0,
    one_by_one: Annotated[
        bool, typer.Option("--one-by-one", help="An edit for each of several, one after the other.")
    ] = False,
    training: Annotated[
        Path | None, typer.Option(help="Images like those of training, for editors that must know them.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Side of inputs in pixels, if not torchvision's.")
    ] = None,
    mean: Annotated[str | None, typer.Option(help="Of inputs from 0 to 1, such as 0.5,0.5,0.5.")] = None,
    std: Annotated[str | None, typer.Option(help="Of inputs from 0 to 1.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<number>.")] = "auto",
    register: Annotated[
        str | None, typer.Option(help="Also make it the next version of the model of this name in MLflow.")
    ] = None,
) -> None:
    """Edit a classifier until it gives the wanted answers, and say what else changed.

    Exit code 1: a patch is written, but it does not correct all, or MLflow did not take it; what is said names which.
    Exit code 2: nothing is written. `python -m pipelines.patch apply --help` and `... remove --help` tell how to use a
    patch later.
    """
    if register is not None:
        registry.check_name(register)
    chosen = _hyperparameters(values or [])
    preprocessing = Preprocessing(size, _numbers("--mean", mean, -1000, 1000), _numbers("--std", std, 1e-6, 1000))
    own = own_models.load(model, architecture, classes, preprocessing)
    _check_out(model, out)
    own.network.to(device_of(device, "--device"))
    if torch.are_deterministic_algorithms_enabled():  # a promise of the suite's own networks, which others may not keep
        torch.use_deterministic_algorithms(True, warn_only=True)
    if (mistakes is None) == (image is None) or (image is None) != (label is None):
        raise InputError("give either --input and --label, or --mistakes")
    wanted = read_mistakes(own, mistakes) if mistakes else [Mistake(image, own.label(label))]
    controls = control_images(control, own, [mistake.image for mistake in wanted])
    where = layers or default_layers(own.network)
    seen = () if training is None else control_images(training, own, [mistake.image for mistake in wanted])
    method = Method(editor, where, chosen, max_steps, views, one_by_one, seen)
    edits = len(wanted) if one_by_one else len(attempts(method))
    correction = correct(own, wanted, method, Progress("patch: edits", edits, "edits").advance)
    progress = Progress("patch: control images", len(controls), "images")
    effects = side_effects(own, correction.network, controls, progress.advance)
    made, beside = correction.patch, _beside(model, out)
    answered = zip(wanted, correction.before, correction.after, correction.held, strict=True)
    report = PatchReport(
        model=str(model),
        out=str(out),
        patch=str(beside[".patch.safetensors"]),
        editor=editor,
        layers=where,
        hyperparameters=correction.hyperparameters,
        views=views,
        one_by_one=one_by_one and len(wanted) > 1,
        edited=tuple(
            EditedImage(str(one.image), own.called(one.label), own.called(old), own.called(new), held)
            for one, old, new, held in answered
        ),
        steps=correction.steps,
        seconds=correction.seconds,
        changed={name: value.numel() for name, value in made.after.items()},
        parameters=sum(value.numel() for value in own.network.parameters()),
        patch_bytes=made.size,
        original=made.original,
        patched=made.patched,
        effects=effects,
        notes=(*own.notes, *order_note(control, own)),
    )
    with _all_or_nothing(out.parent) as folder:
        _write(lambda old, new: patches.apply(made, old, new), model, folder / out.name)
        patches.save(made, folder / beside[".patch.safetensors"].name)
        text = write(report, folder / _stem(model, out).name, own.mode)
        if not effects.flips:
            beside[FLIPS].unlink(missing_ok=True)  # of an earlier patch
    print(text)
    complaints = []
    if missed := correction.held.count(False):
        complaints.append(f"{missed} of {len(wanted)} images do not get the class that they should; {out} is written")
    if register is not None:
        try:
            print(registry.register(register, beside[".json"]))
        except InputError as error:
            complaints.append(f"error: {error}")
    if complaints:
        typer.echo("\n".join(complaints), err=True)
        raise typer.Exit(1)


PatchFile = Annotated[Path, typer.Argument(help="A file that ends in .patch.safetensors.")]


def apply(
    patch: PatchFile,
    model: Annotated[Path, typer.Option(help="The model that was patched: a checkpoint, or a folder.")],
    out: Annotated[Path, typer.Option(help="Where to write it with the patch; a model that is there is replaced.")],
) -> None:
    """Put a patch into the model that it was made for; the model itself stays as it is."""
    _check_other(model, out)
    loaded = patches.load(patch)
    _check_place(model, out)
    with _all_or_nothing(out.parent) as folder:
        _write(lambda old, new: patches.apply(loaded, old, new), model, folder / out.name)
    print(f"{out} is {model} with {patch}")


def remove(
    patch: PatchFile,
    model: Annotated[Path, typer.Option(help="The patched model: a checkpoint, or a folder.")],
    out: Annotated[Path, typer.Option(help="Where to write it without the patch; a model that is there is replaced.")],
) -> None:
    """Take a patch out of a model: its weights are again what they were, bit by bit."""
    loaded, weights = patches.load(patch), out / WEIGHTS if model.is_dir() else out
    if weights.is_file() and file_hash(weights) == loaded.file:
        print(f"{out} is the original already: it was left as it is")
        return
    _check_place(model, out)
    with _all_or_nothing(out.parent) as folder:
        same = _write(lambda old, new: patches.remove(loaded, old, new), model, folder / out.name)
    bytes_too = "the same file" if same else "the same weights in a file that this version of torch wrote"
    print(f"{out} is {model} without {patch}: {bytes_too} as before")


def _hyperparameters(assignments: list[str]) -> dict[str, float]:
    chosen = {}
    for one in assignments:
        name, _, value = one.partition("=")
        if name in chosen:
            raise InputError(f"--set names {name} twice, with {chosen[name]:g} and {value}")
        try:
            chosen[name] = float(value)
        except ValueError as error:
            raise InputError(f"--set needs a name and a number, such as lr=1e-3, not {one!r}") from error
    return chosen


def _numbers(option: str, text: str | None, low: float, high: float) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 3 or not all(low <= number <= high for number in numbers):
        raise InputError(f"{option} needs three numbers from {low:g} to {high:g}, such as 0.5,0.5,0.5, not {text!r}")
    return numbers


def _check_out(model: Path, out: Path) -> None:
    """:raises InputError: unless all places that are written to are free, or hold an earlier patch by this command."""
    _check_other(model, out)
    beside = _beside(model, out)
    patch_file, ours = beside.pop(".patch.safetensors"), []
    if os.path.lexists(patch_file):
        try:
            ours = [patches.load(patch_file).patched]
        except InputError:
            raise _taken(patch_file) from None
    _check_place(model, out, ours)
    for path in beside.values():
        if os.path.lexists(path) and not is_report(path):
            raise _taken(path)


def _check_place(model: Path, out: Path, ours: Sequence[str] | None = None) -> None:
    """Refuse to write a model of the kind of ``model`` over what is none.

    :param ours: fingerprints of weights that may be replaced; None for those of any model.
    :raises InputError: for another kind, or another file in the way.
    """
    if model.is_dir() and os.path.lexists(out) and not out.is_dir():
        raise InputError(f"{out} is a file: a patched {model} is a folder")
    if not model.is_dir() and out.suffix != model.suffix:
        raise InputError(f"{out} must end in {model.suffix}: a patched file keeps the format of {model}")
    places = [out / WEIGHTS, out / DESCRIPTION] if model.is_dir() else [out]
    if any(map(os.path.lexists, places)):
        try:
            found = checkpoint_files.fingerprint(checkpoint_files.read(places[0]))
        except InputError:
            raise _taken(out) from None
        if ours is not None and found not in ours:
            raise _taken(out)


def _taken(path: Path) -> InputError:
    return InputError(f"{path} is there already, and not of an earlier patch: give another --out, or remove it")


def _check_other(model: Path, out: Path) -> None:
    if out.exists() and model.exists() and out.samefile(model):
        raise InputError(f"--out is the model itself, {model}: give another name, so that the original stays")


def _stem(model: Path, out: Path) -> Path:
    """The path with which the names of all files beside a patched model begin."""
    return out.with_name(out.name if model.is_dir() else out.stem)


def _beside(model: Path, out: Path) -> dict[str, Path]:
    """The files that are written beside a patched model, by what their names end in."""
    stem = _stem(model, out)
    return {end: stem.with_name(f"{stem.name}{end}") for end in (".patch.safetensors", ".md", ".json", FLIPS)}


def _write(change: Callable[[Path, Path], Any], model: Path, out: Path) -> Any:
    """What ``change`` returns of the weights of a checkpoint, or of a folder, whose description stays as it is."""
    if not model.is_dir():
        return change(model, out)
    outcome = change(model / WEIGHTS, out / WEIGHTS)
    write_atomically(out / DESCRIPTION, (model / DESCRIPTION).read_bytes())
    return outcome


@contextmanager
def _all_or_nothing(target: Path) -> Iterator[Path]:
    """Yield a folder to write to, the files of which move to ``target`` at the end.

    If something fails, none of them does, and folders that were made for them are gone.
    """
    made = [folder for folder in (target, *target.parents) if not folder.exists()]
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=target) as name:
            folder = Path(name)
            yield folder
            for path in [path for path in folder.rglob("*") if path.is_file()]:
                place = target / path.relative_to(folder)
                place.parent.mkdir(exist_ok=True)
                if place.exists():
                    path.chmod(stat.S_IMODE(place.stat().st_mode))
                os.replace(path, place)
    except BaseException:
        for folder in made:
            with suppress(OSError):  # one that holds something by now
                folder.rmdir()
        raise


if __name__ == "__main__":
    command.run(patch, apply, remove)
