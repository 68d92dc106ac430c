"""Checkpoints, from which a killed training goes on to the end that it would have had."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks.errors import InputError
from benchmarks.files import write_atomically

FINGERPRINTED = False  # decides no number

CHECKPOINT = "checkpoint.pt"
"""After an epoch."""
WITHIN = "within.pt"
"""In the middle of the next one; beside the other, which stays the last good one should the weights be spoilt."""
_SAVED_EVERY = 300.0  # seconds, within an epoch


class Checkpoints:
    """The checkpoints of one training, in ``folder``.

    :param identity: a hash of all that decides how the training ends: a checkpoint of another one is not used.
    :param parts: what changes with every step, by name: whatever has a ``state_dict`` and can load one.
    """

    def __init__(self, folder: Path, identity: str, parts: Mapping[str, Any]) -> None:
        self._folder, self._identity, self._parts = folder, identity, parts
        self._began = self._looked = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time of the training since it began, that of earlier processes up to their last checkpoint included."""
        return time.perf_counter() - self._began

    def restore(self) -> dict[str, Any] | None:
        """Load the parts from the newest checkpoint of this training, and return its state; None if there is none.

        :raises InputError: if a checkpoint cannot be read.
        """
        state, middle = self._read(CHECKPOINT), self._read(WITHIN)
        if middle is not None and len(middle["history"]) == (len(state["history"]) if state else 0):
            state = middle
        if state is not None:
            for name, part in self._parts.items():
                part.load_state_dict(state[name])
            self._began -= state.get("seconds", 0.0)
        return state

    def after_epoch(self, state: Mapping[str, Any]) -> None:
        """Save ``state``, whose ``history`` has an item for each epoch, together with the parts."""
        self._save(CHECKPOINT, state)
        (self._folder / WITHIN).unlink(missing_ok=True)

    def within_epoch(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """Save the state after a step, if the last checkpoint is minutes old and all numbers in them are finite."""
        if time.perf_counter() - self._looked >= _SAVED_EVERY:
            self._looked = time.perf_counter()
            if all(_is_finite(part.state_dict()) for part in self._parts.values()):
                self._save(WITHIN, state())

    def kept(self, epochs: int) -> str:
        """A phrase about the files that a training leaves behind that has to stop after ``epochs`` whole ones."""
        return f"{self._folder / CHECKPOINT} keeps epoch {epochs}" if epochs else "no epoch was completed"

    def _save(self, name: str, state: Mapping[str, Any]) -> None:
        if dist.is_available() and dist.is_initialized() and dist.get_rank():
            return  # the first of several processes writes for all
        parts = {part: value.state_dict() for part, value in self._parts.items()}
        save_state(self._folder / name, {"identity": self._identity, "seconds": self.seconds, **state, **parts})
        self._looked = time.perf_counter()

    def _read(self, name: str) -> dict[str, Any] | None:
        state = load_state(self._folder / name)
        return state if state is not None and state.get("identity") == self._identity else None


def _is_finite(state: Any) -> bool:
    """Whether all numbers in the tensors of a state, at any depth, are finite."""
    if isinstance(state, Tensor):
        return bool(state.isfinite().all())
    parts = state.values() if isinstance(state, Mapping) else state if isinstance(state, list | tuple) else ()
    return all(map(_is_finite, parts))


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint."""
    content = io.BytesIO()  # torch.save reports a full disk as a RuntimeError of its own
    torch.save(dict(state), content)
    write_atomically(path, content.getvalue())


def load_state(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint without executing anything in it; None if there is no such file.

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
