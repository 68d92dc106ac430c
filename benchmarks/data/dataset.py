"""A dataset in memory (raw images in a training, a tuning and a test split) and in a folder."""

import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from benchmarks.data.augmentation import Augmentation
from benchmarks.errors import InputError
from benchmarks.files import atomic_path, file_hash, write_atomically

SPLITS = ("train", "tuning", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images.

    :ivar images: uint8 ``(N, C, H, W)``; ``labels`` int64 ``(N,)``.
    :raises InputError: for anything else.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.dim() != 4:
            raise InputError(f"images must be uint8 (N, C, H, W), found {_described(self.images)}")
        if self.labels.dtype != torch.int64 or self.labels.dim() != 1:
            raise InputError(f"labels must be int64 (N,), found {_described(self.labels)}")
        if len(self.images) != len(self.labels):
            raise InputError(f"every image needs one label, found {len(self.images)} and {len(self.labels)}")

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Tensor) -> "Split":
        """The images and labels at ``indices``: int64 ``(M,)`` in the order wanted, or a bool mask ``(N,)``."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class Dataset:
    """The images that a benchmark trains on, tunes on and reports on.

    :ivar mean, std: per channel over the training split, in raw uint8 units (0 to 255).
    :ivar source: one sentence that says where the data come from and how they deviate from the original.
    :raises InputError: for an empty split, images of unequal size, a label outside ``classes``, or statistics that
        cannot normalise.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    tuning: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation
    source: str

    def __post_init__(self) -> None:
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise InputError(f"dataset {self.name}: the classes must be distinct names, found {self.classes!r}")
        shape = tuple(self.train.images.shape[1:])
        for name in SPLITS:
            split: Split = getattr(self, name)
            where = f"dataset {self.name}, {name} split"
            if len(split) == 0:
                raise InputError(f"{where}: found no images, at least one is needed")
            if tuple(split.images.shape[1:]) != shape:
                found = tuple(split.images.shape[1:])
                raise InputError(f"{where}: images must be {shape} as in the train split, found {found}")
            low, high = int(split.labels.min()), int(split.labels.max())
            if low < 0 or high >= len(self.classes):
                wrong, last = (low if low < 0 else high), len(self.classes) - 1
                raise InputError(f"{where}: labels must be from 0 to {last}, found {wrong}")
        if len(self.mean) != shape[0] or len(self.std) != shape[0]:
            counts = f"{len(self.mean)} and {len(self.std)}"
            raise InputError(f"dataset {self.name}: mean and std need {shape[0]} values, found {counts}")
        if not all(map(math.isfinite, self.mean + self.std)) or min(self.std) <= 0:
            values = f"mean {self.mean} and std {self.std}"
            raise InputError(f"dataset {self.name}: mean must be finite and std positive, found {values}")

    def inputs(self, images: Tensor) -> Tensor:
        """Model inputs, float32 ``(N, C, H, W)`` where ``images`` are: these less ``mean``, divided by ``std``."""
        if images.device not in self._scales:
            self._scales[images.device] = torch.tensor([self.mean, self.std], device=images.device)[:, :, None, None]
        mean, std = self._scales[images.device]
        return (images.to(torch.float32) - mean) / std

    @cached_property
    def _scales(self) -> dict[torch.device, Tensor]:
        """Mean and standard deviation where images were normalised before: a GPU need not be sent them again."""
        return {}

    def fingerprint(self) -> str:
        """SHA-256 over the metadata and every image and label: equal exactly when the datasets are equal."""
        digest = hashlib.sha256(json.dumps(_metadata(self), sort_keys=True).encode("ascii"))
        for name in SPLITS:
            split: Split = getattr(self, name)
            digest.update(f"{name} {tuple(split.images.shape)}".encode("ascii"))
            digest.update(split.images.cpu().contiguous().numpy())
            digest.update(split.labels.cpu().contiguous().numpy())
        return digest.hexdigest()


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and (population) standard deviation per channel of uint8 ``(N, C, H, W)`` images, in raw units.

    Computed from counts of the 256 values, so exact and the same for every thread count.
    """
    means, deviations = [], []
    for channel in images.unbind(1):
        counts = torch.zeros(256, dtype=torch.int64)
        for part in channel.split(1000):  # bincount widens what it reads to int64
            counts += torch.bincount(part.flatten(), minlength=256).cpu()
        total = int(counts.sum())
        first = sum(value * count for value, count in enumerate(counts.tolist()))
        second = sum(value**2 * count for value, count in enumerate(counts.tolist()))
        means.append(first / total)
        deviations.append(math.sqrt(total * second - first**2) / total)
    return tuple(means), tuple(deviations)


def save(dataset: Dataset, folder: str | os.PathLike[str]) -> None:
    """Write ``train``, ``tuning`` and ``test.safetensors``, then ``dataset.json``; the same bytes each time.

    ``dataset.json`` holds the metadata, the fingerprint and each file's SHA-256 and number of images. It comes last, so
    that a folder written half-way is refused by :func:`load`.

    :raises OSError: when the folder cannot be written.
    """
    folder, files = Path(folder), {}
    for name in SPLITS:
        split: Split = getattr(dataset, name)
        tensors = {"images": split.images.cpu().contiguous(), "labels": split.labels.cpu().contiguous()}
        with atomic_path(folder / f"{name}.safetensors") as temporary:
            safetensors.torch.save_file(tensors, temporary)
            files[name] = {"sha256": file_hash(temporary), "images": len(split)}
    description = {**_metadata(dataset), "fingerprint": dataset.fingerprint(), "files": files}
    write_atomically(folder / "dataset.json", json.dumps(description, indent=2) + "\n")


def load(folder: str | os.PathLike[str]) -> Dataset:
    """The dataset that :func:`save` wrote to ``folder``, every file checked against ``dataset.json``.

    :raises InputError: naming the file, when one is missing, truncated, changed or does not belong to the others.
    """
    path = Path(folder) / "dataset.json"
    description = _read(path, "make the dataset first", lambda file: json.loads(file.read_bytes()))
    try:
        files, fingerprint = description["files"], description["fingerprint"]
        splits = {name: _load_split(path.with_name(f"{name}.safetensors"), **files[name]) for name in SPLITS}
        dataset = Dataset(
            name=description["name"],
            classes=tuple(description["classes"]),
            **splits,
            mean=tuple(description["mean"]),
            std=tuple(description["std"]),
            augmentation=Augmentation(**description["augmentation"]),
            source=description["source"],
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} does not describe a dataset ({error!r}): make the dataset again") from error
    if dataset.fingerprint() != fingerprint:
        raise InputError(f"{path} was changed since it was written (other fingerprint): make the dataset again")
    return dataset


def _load_split(path: Path, sha256: str, images: int) -> Split:
    """One split, its file compared with what ``dataset.json`` says about it."""
    if _read(path, "make the dataset again", file_hash) != sha256:
        raise InputError(f"{path} is truncated or changed (not the sha256 in dataset.json): make the dataset again")
    tensors = _read(path, "make the dataset again", safetensors.torch.load_file)
    if set(tensors) != {"images", "labels"}:
        raise InputError(f"{path} must hold the tensors images and labels, found {sorted(tensors)}")
    split = Split(**tensors)
    if len(split) != images:
        raise InputError(f"{path} must hold {images} images as dataset.json says, found {len(split)}")
    return split


def _read(path: Path, advice: str, reader: Callable[[Path], Any]) -> Any:
    """``reader(path)``, or one sentence with ``advice``."""
    try:
        return reader(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: {advice}") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read ({error}): {advice}") from error


def _metadata(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "classes": list(dataset.classes),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "augmentation": asdict(dataset.augmentation),
        "source": dataset.source,
    }


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
