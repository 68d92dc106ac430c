"""A task of one's own goes through all stages, and none of them knows it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

import editors
from baselines.model_files import WEIGHTS, load_weights
from benchmarks.errors import InputError
from benchmarks.seeds import generator
from pipelines import tasks
from pipelines.analyse import FACTORS, analyse
from pipelines.evaluate import evaluate
from pipelines.prepare import prepare
from pipelines.report import report
from pipelines.sequences import sequences
from pipelines.tasks import register
from pipelines.train import train
from pipelines.tune import tune
from tests.pipelines.conftest import PARAMS, write_project
from tests.pipelines.tasks.curve_task import CURVES, SINE, TOLERANCE, CurveTask, network, rmse

STAGES = (prepare, train, tune, evaluate, analyse, sequences, report)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Path]:
    """The working directory after all stages."""
    register(CurveTask)  # as a decorator above the class, if there were no other tests in this process
    threads, folder = torch.get_num_threads(), tmp_path_factory.mktemp("curve")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(write_project(folder, PARAMS | {"run": ["sine"], "edit_seeds": [0, 1]}, sine=SINE))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        Path("mlflow").mkdir()
        shutil.copy(empty_database, "mlflow/mlflow.db")
        for stage in STAGES:
            stage("sine")
        yield folder
    torch.set_num_threads(threads)
    tasks._registered.pop(CurveTask.name)


def read(path: str) -> pd.DataFrame:
    return pd.read_csv(f"results/sine/{path}.csv")


def test_tuning_chooses_the_smallest_drawdown_of_the_task_among_feasible_trials(project):
    for editor, cell, count in (("gd", "plain-all", 1), ("covariance", "plain-4", 4)):
        trials = read(f"tuned/{editor}/{cell}")
        assert len(trials) == count
        complete = trials[trials["feasible"] & ~trials["beaten"]]
        by = "rescored" if trials["rescored"].notna().any() else "drawdown"
        best = complete.loc[complete[by].idxmin()]
        described = json.loads(Path(f"results/sine/tuned/{editor}/{cell}.json").read_text())
        values = described["hyperparameters"]
        assert values == {name: pytest.approx(best[name]) for name in values}
        assert described["tuning"]["proposed_by"] == best["proposed_by"]


@pytest.mark.parametrize("repetition", ["", "@1"])
def test_records_say_what_the_tuned_editor_does_to_the_trained_network(project, repetition):
    described = json.loads(Path(f"results/sine/edits/gd/plain-all{repetition}.json").read_text())
    records, data, model = read(f"edits/gd/plain-all{repetition}"), CurveTask().load(Path("data/sine")), network()
    load_weights(model, Path("models/sine/plain", WEIGHTS))
    assert described["rmse"] == pytest.approx(rmse(model, data.test))
    assert len(records) == described["edits"] == 14
    axes = (0, "sine", "test", 1 if repetition else 0)
    place, height = (torch.rand(14, 2, generator=generator(*axes, "requests")) * 2 - 1)[3]
    editor = editors.build("gd", **described["hyperparameters"], max_steps=30)
    edit = editor.edit(model, place.view(1, 1), lambda found: (found - height).abs().sum() - TOLERANCE)
    assert records["steps"][3] == edit.steps > 0
    assert records["succeeded"][3] == edit.succeeded
    assert records["rmse_after"][3] == pytest.approx(rmse(edit.apply(model), data.test), rel=1e-4)
    assert records["near_after"].between(0, 4).all()


def test_curves_and_rows_of_edits_are_of_the_same_task(project):
    curves, rows = read("curves"), read("sequences")
    summary = CURVES.summarise(read("edits/gd/plain-all"))
    assert curves["factor"].tolist() == list(FACTORS)
    for name in ("rmse_drawdown", "success_rate", "generality", "num_steps"):
        assert curves[curves["factor"] == 1][name].item() == pytest.approx(summary[name].value, rel=1e-4)
    assert rows["edits"].tolist() == [0, 1, 2, 3, 4, 5]
    assert rows["error"].between(0, 100).all()
    records = read("sequences/gd-plain-all")
    assert rows["in_force"][5] == pytest.approx(20 * (records["earlier_in_force"] + records["in_force"])[4::5].mean())


def test_a_report_tells_it_without_a_paper_to_compare_with(project):
    board, folder = read("leaderboard").set_index(["editor", "layers"]), Path("results/sine")
    assert set(board.index) == {("gd", "all"), ("gd", "4"), ("covariance", "4")}
    row = board.loc[("gd", "all")]
    values = [CURVES.summarise(read(f"edits/gd/plain-all{seed}"))["rmse_drawdown"].value for seed in ("", "@1")]
    assert row["rmse_drawdown"] == pytest.approx(values[0], rel=1e-4)
    assert row["rmse_drawdown_edit_seeds_std"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5, rel=1e-4)
    assert "| covariance | 4 |" in (folder / "leaderboard.md").read_text()
    model = json.loads((folder / "models/plain/model.json").read_text())
    assert read("trainings")["rmse"].item() == pytest.approx(model["rmse"], rel=1e-4)
    figures = ("generality-drawdown", "steps-drawdown", "sequences", "curves", "training-plain", "tuning-covariance")
    assert {f"{name}.png" for name in figures} <= {path.name for path in (folder / "figures").iterdir()}
    assert "[sine](sine/README.md)" in Path("results/README.md").read_text()
    metrics = json.loads((folder / "metrics.json").read_text())["plain"]["gd"]["all"]
    assert metrics == {name: pytest.approx(row[name], abs=1e-4) for name in ("rmse", "rmse_drawdown", "success_rate")}
    shown = json.loads(Path("mlflow/sine.json").read_text())
    assert (shown["created"], shown["kept"]) == (5, 0)  # three rows, a training, and what they share
    report("sine")
    shown = json.loads(Path("mlflow/sine.json").read_text())
    assert (shown["created"], shown["kept"], shown["removed"]) == (0, 5, 0)  # the records of the same files agree


def test_a_second_run_finds_nothing_to_do(project, capsys):
    before = {path: path.stat().st_mtime_ns for path in Path("results/sine").rglob("*-all*.*")}
    for stage in STAGES[:4]:
        stage("sine")
    assert capsys.readouterr().out.count("unchanged") == 1 + 1 + 2 * 2
    sequences("sine")
    assert "sequences sine: 1 of 1 unchanged" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_what_it_cannot_do_and_what_is_wrong_in_its_configuration_is_one_sentence(project, tmp_path):
    def complaint(**changes: dict) -> str:
        folder = write_project(tmp_path, PARAMS | {"run": ["sine"]}, sine=SINE | changes)
        with pytest.raises(InputError) as refused:
            tune("sine", params=folder / "params.yaml")
        return str(refused.value)

    slow = SINE["trainings"]["plain"] | {"lr": -1}
    assert "sine.yaml: trainings.plain.lr should be greater than 0, not -1" in complaint(trainings={"plain": slow})
    asked = complaint(editors={"gd": {"views": 2, "layers": {"plain": ["all"]}}})
    assert asked == "sine plain/gd/all: a curve is edited without views and without a margin"
