import gzip
import hashlib
import io
import os
import socket
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.data.download import fetch, unpack
from benchmarks.errors import InputError


def archive_of(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


ARCHIVE = archive_of({"things/one": b"1" * 5000, "things/two": bytes(range(256)) * 20})
CHANGED = ARCHIVE[:-1] + bytes([ARCHIVE[-1] ^ 1])
PAGE = b"<html>down for maintenance</html>"


class Server(ThreadingHTTPServer):
    """Serves the archive whole, cut, or changed, and remembers what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        answers = {
            "/good": (ARCHIVE, len(ARCHIVE)),
            "/truncated": (ARCHIVE[:100], len(ARCHIVE)),
            "/changed": (CHANGED, len(CHANGED)),
            "/page": (PAGE, len(PAGE)),
        }
        if self.path not in answers:
            self.send_error(503)
            return
        body, length = answers[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def refusing_url() -> str:
    """Of a port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}/file"


def test_a_file_is_downloaded_verified_and_named(server, tmp_path):
    path = fetch([server.url("good")], tmp_path / "new" / "things.tar.gz", md5(ARCHIVE))
    assert path.read_bytes() == ARCHIVE
    assert os.listdir(path.parent) == ["things.tar.gz"]


def test_a_file_that_is_there_is_not_downloaded_again(server, tmp_path):
    for _ in range(2):
        fetch([server.url("good")], tmp_path / "things.tar.gz", md5(ARCHIVE))
    assert server.asked == ["/good"]


def test_a_damaged_file_that_is_there_is_downloaded_again(server, tmp_path):
    (tmp_path / "things.tar.gz").write_bytes(ARCHIVE[:50])
    assert fetch([server.url("good")], tmp_path / "things.tar.gz", md5(ARCHIVE)).read_bytes() == ARCHIVE


@pytest.mark.parametrize("first", ["truncated", "changed", "page", "unavailable"])
def test_the_next_mirror_serves_when_the_first_fails(server, tmp_path, first):
    path = fetch([server.url(first), server.url("good")], tmp_path / "file", md5(ARCHIVE))
    assert path.read_bytes() == ARCHIVE
    assert server.asked == [f"/{first}", "/good"]
    assert os.listdir(tmp_path) == ["file"]


def test_the_next_mirror_serves_when_the_first_refuses_the_connection(server, refusing_url, tmp_path):
    assert fetch([refusing_url, server.url("good")], tmp_path / "file", md5(ARCHIVE)).read_bytes() == ARCHIVE


def test_the_next_mirror_serves_when_the_first_is_silent(server, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file"
        path = fetch([url, server.url("good")], tmp_path / "file", md5(ARCHIVE), timeout=1.0)
    assert path.read_bytes() == ARCHIVE


def test_when_all_mirrors_fail_each_is_named_with_its_reason(server, refusing_url, tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    urls = [refusing_url, *(server.url(path) for path in ("truncated", "changed", "unavailable"))]
    with pytest.raises(InputError) as raised:
        fetch(urls, tmp_path / "file", md5(ARCHIVE))
    message = str(raised.value)
    assert all(url in message for url in urls)
    assert f"100 of {len(ARCHIVE)} bytes" in message
    assert f"expected {md5(ARCHIVE)}" in message
    assert "503" in message
    assert "refused" in message
    assert "\n" not in message
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_an_archive_is_unpacked_to_its_folder(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(ARCHIVE)
    folder = unpack(tmp_path / "a.tar.gz", "things", tmp_path, md5(ARCHIVE))
    assert folder == tmp_path / "things"
    assert (folder / "one").read_bytes() == b"1" * 5000
    assert sorted(os.listdir(tmp_path)) == ["a.tar.gz", "things"]


def link_out() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("things/link")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(entry)
    return packed.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        archive_of({"things/one": b"1", "../outside": b"escaped"}),
        link_out(),
        archive_of({"others/one": b"1"}),
        ARCHIVE[: len(ARCHIVE) // 2],
        gzip.compress(b"no archive at all" * 100),
        b"nonsense",
        b"",
    ],
    ids=["path outside", "link outside", "other folder", "truncated", "no tar", "no gzip", "empty"],
)
def test_an_archive_that_is_dangerous_or_broken_is_refused_and_leaves_nothing(tmp_path, content):
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "a.tar.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tar\.gz cannot be unpacked"):
        unpack(inner / "a.tar.gz", "things", inner, md5(content))
    assert os.listdir(inner) == ["a.tar.gz"]
    assert os.listdir(tmp_path) == ["inner"]


def test_an_archive_of_another_md5_is_not_opened(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(ARCHIVE)
    with pytest.raises(InputError, match=r"a\.tar\.gz is truncated or not the published archive"):
        unpack(tmp_path / "a.tar.gz", "things", tmp_path, md5(b"other"))
    assert os.listdir(tmp_path) == ["a.tar.gz"]
