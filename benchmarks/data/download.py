"""Published archives: fetched from mirrors, checked against a hash, unpacked without running anything in them."""

import hashlib
import logging
import os
import tarfile
import tempfile
import time
import urllib.request
import zlib
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

from benchmarks.errors import InputError
from benchmarks.files import atomic_path, file_hash

FINGERPRINTED = False  # decides no number: every file must have the hash that its caller states
_log = logging.getLogger(__name__)
_PIECE = 2**20
_SECONDS_BETWEEN_REPORTS = 5.0


class _UnusableError(Exception):
    """An answer of a server that is not the file."""


def fetch(urls: Sequence[str], path: str | os.PathLike[str], md5: str, timeout: float = 30.0) -> Path:
    """Download a file to ``path`` from the first URL that has it, unless it is there already with the right MD5.

    The file gets its name only after its MD5 was verified, so a broken download leaves nothing behind.

    :param timeout: the longest silence of a server, in seconds.
    :raises InputError: when no URL has it, naming each and what went wrong.
    """
    path = Path(path)
    if path.is_file() and file_hash(path, "md5") == md5:
        return path
    failures = []
    for url in urls:
        try:
            with atomic_path(path) as temporary:
                _receive(url, temporary, md5, timeout)
            return path
        except (OSError, HTTPException, ValueError, _UnusableError) as error:
            failures.append(f"{url} ({error or type(error).__name__})")
            _log.warning("%s: %s", url, error)
    raise InputError(f"{path.name} could not be downloaded; tried were {'; '.join(failures)}")


def unpack(archive: str | os.PathLike[str], member: str, folder: str | os.PathLike[str], md5: str) -> Path:
    """Unpack a tar archive and move its top folder ``member`` to ``folder/member``, all of it or nothing.

    The archive's MD5 is verified first, and tarfile's data filter refuses links and paths that lead outside.

    :raises InputError: naming the archive, when it is not the published one or does not unpack to ``member``.
    """
    archive, folder = Path(archive), Path(folder)
    found = file_hash(archive, "md5")
    if found != md5:
        raise InputError(f"{archive} is truncated or not the published archive: MD5 {found}, expected {md5}")
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as temporary:
        try:
            with tarfile.open(archive) as contents:
                contents.extractall(temporary, filter="data")
            (Path(temporary) / member).rename(folder / member)
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise InputError(f"{archive} cannot be unpacked to {folder / member}: {error}") from error
    return folder / member


def _receive(url: str, path: Path, md5: str, timeout: float) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "Mozilla/5.0"})  # some refuse Python's
    digest, received, reported = hashlib.md5(usedforsecurity=False), 0, time.monotonic()
    with urllib.request.urlopen(request, timeout=timeout) as response, open(path, "wb") as file:
        expected = response.headers.get("Content-Length", "unknown")
        while piece := response.read(_PIECE):
            digest.update(piece)
            received += file.write(piece)
            if time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
                reported = time.monotonic()
                _log.info("%s: %d of %s bytes", url, received, expected)
    if expected != "unknown" and received != int(expected):
        raise _UnusableError(f"truncated: {received} of {expected} bytes")
    if digest.hexdigest() != md5:
        raise _UnusableError(f"MD5 {digest.hexdigest()}, expected {md5}")
