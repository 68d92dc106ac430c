"""The suite's own files, whole and spoiled: tables by their columns, descriptions by their fields."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from benchmarks.errors import InputError
from pipelines.store import schemas

RESULTS = Path(__file__).parents[3] / "results"
AGAIN = "run `make it`"


@some.composite
def records(draw: some.DrawFn) -> pd.DataFrame:
    """Records of edits as ``evaluate`` writes them."""
    count = draw(some.integers(1, 6))
    size, views = draw(some.integers(1, 50)), draw(some.integers(1, 5))
    columns = {name: some.integers(0, size) for name in ("wrong_before", "wrong_after", "flips")}
    columns |= {name: some.integers(0, views) for name in ("views_before", "views_after")}
    columns |= {"trivial": some.booleans(), "succeeded": some.booleans(), "steps": some.integers(0, 50)}
    columns |= {
        "loss": some.floats(),
        "kl": some.floats(width=32),
        "note": some.sampled_from(["", "a, b", "null", "3"]),
    }
    frame = {name: draw(some.lists(kind, min_size=count, max_size=count)) for name, kind in columns.items()}
    return pd.DataFrame({"edit": range(count), **frame, "control_size": size, "views": views})


SPOILED = {
    "wrong_before": [-1, 51, 0.5, "", "x"],
    "wrong_after": [-3, 1000],
    "flips": [51, "inf"],
    "views_after": [6, -1, "nan"],
    "succeeded": ["", "yes", 1],
    "trivial": ["Truee", "-"],
    "steps": [-1, 1.5, "many", 1e300 + 0.5],
    "loss": ["much"],
    "control_size": [-1, ""],
    "edit": [-1, 0.5, ""],
}


@given(frame=records())
def test_whole_records_are_read_as_they_are(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = tmp_path / "records.csv"
    frame.to_csv(path, index=False)
    found = schemas.RECORDS.read(
        path, AGAIN, rows=len(frame), dtype={"note": str}, keep_default_na=False, na_values=[""]
    )
    numbers = [name for name in frame if name not in ("note", "loss", "kl")]
    pd.testing.assert_frame_equal(found[numbers], frame[numbers], check_dtype=False)


@given(frame=records(), spoiled=some.sampled_from([(name, value) for name in SPOILED for value in SPOILED[name]]))
def test_a_spoiled_cell_is_named_with_the_file_and_what_makes_it_anew(
    tmp_path: Path, frame: pd.DataFrame, spoiled: tuple
) -> None:
    (name, value), path, row = spoiled, tmp_path / "records.csv", len(frame) - 1
    frame = frame.astype({name: object})
    frame.loc[row, name] = value
    frame.to_csv(path, index=False)
    with pytest.raises(InputError) as refusal:
        schemas.RECORDS.read(path, AGAIN)
    said = str(refusal.value)
    assert said.startswith(f"{path} has ")
    assert said.endswith(f": remove it and {AGAIN}")
    assert f" in row {row + 1}," in said


@given(frame=records(), change=some.sampled_from(["a row less", "a row twice", "a column less", "cut", "no text"]))
def test_records_that_are_not_whole_are_refused(tmp_path: Path, frame: pd.DataFrame, change: str) -> None:
    path, count = tmp_path / "records.csv", len(frame)
    if change == "a row less":
        frame = frame.iloc[:-1]
    if change == "a row twice":
        frame, count = pd.concat([frame, frame.tail(1)]), count + 1
    frame.drop(columns="steps" if change == "a column less" else []).to_csv(path, index=False)
    if change == "cut":
        path.write_bytes(path.read_bytes()[: -len(path.read_bytes().splitlines()[-1]) // 2 - 1])
    if change == "no text":
        path.write_bytes(b"\xff\xfe\x00" * 9)
    with pytest.raises(InputError, match=r"records\.csv (has|cannot be read)") as refusal:
        schemas.RECORDS.read(path, AGAIN, rows=count)
    assert str(refusal.value).count("\n") == 0


TUNED = {"hyperparameters": {"lr": 0.1, "n": 3}, "max_steps": 9, "feasible": True, "min_success": 95.0, "tuning": None}
JSON = some.recursive(
    some.none() | some.booleans() | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
)


@given(name=some.sampled_from([*TUNED]), value=JSON)
def test_a_description_is_what_it_should_be_or_refused_by_its_field(tmp_path: Path, name: str, value: object) -> None:
    path = tmp_path / "tuned.json"
    path.write_text(json.dumps(TUNED | {name: value, "more": value}))
    fine = {
        "hyperparameters": isinstance(value, dict)
        and all(isinstance(one, float) and abs(one) < float("inf") for one in value.values()),
        "max_steps": False,
        "feasible": isinstance(value, bool),
        "min_success": isinstance(value, float) and 0 <= value <= 100,
        "tuning": value is None,
    }[name]
    if fine:
        assert schemas.Tuned.read(path, AGAIN)[name] == value or value != value
        return
    with pytest.raises(InputError, match=rf"tuned\.json says of {name}.*: remove it and {AGAIN}"):
        schemas.Tuned.read(path, AGAIN)


SEARCH = {"trials": 5, "edits": 80, "required": 95.0, "success_rate": 96.25}
MEASURED = TUNED | {"training": "plain", "editor": "gd", "layers": "all", "hyperparameters": {"lr": 0.1}, "edits": 1}
MEASURED |= {"dataset": "d1", "protocol": 2, "fingerprint": "f1", "tuning": SEARCH}
MEASURED |= {"made": {"commit": "0123456789abcdef", "machine": "a processor, 2 cores"}}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("made", "here"),
        ("made", {"commit": "0123456789abcdef"}),
        ("made", {"commit": 1, "machine": "a processor, 2 cores"}),
        ("feasible", None),
        ("min_success", 101.0),
        ("tuning", {"trials": 5, "edits": 80}),
        ("tuning", SEARCH | {"success_rate": -1.0}),
        ("tuning", SEARCH | {"trials": -1}),
    ],
)
def test_what_a_report_reads_of_records_is_there_or_refused(tmp_path: Path, field: str, value: object) -> None:
    path = tmp_path / "records.json"
    path.write_text(json.dumps(MEASURED))
    assert schemas.Measured.read(path, AGAIN) == MEASURED
    path.write_text(json.dumps(MEASURED | {field: value}))
    with pytest.raises(InputError, match=rf"records\.json says of {field}.*: remove it and {AGAIN}") as refusal:
        schemas.Measured.read(path, AGAIN)
    assert "instance of" not in str(refusal.value)  # a name of ours tells nobody anything
    path.write_text(json.dumps({name: one for name, one in MEASURED.items() if name != field}))
    with pytest.raises(InputError, match=rf"records\.json says of {field}.*: remove it and {AGAIN}"):
        schemas.Measured.read(path, AGAIN)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "3", "[" * 100_000, '{"max_steps": ' + "9" * 5000 + "}"])
def test_what_is_no_description_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tuned.json").write_text(content)
    with pytest.raises(InputError, match=r"tuned\.json (cannot be read|says of)"):
        schemas.Tuned.read(tmp_path / "tuned.json", AGAIN)
    with pytest.raises(InputError, match=rf"none\.json is missing: {AGAIN}"):
        schemas.Tuned.read(tmp_path / "none.json", AGAIN)


@pytest.mark.parametrize("benchmark", ["digits", "toy_translation"])
def test_the_results_that_the_repository_holds_are_whole(benchmark: str) -> None:
    paths = [path for path in sorted((RESULTS / benchmark).rglob("*")) if path.suffix in (".csv", ".json")]
    kinds = {path: schemas.kind_of(path.relative_to(RESULTS / benchmark).as_posix()) for path in paths}
    assert {schemas.RECORDS, schemas.TIMING, schemas.TRIALS, schemas.Measured, schemas.Tuned} <= set(kinds.values())
    for path, kind in kinds.items():
        kind.read(path, AGAIN)
