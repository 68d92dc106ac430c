"""Trained models as files: weights, and a description of what they are."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from benchmarks import models
from benchmarks.errors import InputError
from benchmarks.files import atomic_path, write_atomically

FINGERPRINTED = False  # decides no number

_NUMBERS = {float: int | float}
WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"


class Description(ABC):
    """The description of a trained model: a frozen dataclass with these fields and those of its kind of model.

    :ivar training: the name of the training, as in tables.
    :ivar epoch: the epoch that was kept, counted from 1, of ``epochs``.
    :ivar fingerprint: of all that the model follows from, code included; the one to compare before training again.
    """

    training: str
    epoch: int
    epochs: int
    fingerprint: str

    @property
    @abstractmethod
    def data(self) -> str:
        """Fingerprint of the data that the model was trained on."""


Kind = TypeVar("Kind", bound=Description)


@dataclass(frozen=True)
class ModelDescription(Description):
    """The description of a classifier.

    :ivar architecture: name and ``options`` of the model, as ``benchmarks.models.make`` takes them.
    :ivar tuning_error: of the epoch that was kept, in percent.
    :ivar dataset: fingerprint of the data it was trained on.
    """

    architecture: str
    options: dict[str, Any]
    channels: int
    classes: int
    training: str
    epoch: int
    epochs: int
    tuning_error: float
    dataset: str
    fingerprint: str = ""

    @property
    def data(self) -> str:
        return self.dataset

    def build(self) -> nn.Module:
        """The network without its weights."""
        return models.make(self.architecture, channels=self.channels, classes=self.classes, **self.options)


def save_model(folder: str | os.PathLike[str], model: nn.Module, description: Description) -> None:
    """Write ``model.safetensors`` and, last, ``model.json``; the same bytes for the same model."""
    folder = Path(folder)
    # Copies: safetensors refuses weights that two layers share.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as temporary:
        safetensors.torch.save_file(tensors, temporary)
    write_atomically(folder / DESCRIPTION, json.dumps(asdict(description), indent=2) + "\n")


def load_model(
    folder: str | os.PathLike[str], device: torch.device | str = "cpu"
) -> tuple[nn.Module, ModelDescription]:
    """Load a classifier, in evaluation mode.

    :raises InputError: naming the file, if it is missing, broken or of another architecture.
    """
    return load(folder, ModelDescription, ModelDescription.build, device)


def load(
    folder: str | os.PathLike[str],
    kind: type[Kind],
    build: Callable[[Kind], nn.Module],
    device: torch.device | str = "cpu",
) -> tuple[nn.Module, Kind]:
    """Load a model of any kind, in evaluation mode, into the network that ``build`` makes of its description.

    :raises InputError: naming the file, if it is missing, broken or of another architecture.
    """
    description = read_description(folder, kind)
    model = build(description)
    load_weights(model, Path(folder) / WEIGHTS)
    return model.to(device).eval(), description


def read_description(folder: str | os.PathLike[str], kind: type[Kind] = ModelDescription) -> Kind:
    """The description of the model in ``folder``.

    :raises InputError: naming the file, if it is missing or describes no model of that kind.
    """
    path = Path(folder) / DESCRIPTION
    try:
        content = json.loads(path.read_text())
        for name, wanted in get_type_hints(kind).items():
            found = content.get(name)
            fits = isinstance(found, get_origin(wanted) or _NUMBERS.get(wanted, wanted))
            if found is not None and (not fits or (wanted is int and found < 0)):
                raise TypeError(f"{name} is {found!r}")
        return kind(**content)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: train the model first") from error
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} does not describe a model ({error}): train it again") from error


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill ``model`` with the weights in a safetensors file.

    :raises InputError: naming the file and the first tensor that does not fit, if it is of another architecture.
    """
    try:
        weights = safetensors.torch.load_file(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: train the model first") from error
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} is not a readable safetensors file ({error}): remove it and train the model again"
        ) from error
    wanted = model.state_dict()
    for name in [*wanted, *weights]:
        if name not in weights or name not in wanted or weights[name].shape != wanted[name].shape:
            found = tuple(weights[name].shape) if name in weights else "nothing"
            expected = tuple(wanted[name].shape) if name in wanted else "nothing"
            raise InputError(
                f"{path} belongs to another architecture: at {name} it holds {found}, the model needs {expected}"
            )
    model.load_state_dict(weights)
