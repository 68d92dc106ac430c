"""Anybody's checkpoints: read without running code in them, rewritten in the bytes of some tensors and no others."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from benchmarks.errors import InputError
from benchmarks.files import atomic_path

NESTED = ("state_dict", "model")
"""Where a checkpoint that holds more than weights keeps them."""
_ADVICE = "save model.state_dict() with safetensors or torch.save"
_CENTRAL_HEADER, _LOCAL_HEADER = 46, 30


def read(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a state dict by name, on the CPU, from a safetensors file or what ``torch.save`` wrote.

    :raises InputError: naming the file, if it is neither, or cannot be read without running code in it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is missing: it should be a checkpoint")
    if _is_safetensors(path):
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
    return _state(content, path)


def rewrite(source: str | os.PathLike[str], path: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> None:
    """Write to ``path`` the bytes of ``source`` with other values in place of those of ``tensors``.

    So putting the old values back gives the old file, whoever wrote it. The two paths may be the same.

    :param tensors: by name, of the shape and dtype that they have in the file.
    :raises InputError: for tensors that the file does not hold so, and for what ``torch.save`` wrote before 1.6.
    """
    source = Path(source)
    for name, there in read(source).items():
        if name in tensors and (there.shape, there.dtype) != (tensors[name].shape, tensors[name].dtype):
            raise InputError(f"{source}: {name} is {_described(there)}, not {_described(tensors[name])}")
    if not _is_safetensors(source) and not zipfile.is_zipfile(source):
        raise InputError(f"{source} is in the format that PyTorch wrote before version 1.6: {_ADVICE}")
    with atomic_path(path) as temporary:
        shutil.copyfile(source, temporary)
        if _is_safetensors(source):
            _overwrite_safetensors(temporary, tensors)
        else:
            _overwrite_archive(temporary, tensors)
            _renew_checksums(source, temporary)


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values: the same for the same weights in whatever file."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        digest.update(_bytes(value))
    return digest.hexdigest()


def _state(content: Any, path: Path) -> dict[str, Tensor]:
    inner = [content[key] for key in NESTED if key in content] if isinstance(content, Mapping) else []
    for state in (content, *inner):
        if isinstance(state, Mapping) and state and all(isinstance(value, Tensor) for value in state.values()):
            return dict(state)
    where = " or ".join(repr(key) for key in NESTED)
    raise InputError(f"{path} holds no state dict, neither by itself nor under {where}: {_ADVICE}")


def _is_safetensors(path: Path) -> bool:
    """By its first bytes: the length of a header that begins with a brace."""
    with open(path, "rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def _overwrite_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    with open(path, "r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        for name, value in tensors.items():
            file.seek(8 + length + header[name]["data_offsets"][0])
            file.write(_bytes(value))


def _overwrite_archive(path: Path, tensors: Mapping[str, Tensor]) -> None:
    # Tensors of a file that is mapped and shared are the file: what is copied to them stands in it.
    with torch.serialization.set_default_mmap_options(mmap.MAP_SHARED), torch.no_grad():
        state = _state(torch.load(path, map_location="cpu", weights_only=True, mmap=True), path)
        for name, value in tensors.items():
            state[name].copy_(value)


def _renew_checksums(source: Path, path: Path) -> None:
    """Checksums of the records that changed; one that was wrong in ``source`` already stays as it is."""
    with open(source, "rb") as old, open(path, "r+b") as new:
        for entry, start, info in _records(source):
            before, after = (_piece(file, start, info.file_size) for file in (old, new))
            if before != after and zlib.crc32(before) == info.CRC:
                checksum = struct.pack("<I", zlib.crc32(after))
                new.seek(entry + 16)
                new.write(checksum)
                # It also stands behind the record (bit 3), where torch.save puts it, or before it.
                new.seek(start + info.file_size + 4 if info.flag_bits & 8 else info.header_offset + 14)
                new.write(checksum)


def _records(path: Path) -> Iterator[tuple[int, int, zipfile.ZipInfo]]:
    """Where each record's entry in the central directory and its content begin."""
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        entry = archive.start_dir
        for info in archive.infolist():
            name, extra = struct.unpack("<2H", _piece(file, info.header_offset + 26, 4))
            yield entry, info.header_offset + _LOCAL_HEADER + name + extra, info
            entry += _CENTRAL_HEADER + sum(struct.unpack("<3H", _piece(file, entry + 28, 6)))


def _piece(file: Any, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


def _bytes(value: Tensor) -> bytes:
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _described(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
