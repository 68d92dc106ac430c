import hashlib
import os
from pathlib import Path

import pytest

from benchmarks.files import atomic_path, file_hash, new_folder, write_atomically

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("content", "expected"), [("é\r\n", b"\xc3\xa9\r\n"), (b"\x00\xff", b"\x00\xff"), ("", b"")])
def test_content_is_written_byte_for_byte_into_a_folder_made_for_it(tmp_path, content, expected):
    path = tmp_path / "new" / "folder" / "file.txt"
    write_atomically(path, content)
    assert path.read_bytes() == expected
    assert os.listdir(path.parent) == ["file.txt"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_writer_decides_nothing_about_permissions_and_those_of_an_old_file_stay(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    old.write_text("")
    old.chmod(0o640)
    (tmp_path / "ordinary").write_text("")
    for path in (new, old):
        with atomic_path(path) as temporary:
            temporary.write_text("")
            temporary.chmod(0o600)
    assert new.stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    assert old.stat().st_mode & 0o777 == 0o640


def test_the_old_content_is_there_until_the_block_ends(tmp_path):
    path = tmp_path / "table.csv"
    write_atomically(path, "old")
    with atomic_path(path) as temporary:
        assert temporary.suffix == ".csv"
        assert temporary.parent == tmp_path
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["table.csv"]


@pytest.mark.skipif(os.name == "nt", reason="Windows does not replace an open file")
def test_the_new_file_takes_the_place_of_the_old_one_which_is_not_written_to(tmp_path):
    path = tmp_path / "table.csv"
    write_atomically(path, "old")
    with open(path) as reader:
        write_atomically(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("content", ["as it was\n", b"as it was\n"])
def test_a_file_with_these_bytes_already_is_left_alone(tmp_path, content):
    path = tmp_path / "table.csv"
    write_atomically(path, content)
    os.utime(path, (1, 1))
    before = path.stat()
    write_atomically(path, content)
    assert (path.stat().st_mtime, path.stat().st_ino) == (before.st_mtime, before.st_ino) == (1, before.st_ino)
    write_atomically(path, "as it is.\n")  # of the same length
    assert path.read_text() == "as it is.\n"
    assert path.stat().st_mtime > 1


def test_a_folder_has_its_name_only_once_it_is_whole(tmp_path):
    folder = tmp_path / "new" / "folder"

    def fill(content: str, fails: bool) -> None:
        with new_folder(folder) as partial:
            (partial / "file").write_text(content)
            assert fails or content == "other" or not folder.exists()
            if fails:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        fill("half", fails=True)
    assert os.listdir(folder.parent) == []
    fill("whole", fails=False)
    with pytest.raises(OSError, match="folder"):
        fill("other", fails=False)
    assert os.listdir(folder.parent) == ["folder"]
    assert (folder / "file").read_text() == "whole"


@pytest.mark.parametrize("exception", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, exception):
    path = tmp_path / "table.csv"
    write_atomically(path, "old")

    def write_half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("ha")
            raise exception

    with pytest.raises(exception):
        write_half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_a_failed_move_leaves_no_temporary_file(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_atomically(tmp_path / "taken", "text")
    assert os.listdir(tmp_path) == ["taken"]


def test_a_block_that_wrote_nothing_is_an_error_and_keeps_the_old_file(tmp_path):
    write_atomically(tmp_path / "file", "old")
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "old"


def test_file_hash_is_the_hash_of_the_bytes(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert file_hash(tmp_path / "file") == hashlib.sha256(content).hexdigest()
    assert file_hash(tmp_path / "file", "md5") == hashlib.md5(content).hexdigest()
