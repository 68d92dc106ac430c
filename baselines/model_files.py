"""Trained models and half-trained ones as files."""

from __future__ import annotations

import io
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from benchmarks import models
from benchmarks.errors import InputError
from benchmarks.files import atomic_path, write_atomically

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"


@dataclass(frozen=True)
class ModelDescription:
    """What a folder of weights holds.

    :ivar architecture: name and options of the model, as ``benchmarks.models.make`` takes them.
    :ivar training: the name of the training, as in tables.
    :ivar epoch: the epoch that was kept, counted from 1, of ``epochs``; ``tuning_error`` its error in percent.
    :ivar dataset: fingerprint of the data it was trained on.
    :ivar fingerprint: of all that the model follows from, code included; the one to compare before training again.
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


def save_model(folder: str | os.PathLike[str], model: nn.Module, description: Any) -> None:
    """Write ``model.safetensors`` and, last, ``model.json``; the same bytes for the same model.

    :param description: a :class:`ModelDescription`, or what another kind of model has instead.
    """
    folder = Path(folder)
    # Copies: safetensors refuses weights that two layers share.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as temporary:
        safetensors.torch.save_file(tensors, temporary)
    write_atomically(folder / DESCRIPTION, json.dumps(asdict(description), indent=2) + "\n")


def load_model(
    folder: str | os.PathLike[str], device: torch.device | str = "cpu"
) -> tuple[nn.Module, ModelDescription]:
    """The model that ``save_model`` wrote, in evaluation mode.

    :raises InputError: naming the file, if it is missing, broken or of another architecture.
    """
    description = read_description(folder)
    model = models.make(
        description.architecture,
        channels=description.channels,
        classes=description.classes,
        **description.options,
    )
    load_weights(model, Path(folder) / WEIGHTS)
    return model.to(device).eval(), description


def read_description(folder: str | os.PathLike[str]) -> ModelDescription:
    """What ``save_model`` wrote about the model in ``folder``.

    :raises InputError: naming the file, if it is missing or describes no model.
    """
    path = Path(folder) / DESCRIPTION
    try:
        return ModelDescription(**json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: train the model first") from error
    except (OSError, ValueError, TypeError) as error:
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


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write what a training needs to go on after an interruption."""
    content = io.BytesIO()  # torch.save reports a full disk as a RuntimeError of its own
    torch.save(state, content)
    write_atomically(path, content.getvalue())


def load_state(path: Path) -> dict[str, Any] | None:
    """What :func:`save_state` wrote, read without executing anything in it; None if there is no such file.

    :raises InputError: if the file cannot be read.
    """
    try:
        return dict(torch.load(path, weights_only=True, map_location="cpu"))
    except FileNotFoundError:
        return None
    except Exception as error:  # torch.load raises many kinds for a broken file
        raise InputError(
            f"{path} is not a readable checkpoint ({type(error).__name__}): remove it to train from the start"
        ) from error
