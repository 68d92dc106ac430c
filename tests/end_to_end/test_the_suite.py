"""The whole suite in a copy of the project, made small: `git init`, `dvc init`, `dvc repro` and what users do next."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from tests.pipelines.conftest import DIGITS, PARAMS, write_project

ROOT = Path(__file__).parents[2]
ROOMS = ("editors", "benchmarks", "baselines", "pipelines")


@dataclass(frozen=True)
class Copy:
    """A copy of the project and the commands that are run in it."""

    folder: Path

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "PYTHONPATH")}
        names = {"GIT_AUTHOR_NAME": "a", "GIT_COMMITTER_NAME": "a"}
        names |= {"GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_EMAIL": "a@example.org"}
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**kept, **names, "PATH": path, "DVC_NO_ANALYTICS": "1", **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def succeed(self, *command: str, **environment: str) -> str:
        ended = self.run(*command, **environment)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
        return ended.stdout + ended.stderr

    def repro(self, *arguments: str, **environment: str) -> list[str]:
        """The stages that ran."""
        output = self.succeed("dvc", "repro", *arguments, **environment)
        return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]

    def reproducible(self) -> dict[str, bytes]:
        """Every result that must be the same in every run: all but wall times."""
        results = self.folder / "results/digits"
        files = [path for path in sorted(results.rglob("*")) if path.is_file()]
        timed = ("timing", "run.json", "stages.json")
        return {
            str(path.relative_to(results)): path.read_bytes()
            for path in files
            if not any(word in path.name for word in timed)
        }

    def runs(self) -> dict[str, str]:
        """MLflow's active runs of the benchmark: run id by key."""
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{self.folder}/mlflow/mlflow.db")
        experiment = client.get_experiment_by_name("digits")
        return {run.data.tags["suite.key"]: run.info.run_id for run in client.search_runs([experiment.experiment_id])}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The copy after its first `dvc repro`; the tests of this file follow one another in it."""
    copy = Copy(tmp_path_factory.mktemp("end_to_end") / "project")
    for room in (*ROOMS, "results/published", "results/pages"):
        shutil.copytree(ROOT / room, copy.folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore", "results/claims.yaml"):
        shutil.copy(ROOT / name, copy.folder / name)
    write_project(copy.folder, PARAMS | {"processes": 2}, digits=DIGITS)
    copy.succeed("git", "init", "-q")
    copy.succeed("dvc", "init", "-q")
    copy.succeed("git", "add", ".")
    copy.succeed("git", "commit", "-qm", "first")
    ran = copy.repro()
    assert ran == [
        f"{stage}@digits"
        for stage in ("prepare", "train", "tune", "evaluate", "analyse", "sequences", "joint", "report")
    ]
    return copy


def test_one_command_makes_every_output(finished):
    results = finished.folder / "results/digits"
    for name in ("table1", "table2", "leaderboard"):
        assert (results / f"{name}.md").read_text().startswith("#")
        assert len(pd.read_csv(results / f"{name}.csv")) == {"table1": 2, "table2": 4, "leaderboard": 4}[name]
    assert {"table1.png", "table1.svg", "figure2.png"} <= {path.name for path in (results / "figures").iterdir()}
    assert "table1.md" in (results / "README.md").read_text()
    run = json.loads((results / "run.json").read_text())
    assert run["git_commit"] == finished.succeed("git", "rev-parse", "HEAD").strip()
    expected = {f"plain/{editor}/{layers}" for editor in ("gd", "rmsprop") for layers in ("all", "chain4")}
    assert set(finished.runs()) == expected | {"training/plain", "report"}
    assert not list(finished.folder.rglob(".partial-*"))


def test_a_second_run_looks_whether_the_data_are_what_they_were_and_does_nothing_else(finished):
    lock = (finished.folder / "dvc.lock").read_bytes()
    assert finished.repro() == ["prepare@digits"]
    assert (finished.folder / "dvc.lock").read_bytes() == lock


def test_dvc_shows_the_metrics_and_the_plots(finished):
    shown = json.loads(finished.succeed("dvc", "metrics", "show", "--json"))
    values = next(iter(shown.values()))["data"]["results/digits/metrics.json"]["data"]
    board = pd.read_csv(finished.folder / "results/digits/leaderboard.csv").set_index(["editor", "layers"])
    for (editor, layers), row in board.iterrows():
        assert values["plain"][editor][layers]["drawdown"] == pytest.approx(row["drawdown"], abs=1e-3)
    finished.succeed("dvc", "plots", "show", "-o", "plots")
    page = (finished.folder / "plots/index.html").read_text()
    assert page.count("results_digits_figures_generality-drawdown.png") == 1
    assert "http://" not in page.replace("http://www.w3.org", "")
    shutil.rmtree(finished.folder / "plots")


@pytest.mark.slow
def test_results_that_were_deleted_come_back_byte_for_byte(finished):
    before = finished.reproducible()
    runs = finished.runs()
    assert len(before) > 30
    shutil.rmtree(finished.folder / "results/digits")
    finished.repro()
    assert finished.reproducible() == before
    assert finished.runs().keys() == runs.keys()  # other runs, because they show wall times too


@pytest.mark.slow
def test_a_new_editor_runs_its_own_cells_only_and_takes_its_place(finished):
    before, weights = finished.reproducible(), finished.folder / "models/digits/plain/model.safetensors"
    trained = weights.stat()
    example = (ROOT / "editors/README.md").read_text("utf-8").split("```python\n")[1].split("```")[0]
    (finished.folder / "editors/methods/nesterov.py").write_text(example)
    row = {"nesterov": {"trials": 1, "max_steps": 5, "layers": {"plain": ["all"]}}}
    write_project(finished.folder, PARAMS | {"processes": 2}, digits=DIGITS | {"editors": DIGITS["editors"] | row})
    finished.repro()
    assert (weights.stat().st_ino, weights.stat().st_mtime_ns) == (trained.st_ino, trained.st_mtime_ns)
    after = finished.reproducible()
    for name, content in before.items():
        if name.startswith(("tuned/", "edits/")):
            assert after[name] == content
    board = pd.read_csv(finished.folder / "results/digits/leaderboard.csv")
    assert set(board["editor"]) == {"gd", "rmsprop", "nesterov"}
    assert "plain/nesterov/all" in finished.runs()


@pytest.mark.slow
def test_an_experiment_with_other_parameters_is_one_command(finished):
    finished.succeed("git", "add", ".")
    finished.succeed("git", "commit", "-qm", "second")
    finished.succeed("dvc", "exp", "run", "-S", "benchmarks/configs/digits.yaml:evaluation.edits=8")
    assert (pd.read_csv(finished.folder / "results/digits/leaderboard.csv")["edits"] == 8).all()
    assert "8" in finished.succeed("dvc", "exp", "show", "--csv")
