"""What lies there is used again if, and only if, it says that it is made of the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.store.fingerprint import MADE_OF, drop_unless_made_of, is_made_of, write_made_of


def test_it_is_made_of_what_was_written_and_needs_its_other_files(tmp_path: Path) -> None:
    path, other = tmp_path / MADE_OF, tmp_path / "records.csv"
    assert not is_made_of(path, "a")
    write_made_of(path, "a")
    assert is_made_of(path, "a")
    assert not is_made_of(path, "b")
    assert not is_made_of(path, "a", other)
    other.touch()
    assert is_made_of(path, "a", other)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '"a"', "null"])
def test_a_broken_file_is_made_of_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / MADE_OF).write_text(content)
    assert not is_made_of(tmp_path / MADE_OF, "a")


def test_unfinished_work_of_other_code_or_settings_is_not_gone_on_from(tmp_path: Path) -> None:
    checkpoint = tmp_path / "plain" / "checkpoint.pt"
    checkpoint.parent.mkdir()
    for fingerprint, kept in (("a", False), ("a", True), ("b", False), ("b", True)):
        checkpoint.write_text("half")
        drop_unless_made_of(checkpoint.parent, fingerprint)
        assert checkpoint.exists() == kept
