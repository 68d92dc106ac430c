"""Whatever can be patched: a folder with a model of this suite, or anybody's checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from baselines.model_files import DESCRIPTION, WEIGHTS, load_model
from benchmarks.data import dataset
from benchmarks.errors import InputError
from benchmarks.patching import checkpoint_files
from benchmarks.patching.own_models import OwnModel, Preprocessing, of_torchvision, read_classes
from pipelines.store.layout import Layout, read_json


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
    return of_torchvision(model, architecture, classes, preprocessing)


def _of_suite(folder: Path, architecture: str | None, classes: Path | None, preprocessing: Preprocessing) -> OwnModel:
    network, description = load_model(folder)
    if architecture is not None or preprocessing != Preprocessing():
        raise InputError(f"{folder}/{DESCRIPTION} says architecture and preprocessing: leave the options out")
    data = dataset.load(_data_of(folder, description.dataset))
    names = data.classes if classes is None else read_classes(classes, len(data.classes), folder)
    channels, height, width = data.train.images.shape[1:]

    def transform(image: Image.Image) -> Tensor:
        resized = image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(resized)).reshape(height, width, channels)
        return data.inputs(pixels.permute(2, 0, 1)[None])[0]

    black = data.inputs(torch.zeros((1, channels, height, width), dtype=torch.uint8))

    def augment(inputs: Tensor, source: torch.Generator) -> Tensor:
        outside = black.to(inputs.device)
        return data.augmentation.apply(inputs - outside, source) + outside

    inside = {name: name for name in checkpoint_files.read(folder / WEIGHTS)}
    mode = "L" if channels == 1 else "RGB"
    return OwnModel(network, folder / WEIGHTS, inside, names, mode, transform, augment)


def _data_of(folder: Path, fingerprint: str) -> Path:
    """The prepared data that the model in ``folder`` was trained on, beside its ``models/`` or in ``data/`` here."""
    there = folder.resolve()
    beside = [Layout(there.parent.name, there.parents[2]).data] if there.parent.parent.name == "models" else []
    for data in (*beside, *sorted(Path("data").glob("*/"))):
        if read_json(data / "dataset.json").get("fingerprint") == fingerprint:
            return data
    raise InputError(f"no folder of data/ holds the data that {folder} was trained on: prepare them, or train again")
