"""The runs that MLflow shows follow from the files of a benchmark, whatever its task, and need no weights."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest

from pipelines.jobs.cells import Cell
from pipelines.store.layout import Layout
from pipelines.tracking.run_records import run_records

TRAININGS = {"plain": {"recipe": "plain", "epochs": 2}, "pretrained": {"recipe": "pretrained"}}
HEAD = "training,editor,layers"


def result(editor: str, **hyperparameters: float) -> SimpleNamespace:
    """What is read of a cell's records."""
    description = {"hyperparameters": hyperparameters, "max_steps": 10, "feasible": editor == "gd"}
    return SimpleNamespace(
        cell=Cell("toy", "plain", editor, "layer3"), description=description, milliseconds=pd.Series([1.0, 3.0])
    )


@pytest.fixture
def layout(tmp_path, monkeypatch) -> Layout:
    """Files as the stages leave them, of a model with repetitions and one that was never trained."""
    monkeypatch.chdir(tmp_path)
    files = {
        "leaderboard.md": "",
        "table6.md": "",
        "figures/table6.png": "",
        "figures/tuning-gd.png": "",
        "figures/training-plain@1.png": "",
        "edits/gd/plain-layer3.csv": "",
        "edits/gd/plain-layer3.mistakes.csv": "",
        "edits/gd/other-layer3.csv": "",
        "sequences.csv": f"{HEAD},edits,error,in_force\nplain,gd,layer3,0,2.0,0\nplain,gd,layer3,1,2.5,1\n",
        "similar.csv": f"{HEAD},similar_accuracy,similar_before\nplain,gd,layer3,80.0,10.0\n",
        "models/plain/history.csv": "epoch,loss\n1,0.5\n2,0.25\n",
        "models/plain/model.json": "{}",
        "models/plain/cost.json": json.dumps({"cost_ratio": 2.5, "cost_ratio_low": 2.0, "batch_size": 8}),
    }
    for name, content in files.items():
        path = Layout("toy").results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return Layout("toy")


def made(layout: Layout) -> dict:
    table = [["plain", "gd", "layer3", 0.5, 100, "close", "text"], ["plain", "adam", "layer3", 0.7, 100, "", "text"]]
    board = pd.DataFrame(table, columns=[*HEAD.split(","), "drawdown", "edits", "note", "published_source"])
    results = [result("adam", lr=0.1), result("gd", lr=0.2, beta=0.5)]
    asked = {"gd": {"views": 4, "margin": 0.0}, "adam": {"views": 0}}
    return {run.key: run for run in run_records(layout, results, board, TRAININGS, [0, 1], asked)}


def test_a_row_shows_its_values_numbers_and_files(layout):
    run = made(layout)["plain/gd/layer3"]
    assert run.parameters == {"lr": 0.2, "beta": 0.5, "max_steps": 10, "views": 4}
    assert run.metrics == {"drawdown": 0.5, "similar_accuracy": 80.0, "similar_before": 10.0, "milliseconds": 2.0}
    assert run.series == {"in_a_row_error": [(0, 2.0), (1, 2.5)], "in_a_row_in_force": [(0, 0), (1, 1)]}
    expected = {"benchmark": "toy", "training": "plain", "editor": "gd", "layers": "layer3", "kind": "edits"}
    assert run.tags.items() >= (expected | {"feasible": "true", "note": "close"}).items()
    names = {"tuning-gd.png", "leaderboard.md", "table6.md", "table6.png", "plain-layer3.csv"}
    assert {path.name for path in run.artifacts} == names | {"plain-layer3.mistakes.csv"}


def test_a_row_without_a_note_curves_or_records_of_mistakes_has_none(layout):
    run = made(layout)["plain/adam/layer3"]
    assert run.parameters == {"lr": 0.1, "max_steps": 10}
    assert run.metrics == {"drawdown": 0.7, "milliseconds": 2.0}
    assert run.series == {}
    assert run.tags["feasible"] == "false"
    assert "note" not in run.tags
    assert {path.name for path in run.artifacts} == {"leaderboard.md", "table6.md", "table6.png"}


def test_a_training_shows_its_epochs_and_what_a_step_costs_in_plain_steps(layout):
    runs = made(layout)
    assert {key for key in runs if key.startswith("training/")} == {
        f"training/{name}{seed}" for name in TRAININGS for seed in ("", "@1")
    }
    run = runs["training/plain"]
    assert run.parameters == TRAININGS["plain"]
    assert run.series == {"loss": [(1, 0.5), (2, 0.25)]}
    assert run.metrics == {"cost_ratio": 2.5, "cost_ratio_low": 2.0}
    assert {path.name for path in run.artifacts} == {"history.csv", "model.json", "cost.json"}
    assert runs["training/plain@1"].tags["seed"] == "1"
    assert [path.name for path in runs["training/plain@1"].artifacts] == ["training-plain@1.png"]
    assert runs["training/pretrained"].series == {}
