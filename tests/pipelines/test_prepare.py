"""Which files of one's own decide that data are prepared anew."""

from pathlib import Path

from pipelines.prepare import _files_named


def test_images_behind_linked_folders_count_and_circles_end(tmp_path: Path) -> None:
    for name in ("elsewhere/train/a/0.png", "own/test/a/0.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"")
    own = tmp_path / "own"
    (own / "train").symlink_to(tmp_path / "elsewhere/train")
    (own / "test/again").symlink_to(own)
    found = _files_named({"folder": str(own), "size": 32})
    assert found == [own / "test/a/0.png", own / "train/a/0.png"]
