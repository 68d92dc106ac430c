"""Where numbers come from and how long they took is written down truly, and kept where nothing is made."""

import importlib.metadata
import subprocess
import time
from pathlib import Path

import pytest
import torch

from benchmarks.errors import InputError
from pipelines.store import provenance
from pipelines.store.layout import Layout


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.chdir(tmp_path)
    return Layout("digits")


@pytest.fixture
def uncached():
    provenance.git_commit.cache_clear()
    yield
    provenance.git_commit.cache_clear()


def test_the_commit_says_whether_code_differs_from_it(layout, monkeypatch, uncached):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(Path.cwd().parent))

    def commit() -> str:
        provenance.git_commit.cache_clear()
        return provenance.git_commit()

    def git(*arguments: str) -> str:
        user = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(("git", *user, *arguments), capture_output=True, text=True, check=True).stdout.strip()

    assert commit() == "unknown"
    git("init", "-q")
    Path("params.yaml").write_text("seed: 0\n")
    Path("results").mkdir()
    git("add", ".")
    git("commit", "-qm", "first")
    head = git("rev-parse", "HEAD")
    assert commit() == head
    Path("results/table1.csv").write_text("a\n")
    Path("params.yaml").write_text("seed: 1\n")  # stands in run.json
    assert commit() == head
    Path("editors").mkdir()
    Path("editors/mine.py").write_text("lr = 1\n")
    assert commit() == f"{head}-dirty"
    assert provenance.made_here(torch.device("cpu")) == {
        "commit": f"{head}-dirty",
        "machine": provenance.machine(torch.device("cpu")),
        "device": "cpu",
    }


def test_surroundings_name_what_computes(monkeypatch):
    found = provenance.surroundings()
    assert found["packages"]["optuna"] == importlib.metadata.version("optuna")
    assert None not in found["packages"].values()
    assert found["hardware"]["cores"] > 0
    assert provenance.machine(torch.device("cpu")).endswith(" cores")
    assert provenance.slug("Some GPU (80 GiB)") == "some-gpu-80-gib"


@provenance.timed(lambda layout: layout.data.glob("*.txt"))
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


def test_a_stage_that_makes_something_leaves_its_time_and_surroundings(layout):
    prepare("digits", ["one", "two"], seconds=0.2)
    spent = provenance.read_stages(layout)["prepare"]
    assert 0.2 <= spent["seconds"] < 60
    assert (spent["made"], spent["of"]) == (2, 2)
    assert {"git_commit", "hardware", "packages"} <= spent.keys()
    prepare(benchmark="digits", names=["two"])
    spent = provenance.read_stages(layout)["prepare"]
    assert (spent["made"], spent["of"]) == (1, 2)


def test_a_stage_that_makes_nothing_or_fails_leaves_the_time_that_is_there(layout):
    prepare("digits", ["one"])
    before = layout.stages.read_bytes()
    prepare("digits", [])
    with pytest.raises(InputError):
        prepare("digits", ["one", "bad"])
    assert layout.stages.read_bytes() == before


def test_times_that_cannot_be_read_are_named_and_do_not_stop_a_stage(layout):
    layout.stages.parent.mkdir(parents=True)
    layout.stages.write_text("[")
    with pytest.raises(InputError, match=r"stages.json cannot be read .*remove it"):
        provenance.read_stages(layout)
    prepare("digits", ["one"])
    assert set(provenance.read_stages(layout)) == {"prepare"}


def test_a_sum_is_of_all_stages_or_is_none():
    times = {stage: {"seconds": 1.5} for stage in provenance.OF_TABLES}
    assert provenance.of_tables(times) == 7.5
    assert provenance.of_tables(times | {"sequences": {"seconds": 5.0}}) == 7.5
    del times["analyse"]
    assert provenance.of_tables(times) is None
