"""A patch: the tensors of one model that an edit changed, to be put in place and taken out again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from benchmarks.errors import InputError
from benchmarks.files import atomic_path, file_hash
from benchmarks.patching import checkpoint_files

_KEY = "patch"
_BEFORE, _AFTER = "before/", "after/"


@dataclass(frozen=True, eq=False)
class Patch:
    """Changed tensors by name, as they were and as they are to be.

    :ivar original, patched: fingerprints of all weights of the model without and with the patch.
    :ivar file: the SHA-256 of the file that was patched; empty in patches of earlier versions.
    """

    before: Mapping[str, Tensor]
    after: Mapping[str, Tensor]
    original: str
    patched: str
    file: str = ""

    @property
    def size(self) -> int:
        """Bytes of the changed tensors."""
        return sum(value.numel() * value.element_size() for value in self.after.values())


def make(path: str | os.PathLike[str], wanted: Mapping[str, Tensor]) -> Patch:
    """The patch that leads from the weights in a checkpoint to the values in ``wanted``, which names some of them.

    Wanted values are rounded to the dtype that the weights have; those that are the same then are left out.
    """
    weights = checkpoint_files.read(path)
    rounded = {name: value.detach().cpu().to(weights[name].dtype) for name, value in wanted.items()}
    as_bytes = checkpoint_files.bytes_of
    after = {name: value for name, value in rounded.items() if as_bytes(value) != as_bytes(weights[name])}
    before = {name: weights[name] for name in after}
    fingerprints = (checkpoint_files.fingerprint({**weights, **values}) for values in ({}, after))
    return Patch(before, after, *fingerprints, file_hash(path))


def apply(patch: Patch, source: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Write to ``path`` the checkpoint ``source`` with the patch in place.

    :raises InputError: if ``source`` is not the model that was patched.
    """
    _check(Path(source), patch.original, patch.patched, "the patch is in place already")
    checkpoint_files.rewrite(source, path, patch.after)


def remove(patch: Patch, source: str | os.PathLike[str], path: str | os.PathLike[str]) -> bool:
    """Write to ``path`` the checkpoint ``source`` without the patch: every tensor has the bits that it had before.

    :returns: whether the whole file has the bytes that it had before.
    :raises InputError: if ``source`` is not the patched model; of several patches, the last one is removed first.
    """
    _check(Path(source), patch.patched, patch.original, "the patch is not in place")
    checkpoint_files.rewrite(source, path, patch.before)
    return file_hash(path) == patch.file


def save(patch: Patch, path: str | os.PathLike[str]) -> None:
    """Write a safetensors file that holds ``before/<name>`` and ``after/<name>``; the same bytes for the same patch."""
    # Copies: safetensors refuses weights that two layers share.
    tensors = {_BEFORE + name: value.contiguous().clone() for name, value in patch.before.items()}
    tensors |= {_AFTER + name: value.contiguous().clone() for name, value in patch.after.items()}
    # One entry, because the library writes several in any order.
    described = {name: getattr(patch, name) for name in ("original", "patched", "file")}
    with atomic_path(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata={_KEY: json.dumps(described)})


def load(path: str | os.PathLike[str]) -> Patch:
    """What :func:`save` wrote.

    :raises InputError: naming the file, if it is no patch.
    """
    try:
        with safe_open(path, "pt") as file:
            described = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
        before, after = (
            {name.removeprefix(kind): value for name, value in tensors.items() if name.startswith(kind)}
            for kind in (_BEFORE, _AFTER)
        )
        return Patch(before, after, described["original"], described["patched"], described.get("file", ""))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: it should be a patch") from error
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a patch: {error}") from error


def _check(source: Path, expected: str, other: str, meaning_of_other: str) -> None:
    found = checkpoint_files.fingerprint(checkpoint_files.read(source))
    if found == other:
        raise InputError(f"{source}: {meaning_of_other}")
    if found != expected:
        raise InputError(f"{source} is not the model that this patch fits: its weights have other values")
