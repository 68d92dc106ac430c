"""The last stage: everything is told from the small files of the others, the same way every time."""

import importlib.metadata
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.pipelines.conftest import Project

RESULTS = "results/digits"


@pytest.fixture(scope="module")
def reported_once(sequenced_once: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after all stages; not to be written to."""
    project = sequenced_once.copy(tmp_path_factory.mktemp("reported") / "project")
    said = project.succeed("report", "digits").errors
    assert "warning: MLflow was not filled: MLflow at http://127.0.0.1:9 does not answer" in said
    return project


@pytest.fixture
def reported(reported_once: Project, tmp_path: Path) -> Project:
    """A project of the test's own after all stages."""
    return reported_once.copy(tmp_path / "project")


def names(project: Project, below: str) -> set[str]:
    return {path.name for path in (project.folder / RESULTS / below).iterdir()}


def test_tables_figures_and_pages_are_there_and_say_what_records_say(reported_once):
    board = pd.read_csv(reported_once.folder / RESULTS / "leaderboard.csv")
    assert len(board) == 4
    for row in board.to_dict("records"):
        records = pd.read_csv(reported_once.folder / RESULTS / f"edits/{row['editor']}/plain-{row['layers']}.csv")
        change = (records["wrong_after"] - records["wrong_before"]).abs() / records["control_size"]
        assert row["drawdown"] == pytest.approx(100 * change.mean(), rel=1e-5)
    for table, rows in (("table1", 2), ("table2", 4)):
        assert len(pd.read_csv(reported_once.folder / RESULTS / f"{table}.csv")) == rows
    kinds = ("table1.png", "table1.svg", "figure2.png", "sequences.png", "curves.png", "training-plain.png")
    assert {*kinds, "generality-drawdown.svg"} <= names(reported_once, "figures")
    last = pd.read_csv(reported_once.folder / RESULTS / "sequences.csv").groupby("editor").last()
    page = (reported_once.folder / RESULTS / "sequences.md").read_text()
    for error, spread in zip(last["error"], last["error_std"], strict=True):
        assert f"{error:.1f} ± {spread:.1f}" in page
    page = (reported_once.folder / RESULTS / "README.md").read_text()
    for file in ("table1.md", "sequences.md", "claims.md", "figures/figure2.png"):
        assert f"]({file})" in page
    index = (reported_once.folder / "results/README.md").read_text()
    assert "| [digits](digits/README.md)" in index
    assert "> **Warning:** MLflow was not filled" in index  # no server answers here


def test_a_run_is_described_by_what_made_it(reported_once):
    run = json.loads((reported_once.folder / RESULTS / "run.json").read_text())
    data = json.loads((reported_once.folder / "data/digits/dataset.json").read_text())
    assert (run["seed"], run["training_seeds"], run["edit_seeds"]) == (0, [0], [0])
    assert run["packages"]["optuna"] == importlib.metadata.version("optuna")
    assert run["data"]["fingerprint"] == data["fingerprint"]
    assert run["data"]["sizes"] == {"training": 1677, "tuning": 60, "test": 60}
    assert run["parameters"]["benchmark"]["tuning"]["edits"] == 12
    seconds = run["seconds"]
    assert seconds.keys() == {"stages", "tables_and_figure_2", "train/plain", "tune/gd", "tune/rmsprop"}
    assert seconds["tune/gd"].keys() == {"plain-all", "plain-chain4"}
    assert seconds["stages"].keys() == {"prepare", "train", "tune", "evaluate", "analyse", "sequences"}


def test_every_stage_says_what_it_took_and_keeps_it_when_there_is_nothing_to_do(reported):
    path = reported.folder / RESULTS / "stages.json"
    first = json.loads(path.read_text())
    stages = ("prepare", "train", "tune", "evaluate", "analyse", "sequences")
    assert set(first) == {*stages, "report"}
    marked = {stage: spent | {"seconds": 1234.5} for stage, spent in first.items()}
    path.write_text(json.dumps(marked))
    shutil.rmtree(reported.folder / RESULTS / "tuned/gd")
    for stage in stages:
        reported.succeed(stage, "digits")
    after = json.loads(path.read_text())
    assert after.pop("tune") != marked.pop("tune")
    assert after == marked


def test_a_report_needs_neither_data_nor_weights_and_again_it_changes_nothing(reported):
    before = reported.files("results")
    for folder in ("data", "models", "descriptors"):
        shutil.rmtree(reported.folder / folder)
    reported.succeed("report", "digits")
    assert reported.files("results") == before
    (reported.folder / RESULTS / "run.json").unlink()
    ended = reported.run("report", "digits")
    assert ended.code == 2
    assert ended.errors.endswith("that tells of it: run `python -m pipelines.prepare digits`\n")


def test_what_is_gone_leaves_the_pages(reported):
    reported.change(analysis__cells=[], sequences=None)
    for stage in ("analyse", "sequences", "report"):
        reported.succeed(stage, "digits")
    assert not [name for name in names(reported, "figures") if name.startswith(("figure2", "sequences", "curves"))]
    assert not {"sequences.md", "sequences.csv"} & names(reported, "")
    page = (reported.folder / RESULTS / "README.md").read_text()
    assert "figure2" not in page
    assert "(sequences." not in page  # the records stay


def test_a_row_that_no_trial_made_feasible_says_so(reported):
    reported.change(editors__gd__ranges={"lr": [1.0e-9, 1.0e-8]}, editors__gd__layers={"plain": ["all"]})
    for stage in ("tune", "evaluate", "report"):
        reported.succeed(stage, "digits")
    board = pd.read_csv(reported.folder / RESULTS / "leaderboard.csv").set_index("editor")
    assert "no trial of the tuning reached 83.33 % success" in board.loc["gd", "note"]  # of 12 edits 2 may fail
    assert board.loc["gd", "note"] in (reported.folder / RESULTS / "leaderboard.md").read_text()


def test_a_file_that_is_broken_is_named_in_one_sentence(reported):
    (reported.folder / RESULTS / "tuned/gd/timing.json").write_text("{")
    ended = reported.run("report", "digits")
    assert ended.code == 2, ended
    *_, last = ended.errors.splitlines()
    assert last.startswith("error: ")
    assert "tuned/gd/timing.json cannot be read" in last
    assert "Traceback" not in ended.errors


def test_what_there_is_nothing_of_is_one_sentence(reported):
    reported.change(editors={"gd": {}}, analysis__cells=[], sequences=None)
    ended = reported.run("report", "digits")
    said = "error: there is nothing to report on digits: no editor's block names `layers`"
    assert (ended.code, ended.errors.splitlines()[-1]) == (2, said)
