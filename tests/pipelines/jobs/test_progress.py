"""Records of edits come back from their files as they were: a failure stays one, and texts stay texts."""

from dataclasses import asdict, fields
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.errors import InputError
from benchmarks.translation.metrics import TRANSLATIONS
from benchmarks.translation.scoring import TranslationRecord
from pipelines.jobs.progress import Progress, in_shards, write_described, write_records

SUCCEEDED = [False, False, True, False]
TEXTS = ["null", "nan", "NA", "null und nichtig"]
_SOME = {"bool": False, "int": 2, "float": 0.5, "str": "ja"}


def _record(number: int) -> TranslationRecord:
    values = {field.name: _SOME[str(field.type)] for field in fields(TranslationRecord)}
    values |= {"edit": number, "succeeded": SUCCEEDED[number], "after": TEXTS[number]}
    return TranslationRecord(**values)


def _made(folder: Path, size: int) -> pd.DataFrame:
    def run(rows: range) -> pd.DataFrame:
        return pd.DataFrame([asdict(_record(row)) for row in rows])

    return in_shards(folder, len(SUCCEEDED), size, run, Progress("edit", len(SUCCEEDED), "edits"))


@pytest.mark.parametrize("size", [1, 3, 4])  # shards of failures alone, of both, and everything in one
def test_a_failed_edit_of_a_translator_is_one_after_its_files(tmp_path, size):
    records = _made(tmp_path / "shards", size)
    write_records(tmp_path / "records.csv", records)
    again = pd.read_csv(tmp_path / "records.csv", keep_default_na=False)
    for table in (records, again):
        assert table["succeeded"].tolist() == SUCCEEDED
        assert table["succeeded"].dtype == table["trivial"].dtype == bool
        assert table["after"].tolist() == TEXTS
        summary = TRANSLATIONS.summarise(table)
        assert summary["success_rate"].value == summary["success_rate_nontrivial"].value == 25.0
        assert summary["decoded_rate"].value == 0.0


def test_no_description_speaks_of_other_records_whenever_writing_ends(tmp_path, monkeypatch):
    """As a full disk or a kill leaves them: first of earlier records, then of none."""
    described, records = tmp_path / "a.json", tmp_path / "a.csv"
    write_described(described, {"of": 1}, {records: pd.DataFrame({"edit": [1]})})

    def full(*given: object) -> None:
        assert pd.read_csv(records)["edit"].tolist() == [2]
        raise OSError("no space left on device")

    monkeypatch.setattr("pipelines.jobs.progress.write_json", full)
    with pytest.raises(OSError, match="no space"):
        write_described(described, {"of": 2}, {records: pd.DataFrame({"edit": [2]})})
    assert not described.exists()


def test_what_an_earlier_run_finished_says_nothing_of_the_time_that_is_left(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr("pipelines.jobs.progress.time.monotonic", lambda: clock[0])
    progress = Progress("edit", 1000, "edits")
    progress.resume(900)
    clock[0] = 60.0
    progress.advance(50)
    assert capsys.readouterr().out == "edit: 950 of 1000 edits, 0.833 edits/s, 60 s left\n"


def test_shards_that_lie_there_are_not_made_again_and_must_be_whole(tmp_path):
    first = _made(tmp_path, 3)
    (tmp_path / "00001.csv").unlink()
    assert _made(tmp_path, 3).equals(first)
    lines = (tmp_path / "00000.csv").read_text().splitlines()
    (tmp_path / "00000.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(InputError, match=r"00000\.csv has 2 rows, not 3: remove it and run the same command again"):
        _made(tmp_path, 3)


def test_blocks_of_shards_together_are_all_shards(tmp_path):
    def made(folder: Path, block: slice) -> pd.DataFrame:
        def run(rows: range) -> pd.DataFrame:
            asked.append(rows)
            return pd.DataFrame([asdict(_record(row)) for row in rows])

        return in_shards(folder, len(SUCCEEDED), 1, run, Progress("edit", len(SUCCEEDED), "edits"), block)

    asked: list[range] = []
    assert made(tmp_path, slice(1, None, 3))["edit"].tolist() == [1]
    assert made(tmp_path, slice(0, None, 3))["edit"].tolist() == [0, 3]
    assert made(tmp_path, slice(7, None, 3)).empty
    assert made(tmp_path, slice(None)).equals(_made(tmp_path / "whole", 1))
    assert sorted(row for rows in asked for row in rows) == [0, 1, 2, 3]
