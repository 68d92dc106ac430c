"""Wall times of stages: those of the run that made something, whatever is run afterwards."""

from __future__ import annotations

import json
import shutil
import time

import pytest

from benchmarks.errors import InputError
from pipelines.store import stage_times
from pipelines.store.layout import Layout


@pytest.fixture
def layout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Layout("digits")


@stage_times.timed(lambda layout: layout.data.glob("*.txt"))
def prepare(benchmark: str, names: list[str], seconds: float = 0.0) -> None:
    """A stage that writes the files it is told to."""
    time.sleep(seconds)
    for name in names:
        path = Layout(benchmark).data / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text("always the same")
    if "bad" in names:
        raise InputError("no")


def test_a_stage_that_makes_something_leaves_its_time(layout):
    prepare("digits", ["one", "two"], seconds=0.2)
    spent = stage_times.read(layout)["prepare"]
    assert 0.2 <= spent["seconds"] < 20
    assert (spent["made"], spent["of"]) == (2, 2)
    prepare(benchmark="digits", names=["two"])
    spent = stage_times.read(layout)["prepare"]
    assert (spent["made"], spent["of"]) == (1, 2)


def test_a_stage_that_makes_nothing_or_fails_leaves_the_time_that_is_there(layout):
    prepare("digits", ["one"], seconds=0.2)
    before = layout.stage_times.read_bytes()
    prepare("digits", [])
    with pytest.raises(InputError):
        prepare("digits", ["one", "bad"])
    assert layout.stage_times.read_bytes() == before


def test_a_time_that_cannot_be_read_is_named_and_does_not_stop_a_stage(layout):
    layout.stage_times.parent.mkdir(parents=True)
    layout.stage_times.write_text("[")
    with pytest.raises(InputError, match=r"timing-stages.json is broken .*remove it"):
        stage_times.read(layout)
    prepare("digits", ["one"])
    assert set(stage_times.read(layout)) == {"prepare"}


def test_a_sum_is_of_all_stages_or_is_none():
    times = {stage: {"seconds": 1.5} for stage in stage_times.OF_TABLES}
    assert stage_times.of_tables(times) == 9.0
    assert stage_times.of_tables(times | {"sequences": {"seconds": 5.0}}) == 9.0
    del times["analyse"]
    assert stage_times.of_tables(times) is None


def test_every_stage_says_what_it_took_and_keeps_it_when_there_is_nothing_to_do(tuned):
    for stage in ("analyse", "sequences", "report"):
        tuned.succeed(stage, "digits")
    path = tuned.folder / "results/digits/timing-stages.json"
    first = json.loads(path.read_text())
    assert set(first) == {"prepare", "train", "tune", "evaluate", "analyse", "sequences"}
    run = json.loads((tuned.folder / "results/digits/run.json").read_text())["seconds"]
    assert {name: spent for name, spent in run["stages"].items() if name != "report"} == first
    assert run["stages"]["report"]["seconds"] > 0
    expected = sum(spent["seconds"] for name, spent in run["stages"].items() if name != "sequences")
    assert run["tables_and_figure_2"] == pytest.approx(expected, abs=0.05)
    marked = {stage: spent | {"seconds": 1234.5} for stage, spent in first.items()}
    path.write_text(json.dumps(marked))
    for stage in ("train", "tune", "evaluate", "analyse", "sequences"):
        tuned.succeed(stage, "digits")
    assert json.loads(path.read_text()) == marked
    shutil.rmtree(tuned.folder / "results/digits/tuned/gd")
    tuned.succeed("tune", "digits")
    after = json.loads(path.read_text())
    assert after.pop("tune") != marked.pop("tune")
    assert after == marked
