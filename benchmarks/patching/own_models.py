"""A user's own classifier and images: its network, its classes, and how image files become its inputs."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.data.augmentation import Augmentation
from benchmarks.data.image_files import SUFFIXES, class_folders, in_folder, read_image
from benchmarks.errors import InputError
from benchmarks.models import torchvision_networks
from benchmarks.patching import checkpoint_files

_LISTED = 12
_MOST_CLASSES = 1_000_000
_CHUNK = 64
NOTHING = -1
"""The answer of a network whose outputs are not all finite numbers."""


@dataclass(frozen=True)
class Preprocessing:
    """What differs from how torchvision's weights are used: None for as there.

    :ivar size: side in pixels; an image's shorter side is resized to it and the middle is cut out.
    :ivar mean, std: per channel, of values from 0 to 1.
    """

    size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True, eq=False)
class OwnModel:
    """A trained classifier, in evaluation mode.

    :ivar weights: the file that holds its tensors.
    :ivar names: the network's names of them by those in the file.
    :ivar classes: names in the order of its outputs; ``named`` if they are the user's, not torchvision's or numbers.
    :ivar mode: what images are converted to, as Pillow names it.
    :ivar transform: an image to one input ``(C, H, W)``.
    :ivar augment: other views of inputs ``(N, C, H, W)``: what the model was trained with as far as that is known, else
        shifted by up to an eighth of the side and mirrored.
    :ivar notes: what was taken for granted about it, in sentences.
    """

    network: nn.Module
    weights: Path
    names: Mapping[str, str]
    classes: tuple[str, ...]
    mode: str
    transform: Callable[[Image.Image], Tensor]
    augment: Callable[[Tensor, torch.Generator], Tensor]
    named: bool = True
    notes: tuple[str, ...] = ()

    def inputs(self, files: Sequence[Path]) -> Tensor:
        """Image files as inputs ``(N, C, H, W)`` on the network's device."""
        device = next(self.network.parameters()).device
        return torch.stack([self.transform(read_image(file, self.mode)) for file in files]).to(device)

    def called(self, answer: int) -> str:
        """The name of a class, or that an answer is none."""
        return "not a number" if answer == NOTHING else self.classes[answer]

    def label(self, name: str) -> int:
        """The number of a class by its name, or by that number.

        :raises InputError: if there is no such class, or several.
        """
        wanted = _composed(name)
        found = [number for number, known in enumerate(self.classes) if _composed(known) == wanted]
        if not found and name.isdecimal() and int(name) < len(self.classes):
            return int(name)
        if len(found) > 1:
            raise InputError(f"label {name!r} names classes {', '.join(map(str, found))}: give the number")
        if not found:
            advice = "" if self.named else "; --classes gives them other names"
            raise InputError(
                f"label {name!r} is not among the {len(self.classes)} classes: {self._listed(name)}{advice}"
            )
        return found[0]

    def _listed(self, name: str) -> str:
        if len(self.classes) <= _LISTED:
            return ", ".join(self.classes)
        nearest = difflib.get_close_matches(name, self.classes, n=_LISTED, cutoff=0.5)
        others = [known for known in self.classes if known not in nearest]
        return ", ".join([*nearest, *others][:_LISTED]) + ", …"


def _composed(name: str) -> str:
    """A name with its accents as one character each: some file systems and editors write two."""
    return unicodedata.normalize("NFC", name)


def answers(network: Callable[[Tensor], Tensor], inputs: Tensor) -> list[int]:
    """The classes that a network gives to inputs ``(N, C, H, W)``; :data:`NOTHING` where its outputs are not finite."""
    return classes_of(log_probabilities(network, inputs)).tolist()


