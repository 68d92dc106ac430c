"""Overwriting tensors inside a checkpoint file, in the three formats that PyTorch's users have."""

from __future__ import annotations

import json
import mmap
import pickle
import pickletools
import struct
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from benchmarks.errors import InputError

NESTED = ("state_dict", "model")
"""Where a checkpoint that holds more than weights keeps them."""
_CENTRAL_HEADER, _LOCAL_HEADER = 46, 30


def state_of(content: Any, path: Path, kind: type = Tensor) -> dict[str, Any]:
    """The state dict in what a file holds, by itself or among other things.

    :param kind: of its values.
    :raises InputError: naming ``path``, if there is none.
    """
    inner = [content[key] for key in NESTED if key in content] if isinstance(content, Mapping) else []
    for state in (content, *inner):
        if isinstance(state, Mapping) and state and all(isinstance(value, kind) for value in state.values()):
            return dict(state)
    where = " or ".join(repr(key) for key in NESTED)
    raise InputError(f"{path} holds no state dict, neither by itself nor under {where}: save model.state_dict()")


def is_safetensors(path: Path) -> bool:
    """By its name, or its first bytes: the length of a header that begins with a brace."""
    with open(path, "rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def bytes_of(value: Tensor) -> bytes:
    """A tensor's values one after the other, as safetensors has them."""
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def overwrite_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Other values for tensors of a safetensors file."""
    with open(path, "r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        for name, value in tensors.items():
            file.seek(8 + length + header[name]["data_offsets"][0])
            file.write(bytes_of(value))


def overwrite_archive(source: Path, path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Other values for tensors of the archive that ``torch.save`` writes, at ``path``, a copy of ``source``."""
    # Tensors of a file that is mapped and shared are the file: what is copied to them stands in it.
    with torch.serialization.set_default_mmap_options(mmap.MAP_SHARED), torch.no_grad():
        state = state_of(torch.load(path, map_location="cpu", weights_only=True, mmap=True), path)
        for name, value in tensors.items():
            state[name].copy_(value)
    _renew_checksums(source, path)


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


def _piece(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


def overwrite_legacy(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Other values for tensors of what ``torch.save`` wrote before version 1.6, as many published weights are.

    Such a file is five pickles (two numbers, a dict, the content and the keys of the storages), and then the storages
    in the order of their keys, each with its length before it.
    """
    with open(path, "r+b") as file:
        for _ in range(3):
            for _ in pickletools.genops(file):
                pass
        state = state_of(_Places(file).load(), path, _Place)
        keys = _Places(file).load()
        dtypes = {place.key: place.dtype for place in state.values()}
        starts: dict[str, tuple[int, int]] = {}
        for key in keys:
            if key not in dtypes:
                raise InputError(f"{path} holds storages beside those of its state dict: save model.state_dict() alone")
            (length,) = struct.unpack("<q", file.read(8))
            starts[key] = file.tell(), length * dtypes[key].itemsize
            file.seek(starts[key][1], 1)
        for name, value in tensors.items():
            place, (start, size) = state[name], starts[state[name].key]
            storage = torch.frombuffer(bytearray(_piece(file, start, size)), dtype=place.dtype)
            storage.as_strided(place.shape, place.stride, place.offset).copy_(value.detach())
            file.seek(start)
            file.write(bytes_of(storage))


class _Place(NamedTuple):
    """Where in which storage a tensor lies, in elements."""

    key: str
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Places(pickle.Unpickler):
    """Reads the content of a file with places instead of tensors; refuses whatever else is in it."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, stride, *_: _Place(*storage, offset, shape, stride)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda place, *_: place
        if module == "torch" and name.endswith("Storage") and hasattr(torch, name):
            return name
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a state dict")

    def persistent_load(self, described: tuple[Any, ...]) -> tuple[str, torch.dtype]:
        _, kind, key, *_ = described
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # such storages are deprecated: that is why the file is old
            return key, getattr(torch, kind).dtype
