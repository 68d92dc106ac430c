"""Anybody's checkpoints: read without running code in them, rewritten in the bytes of some tensors and no others."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from benchmarks.errors import InputError
from benchmarks.files import atomic_path
from benchmarks.patching.checkpoint_formats import (
    bytes_of,
    is_safetensors,
    overwrite_archive,
    overwrite_legacy,
    overwrite_safetensors,
    state_of,
)

_ADVICE = "save model.state_dict() with safetensors or torch.save"


def read(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a state dict by name, on the CPU, from a safetensors file or what ``torch.save`` wrote.

    :raises InputError: naming the file, if it is neither, or cannot be read without running code in it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is missing: it should be a checkpoint")
    if is_safetensors(path):
        try:
            return dict(safetensors.torch.load_file(path))
        except (SafetensorError, ValueError) as error:
            raise InputError(f"{path} is not a readable safetensors file: {error}") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for what is no checkpoint
        kind = type(error).__name__
        raise InputError(
            f"{path} is no checkpoint that can be read without running code ({kind}): {_ADVICE}"
        ) from error
    return state_of(content, path)


def rewrite(source: str | os.PathLike[str], path: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> None:
    """Write to ``path`` the bytes of ``source`` with other values in place of those of ``tensors``.

    So putting the old values back gives the old file, whoever wrote it. The two paths may be the same.

    :param tensors: by name, of the shape and dtype that they have in the file.
    :raises InputError: for tensors that the file does not hold so.
    """
    source = Path(source)
    for name, there in read(source).items():
        if name in tensors and (there.shape, there.dtype) != (tensors[name].shape, tensors[name].dtype):
            raise InputError(f"{source}: {name} is {_described(there)}, not {_described(tensors[name])}")
    with atomic_path(path) as temporary:
        shutil.copyfile(source, temporary)
        if is_safetensors(source):
            overwrite_safetensors(temporary, tensors)
        elif zipfile.is_zipfile(source):
            overwrite_archive(source, temporary, tensors)
        else:
            overwrite_legacy(temporary, tensors)


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values: the same for the same weights in whatever file."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        digest.update(bytes_of(value))
    return digest.hexdigest()


def _described(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
