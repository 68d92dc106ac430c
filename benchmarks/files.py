"""The one way to write a file: whoever looks finds the old one or the new one, never half of either."""

import hashlib
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FINGERPRINTED = False  # decides no number


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path to write to; when the block ends it becomes ``path``, replacing what was there.

    The temporary file lies in the same folder (made if missing) and ends in the same suffix, because some writers
    choose their format by it. The content is on disk (fsync) before it takes the name. When the block raises, the
    temporary file is removed, ``path`` is untouched and the exception goes on.

    :raises OSError: when the file system refuses; FileNotFoundError when the block wrote nothing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(stat.S_IMODE(path.stat().st_mode) if path.exists() else _usual_mode())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _synchronise_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; when the block ends it becomes ``path``, which must not exist.

    :raises OSError: when the file system refuses; then, and when the block raises, no folder is left.
    """
    temporary = _beside(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Make ``content`` (text as UTF-8) the whole of ``path``; a file that has these bytes already is left alone.

    :raises OSError: when the file system refuses.
    """
    path, data = Path(path), content.encode("utf-8") if isinstance(content, str) else content
    if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def file_hash(path: str | os.PathLike[str], algorithm: str = "sha256") -> str:
    """The hexadecimal hash of a file's bytes, read in pieces.

    :raises OSError: when it cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def file_part(name: str) -> str:
    """A name as a part of the names of files: what they may not hold becomes ``_``."""
    return re.sub(r"[^\w.@-]", "_", name)


def _beside(path: Path) -> Path:
    return path.with_name(f".partial-{uuid.uuid4().hex}-{path.name}")


def _usual_mode() -> int:
    """The permissions of a new file; some writers of tensors let nobody else read theirs."""
    mask = os.umask(0)  # the only way to ask for it
    os.umask(mask)
    return 0o666 & ~mask


def _synchronise_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder, and records the rename itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
