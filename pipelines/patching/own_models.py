"""A user's own classifier: its network, its classes, and how image files become its inputs."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from baselines.model_files import DESCRIPTION, WEIGHTS, load_model
from benchmarks.data import dataset
from benchmarks.data.augmentation import Augmentation
from benchmarks.data.image_files import read_image
from benchmarks.errors import InputError
from benchmarks.models import torchvision_networks
from benchmarks.patching import checkpoint_files
from pipelines.store.layout import Layout

_LISTED = 12


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

    :ivar weights: the file that holds its tensors by the network's names.
    :ivar classes: names in the order of its outputs.
    :ivar mode: what images are converted to, as Pillow names it.
    :ivar transform: an image to one input ``(C, H, W)``.
    :ivar augment: other views of inputs ``(N, C, H, W)``: what the model was trained with as far as that is known, else
        shifted by up to an eighth of the side and mirrored.
    """

    network: nn.Module
    weights: Path
    classes: tuple[str, ...]
    mode: str
    transform: Callable[[Image.Image], Tensor]
    augment: Callable[[Tensor, torch.Generator], Tensor]

    def inputs(self, files: Sequence[Path]) -> Tensor:
        """Image files as inputs ``(N, C, H, W)`` on the network's device."""
        device = next(self.network.parameters()).device
        return torch.stack([self.transform(read_image(file, self.mode)) for file in files]).to(device)

    def label(self, name: str) -> int:
        """The number of a class by its name, or by that number.

        :raises InputError: if there is no such class, or several.
        """
        found = [number for number, known in enumerate(self.classes) if known == name]
        if not found and name.isdecimal() and int(name) < len(self.classes):
            return int(name)
        if len(found) > 1:
            raise InputError(f"label {name!r} names classes {', '.join(map(str, found))}: give the number")
        if not found:
            raise InputError(f"label {name!r} is not among the {len(self.classes)} classes: {self._listed(name)}")
        return found[0]

    def _listed(self, name: str) -> str:
        if len(self.classes) <= _LISTED:
            return ", ".join(self.classes)
        nearest = difflib.get_close_matches(name, self.classes, n=_LISTED, cutoff=0.5)
        others = [known for known in self.classes if known not in nearest]
        return ", ".join([*nearest, *others][:_LISTED]) + ", …"


def load(model: Path, architecture: str | None, classes: Path | None, preprocessing: Preprocessing) -> OwnModel:
    """A model of this suite, given by its folder, or a checkpoint of one of torchvision's classifiers.

    :param architecture: torchvision's name of the network; a folder names its own.
    :param classes: a file with a name per line; without it, a folder's dataset or torchvision's weights tell.
    :raises InputError: for what is missing or does not fit together.
    """
    if not model.exists():
        raise InputError(f"{model} is missing: give a checkpoint, or a folder such as models/digits/plain")
    if model.is_dir():
        return _of_suite(model, architecture, classes, preprocessing)
    return _of_torchvision(model, architecture, classes, preprocessing)


def _of_suite(folder: Path, architecture: str | None, classes: Path | None, preprocessing: Preprocessing) -> OwnModel:
    network, description = load_model(folder)
    if architecture is not None or preprocessing != Preprocessing():
        raise InputError(f"{folder}/{DESCRIPTION} says architecture and preprocessing: leave the options out")
    data = dataset.load(_data_of(folder, description.dataset))
    names = data.classes if classes is None else _read_classes(classes, len(data.classes), folder)
    channels, height, width = data.train.images.shape[1:]

    def transform(image: Image.Image) -> Tensor:
        resized = image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(resized)).reshape(height, width, channels)
        return data.inputs(pixels.permute(2, 0, 1)[None])[0]

    black = data.inputs(torch.zeros((1, channels, height, width), dtype=torch.uint8))

    def augment(inputs: Tensor, source: torch.Generator) -> Tensor:
        outside = black.to(inputs.device)
        return data.augmentation.apply(inputs - outside, source) + outside

    return OwnModel(network, folder / WEIGHTS, names, "L" if channels == 1 else "RGB", transform, augment)


def _data_of(folder: Path, fingerprint: str) -> Path:
    """The prepared data that the model in ``folder`` was trained on.

    They lie beside ``models/``; those of a model that lies elsewhere, as a patched one does, in ``data/`` here.
    """
    there = folder.resolve()
    if there.parent.parent.name == "models":
        where, folders = f"data/{there.parent.name}", [Layout(there.parent.name, there.parents[2]).data]
    else:
        where, folders = "any folder of data/", sorted(path.parent for path in Path("data").glob("*/dataset.json"))
    for data in folders:
        if dataset.load(data).fingerprint() == fingerprint:
            return data
    raise InputError(f"{folder} was trained on other data than {where} holds: prepare them, or train again")


def _of_torchvision(
    path: Path, architecture: str | None, classes: Path | None, preprocessing: Preprocessing
) -> OwnModel:
    if architecture is None:
        raise InputError(f"{path} does not say its architecture: add --architecture, such as resnet18")
    entry = torchvision_networks.published(architecture)
    tensors = checkpoint_files.read(path)
    count = _outputs(architecture, tensors, path)
    with torch.random.fork_rng(devices=[]):  # initial weights, which are replaced
        network = torchvision_networks.make_whole(architecture, count)
    torchvision_networks.fill(network, tensors, path)
    published = tuple(entry.meta["categories"])
    if classes is not None:
        names = _read_classes(classes, count, path)
    else:
        names = published if count == len(published) else tuple(str(number) for number in range(count))
    model = OwnModel(network.eval(), path, names, "RGB", _transform_of(entry, preprocessing), _moved_or_mirrored)
    _try(model, path)
    return model


def _outputs(architecture: str, tensors: dict[str, Tensor], path: Path) -> int:
    """How many classes a checkpoint has: the rows of the last layer, whose parameters come last in every classifier."""
    with torch.device("meta"):
        *_, (name, _) = torchvision_networks.make_whole(architecture, 2).named_parameters()
    if name not in tensors or not tensors[name].dim():
        raise InputError(f"{path} is not a checkpoint of {architecture}: it has no {name}")
    return len(tensors[name])


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
        raise InputError(f"the network of {path} takes no images of {height}x{width} pixels: {reason}") from error


def _read_classes(path: Path, count: int, model: Path) -> tuple[str, ...]:
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: it should hold the class names, one per line") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a readable text file with one class name per line: {error}") from error
    if len(names) != count:
        raise InputError(f"{path} names {len(names)} classes, but {model} has {count}")
    return names