def log_probabilities(network: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """What a network says of inputs ``(N, C, H, W)``: ``(N, C)``, nan in rows of outputs that are not all finite."""
    with torch.no_grad():
        outputs = torch.cat([network(part) for part in inputs.split(_CHUNK)])
    return outputs.log_softmax(dim=1).masked_fill(~outputs.isfinite().all(dim=1, keepdim=True), torch.nan)


def classes_of(found: Tensor) -> Tensor:
    """The likeliest classes ``(N,)`` by :func:`log_probabilities`; :data:`NOTHING` where those are no numbers."""
    return found.argmax(dim=1).where(~found.isnan().any(dim=1), NOTHING)


def of_torchvision(
    path: Path, architecture: str | None, classes: Path | None, preprocessing: Preprocessing
) -> OwnModel:
    """A checkpoint of one of torchvision's classifiers.

    :param classes: a file with a name per line; without it, torchvision's weights of as many outputs tell, or numbers.
    :raises InputError: for what is missing or does not fit together.
    """
    if architecture is None:
        raise InputError(f"{path} does not say its architecture: add --architecture, such as resnet18")
    entry = torchvision_networks.published(architecture)
    tensors = checkpoint_files.read(path)
    count = _outputs(architecture, tensors, path)
    with torch.random.fork_rng(devices=[]):  # initial weights, which are replaced
        network = torchvision_networks.make_whole(architecture, count)
    inside = torchvision_networks.fill(network, tensors, path)
    published, notes = tuple(entry.meta["categories"]), []
    if count == len(published):
        torchvision_networks.as_published(network)
    elif hasattr(network, "transform_input"):
        notes.append(_ITS_INPUT.format(architecture=architecture))
    if classes is not None:
        names = read_classes(classes, count, path)
    else:
        names = published if count == len(published) else tuple(map(str, range(count)))
        notes += [_ITS_NAMES] if count == len(published) else []
    transform = _transform_of(entry, preprocessing)
    model = OwnModel(
        network.eval(), path, inside, names, "RGB", transform, _moved_or_mirrored, classes is not None, tuple(notes)
    )
    _try(model, path)
    return model


_ITS_NAMES = (
    "Classes have the names and the order of torchvision's published weights, which have as many; --classes gives "
    "them other names."
)
_ITS_INPUT = (
    "{architecture} is run without transform_input. If it was made from published weights, which set it, "
    "add --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5: that is the same."
)


def _outputs(architecture: str, tensors: Mapping[str, Tensor], path: Path) -> int:
    """How many classes a checkpoint has: the rows of the last layer, whose parameters come last in every classifier."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                network = torchvision_networks.make_whole(architecture, 2)
        except NotImplementedError:  # some compute their widths with tensors
            network = torchvision_networks.make_whole(architecture, 2)
    *_, (last, _) = network.named_parameters()
    for name, known in torchvision_networks.names_in(network, tensors, path).items():
        if known == last and tensors[name].dim():
            if not 1 <= (count := len(tensors[name])) <= _MOST_CLASSES:
                raise InputError(f"{path} has {count} classes: give a model of at most {_MOST_CLASSES}")
            return count
    raise InputError(f"{path} is not a checkpoint of {architecture}: it has no {last}")


def _transform_of(entry: Any, preprocessing: Preprocessing) -> Callable[[Image.Image], Tensor]:
    changed: dict[str, Any] = {}
    if preprocessing.size is not None:
        changed |= {"crop_size": preprocessing.size, "resize_size": preprocessing.size}
    for name in ("mean", "std"):
        value = getattr(preprocessing, name)
        if value is not None:
            changed[name] = value
    return entry.transforms(**changed)


def _moved_or_mirrored(inputs: Tensor, source: torch.Generator) -> Tensor:
    return Augmentation(crop_padding=inputs.shape[-1] // 8, flip=True).apply(inputs, source)


def _try(model: OwnModel, path: Path) -> None:
    """:raises InputError: if the network does not take inputs of the size that files become."""
    one = model.transform(Image.new(model.mode, (8, 8)))[None]
    try:
        with torch.no_grad():
            model.network(one)
    except (RuntimeError, ValueError, AssertionError) as error:
        height, width = one.shape[2:]
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the network of {path} takes no images of {height}x{width} pixels (--size says another): {reason}"
        ) from error


def read_classes(path: Path, count: int, model: Path) -> tuple[str, ...]:
    """The names of ``count`` classes, a line each.

    :raises InputError: naming the file, if it is missing, unreadable or has others; ``model`` is what has so many.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            names = tuple(line.strip() for line in file if line.strip())
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: it should hold the class names, one per line") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a readable text file with one class name per line: {error}") from error
    if len(names) != count:
        raise InputError(f"{path} names {len(names)} classes, but {model} has {count}")
    return names


@dataclass(frozen=True)
class ControlImage:
    """An image file and, if it lies in a class folder, the number of its class."""

    file: Path
    label: int | None


FLIPS = ".flips.png"
"""How the name of a picture of flipped images ends, which a patch leaves beside its report: no control image."""


def control_images(folder: Path, model: OwnModel, without: Iterable[Path]) -> tuple[ControlImage, ...]:
    """The images of a folder, which lie in it or in folders named as classes, but for the edited ones.

    :raises InputError: for a folder that is missing or has no images, or a folder in it that is no class.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is missing: it should be a folder of control images")
    by_class, loose = class_folders(folder), in_folder(folder)
    if by_class and loose:
        raise InputError(f"{folder} holds both images and folders: put every image into the folder of its class")
    found = [ControlImage(file, None) for file in loose]
    for name, files in by_class.items():
        try:
            label = model.label(name)
        except InputError as error:
            raise InputError(f"{folder / name} is not named as a class: {error}") from error
        found += [ControlImage(file, label) for file in files]
    edited = {file.resolve() for file in without}
    kept = tuple(one for one in found if not one.file.name.endswith(FLIPS) and one.file.resolve() not in edited)
    if not kept:
        raise InputError(f"{folder} holds no control images; read are files that end in {', '.join(SUFFIXES)}")
    return kept


def order_note(folder: Path, model: OwnModel) -> tuple[str, ...]:
    """A sentence where class folders are named by numbers whose order as text is another, and no names were given."""
    names = list(class_folders(folder))
    if model.named or not all(map(str.isdecimal, names)) or names == (by_number := sorted(names, key=int)):
        return ()
    return (
        f"The folders of {folder} are taken for the numbers of outputs: {_few(by_number)}. Where training sorted them "
        f"as text, as torchvision's ImageFolder does ({_few(names)}), --classes must list them in that order.",
    )


def _few(names: list[str]) -> str:
    return ", ".join([*names[:4], "…"])
