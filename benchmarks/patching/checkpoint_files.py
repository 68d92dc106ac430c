"""Anybody's checkpoints: read without running code in them, and written again with other values of some tensors."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from benchmarks.errors import InputError
from benchmarks.files import atomic_path

USUAL_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "ema", "model_ema", "ema_model")
"""Where a checkpoint that holds more than weights keeps them."""
_NUMBERS = {type(np.dtype(code)) for code in "?" + np.typecodes["AllInteger"] + np.typecodes["AllFloat"]}
_SCALAR = np.float64(0).__reduce__()[0]
_SCALARS = [(_SCALAR, f"{room}.multiarray.scalar") for room in ("numpy.core", "numpy._core")]
_INERT = [argparse.Namespace, np.dtype, *_NUMBERS, *_SCALARS]
"""What stands beside weights in many checkpoints and runs no code: options, and numbers of numpy's."""
_ADVICE = "save model.state_dict() with safetensors or torch.save"


def read(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a state dict by name, on the CPU, from a safetensors file or what ``torch.save`` wrote.

    :raises InputError: naming the file, if it is neither, cannot be read without running code in it, or holds tensors
        that cannot be edited.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is missing: it should be a checkpoint")
    state = _read_safetensors(path) if is_safetensors(path) else _state_of(_loaded(path), path)
    for name, value in state.items():
        if kind := _unfit(value):
            raise InputError(f"{path}: {name} is {kind}, which cannot be edited: {_ADVICE}, of a model without it")
        if not isinstance(name, str):
            raise InputError(f"{path} holds a tensor under {name!r}, not under a name: {_ADVICE}")
    return state


def rewrite(source: str | os.PathLike[str], path: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> None:
    """Write to ``path``, which may be ``source``, what ``source`` holds, with other values of ``tensors``.

    A safetensors file keeps all its other bytes. Other files are written by ``torch.save``: everything in them is kept,
    and of one that this version of torch wrote, all other bytes are too.

    :param tensors: by name, of the shape and dtype that they have in the file.
    :raises InputError: for tensors that the file does not hold so, or that share values with others.
    """
    source, path = Path(source), Path(path)
    state = read(source)
    for name, value in tensors.items():
        there = state.get(name)
        if there is None or (there.shape, there.dtype) != (value.shape, value.dtype):
            raise InputError(f"{source}: {name} is {_described(there)}, not {_described(value)}")
    if is_safetensors(source):
        with atomic_path(path) as temporary:
            shutil.copyfile(source, temporary)
            _overwrite(temporary, tensors)
        return
    content = _loaded(source)
    state = _state_of(content, source)
    try:
        with torch.no_grad():
            for name, value in tensors.items():
                state[name].copy_(value)  # in place, so that tensors that share their values go on to do so
        holds = all(bytes_of(state[name]) == bytes_of(value) for name, value in tensors.items())
    except RuntimeError:  # values of one tensor that share their place
        holds = False
    if not holds:
        raise InputError(f"{source} holds tensors that share their values, so they cannot change apart: {_ADVICE}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as folder:
        saved = Path(folder, f"{_archive_name(source)}.pt")  # by which torch calls the archive inside
        try:
            torch.save(content, saved)
        except RuntimeError as error:  # as torch says it when the disk is full
            raise OSError(f"{path} cannot be written, is the disk full? {str(error).splitlines()[0]}") from error
        with atomic_path(path) as temporary:
            os.replace(saved, temporary)


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values: the same for the same weights in whatever file."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        digest.update(bytes_of(value))
    return digest.hexdigest()


def bytes_of(value: Tensor) -> bytes:
    """A tensor's values one after the other, as safetensors has them."""
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def is_safetensors(path: Path) -> bool:
    """Whether a file is one by its name, or its first bytes: the length of a header that begins with a brace."""
    with open(path, "rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return dict(safetensors.torch.load_file(path))
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from error


def _overwrite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Put other values into a safetensors file: the length of a header, the header with places, the values."""
    with open(path, "r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        for name, value in tensors.items():
            file.seek(8 + length + header[name]["data_offsets"][0])
            file.write(bytes_of(value))


def _loaded(path: Path) -> Any:
    """What ``torch.save`` wrote, code left out."""
    try:
        with torch.serialization.safe_globals(_INERT):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for what is no checkpoint
        known = re.search(r"Unsupported global: GLOBAL (\S+)|(TorchScript)", str(error))
        reason = f"it holds {known[1] or 'a TorchScript archive'}" if known else type(error).__name__
        raise InputError(
            f"{path} is no checkpoint that can be read without running code ({reason}): {_ADVICE}"
        ) from error


def _state_of(content: Any, path: Path) -> dict[str, Any]:
    """The state dict in what a file holds: under a usual key, under the only one that has tensors, or all of it."""
    below = (
        {key: value for key, value in content.items() if _has_tensors(value)} if isinstance(content, Mapping) else {}
    )
    found = [key for key in USUAL_KEYS if key in below] or list(below)
    if len(found) > 1:
        keys = " and ".join(map(repr, found))
        raise InputError(f"{path} holds several state dicts, under {keys}: save the one that is meant alone")
    if not found and not _has_tensors(content):
        where = ", ".join(map(repr, USUAL_KEYS))
        raise InputError(f"{path} holds no state dict, neither by itself nor under a key such as {where}: {_ADVICE}")
    return dict(below[found[0]] if found else content)


def _unfit(value: Any) -> str:
    """What keeps an entry of a state dict from being edited; nothing for a tensor of plain numbers."""
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    kinds = {
        "quantised": value.is_quantized,
        "nested": value.is_nested,
        "sparse": value.layout is not torch.strided,
        "complex": value.is_complex(),
        "without values": value.is_meta,
    }
    return next((kind for kind, it_is in kinds.items() if it_is), "")


def _has_tensors(content: Any) -> bool:
    return isinstance(content, Mapping) and any(isinstance(value, Tensor) for value in content.values())


def _archive_name(path: Path) -> str:
    """The folder inside an archive that ``torch.save`` wrote."""
    if not zipfile.is_zipfile(path):
        return path.stem
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()[0].partition("/")[0]


def _described(value: Tensor | None) -> str:
    return "missing" if value is None else f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
