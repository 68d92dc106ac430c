"""The runs that MLflow shows follow from the files of a benchmark, whatever its task, and need no weights."""

import json
import math
from datetime import UTC, datetime
from types import SimpleNamespace

import pandas as pd
import pytest

from pipelines.jobs.cells import Cell
from pipelines.store.layout import Layout
from pipelines.tracking.records import metric_of_row, metric_of_training
from pipelines.tracking.run_records import run_records

TRAININGS = {"plain": {"recipe": "plain", "epochs": 2}, "pretrained": {"recipe": "pretrained"}}
HEAD = "training,editor,layers"
ENDED = "2026-11-30T12:00:00+00:00"
ABOUT = {"source": "Toys.", "fingerprint": "0123456789abcdef", "sizes": {"training": 8, "tuning": 4, "test": 2}}


def result(editor: str, **hyperparameters: float) -> SimpleNamespace:
    """What is read of a cell's records."""
    description = {"hyperparameters": hyperparameters, "max_steps": 10, "feasible": editor == "gd", "edits": 2}
    return SimpleNamespace(
        cell=Cell("toy", "plain", editor, "layer3"),
        description=description | {"made": {"commit": "c0ffee-dirty"}},
        hyperparameters=hyperparameters,
        records=pd.DataFrame({"edit": [0, 1], "flips": [2, 4]}),
        quality=SimpleNamespace(name="test_error"),
        milliseconds=pd.Series([1.0, 3.0]),
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
        "edits/gd/plain-layer3.mistakes.csv": "edit,trivial,succeeded,steps\n0,False,True,3\n",
        "stages.json": json.dumps({"evaluate": {"seconds": 90.0, "ended": ENDED, "made": 2, "of": 2}}),
        "sequences.csv": f"{HEAD},edits,error,in_force\nplain,gd,layer3,0,2.0,0\nplain,gd,layer3,1,2.5,1\n",
        "similar.csv": f"{HEAD},similar_accuracy,similar_before\nplain,gd,layer3,80.0,10.0\n",
        "models/plain/history.csv": "epoch,loss\n1,0.5\n2,0.25\n",
        "models/plain/model.json": json.dumps({"architecture": "resnet18", "epoch": 2, "fingerprint": "f"}),
        "models/plain/made.json": json.dumps({"commit": "beef", "machine": "a computer"}),
        "models/plain/timing.json": json.dumps({"seconds": 30.0, "ended": ENDED}),
        "models/plain/cost.json": json.dumps({"cost_ratio": 2.5, "cost_ratio_low": 2.0, "batch_size": 8}),
    }
    for name, content in files.items():
        path = Layout("toy").results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return Layout("toy")


def made(layout: Layout) -> dict:
    table = [
        ["plain", "gd", "layer3", 0.2, 0.5, 4.0, 0.5, 0.4, 0.6, 100, "close", "text"],
        ["plain", "adam", "layer3", 0.1, math.nan, 4.0, 0.7, 0.5, 0.9, 100, "", "text"],
    ]
    columns = [*HEAD.split(","), "lr", "beta", "test_error", "drawdown", "drawdown_low", "drawdown_nontrivial"]
    board = pd.DataFrame(table, columns=[*columns, "edits", "note", "published_source"])
    board[["test_error_low", "test_error_high"]] = 3.0, 5.0
    results = [result("adam", lr=0.1), result("gd", lr=0.2, beta=0.5)]
    block = SimpleNamespace(
        trainings={name: SimpleNamespace(model_dump=lambda given=given: given) for name, given in TRAININGS.items()},
        sources_of=lambda name: ("plain",) if name == "pretrained" else (),
        editors={
            "gd": SimpleNamespace(asked={"views": 4, "margin": 0.0}),
            "adam": SimpleNamespace(asked={"views": 0}),
        },
    )
    settings = SimpleNamespace(benchmark=lambda name: block, training_seeds=[0, 1])
    return {run.key: run for run in run_records(settings, layout, results, board, ABOUT)}


def test_a_row_shows_its_values_numbers_and_files(layout):
    run = made(layout)["plain/gd/layer3"]
    assert run.parameters == {"lr": 0.2, "beta": 0.5, "max_steps": 10, "views": 4}
    assert {name: value for name, value in run.metrics.items() if not math.isnan(value)} == {
        "test/error": 4.0,
        "interval/error_low": 3.0,
        "interval/error_high": 5.0,
        "edits/drawdown": 0.5,
        "interval/drawdown_low": 0.4,
        "nontrivial/drawdown": 0.6,
        "similar/accuracy": 80.0,
        "similar/before": 10.0,
        "speed/milliseconds": 2.0,
    }
    assert run.series == {"in_a_row/error": [(0, 2.0), (1, 2.5)], "in_a_row/in_force": [(0, 0), (1, 1)]}
    expected = {"benchmark": "toy", "training": "plain", "editor": "gd", "layers": "layer3", "kind": "edits"}
    expected |= {"mlflow.source.name": "pipelines/evaluate.py", "mlflow.source.git.commit": "c0ffee"}
    assert run.tags.items() >= (expected | {"feasible": "true", "note": "close"}).items()
    assert "Close." in run.tags["mlflow.note.content"]
    assert {path.name for path in run.artifacts} == {"tuning-gd.png"}
    assert run.tables["edits.json"].to_dict("list") == {
        "edit": [0, 1], "flips": [2, 4], "training": ["plain"] * 2, "editor": ["gd"] * 2, "layers": ["layer3"] * 2,
    }  # fmt: skip
    assert run.tables["mistakes.json"]["steps"].tolist() == [3]


def test_a_row_without_a_note_curves_or_records_of_mistakes_has_none(layout):
    run = made(layout)["plain/adam/layer3"]
    assert run.parameters == {"lr": 0.1, "max_steps": 10}
    assert run.series == {}
    assert run.tags["feasible"] == "false"
    assert "note" not in run.tags
    assert run.artifacts == []
    assert list(run.tables) == ["edits.json"]


def test_a_row_takes_the_network_that_it_edits_and_names_its_data(layout):
    run = made(layout)["plain/gd/layer3"]
    assert run.takes == ["training/plain"]
    assert [(context, data.name, data.digest, data.rows) for context, data in run.data.items()] == [
        ("test", "toy test", "0123456789ab", 2),
        ("tuning", "toy tuning", "0123456789ab", 4),
    ]


def test_times_are_those_of_the_stage_if_it_made_all_in_one_run_and_else_unknown(layout):
    ended = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
    runs = made(layout)
    assert runs["plain/gd/layer3"].span == (datetime(2026, 11, 30, 11, 58, 30, tzinfo=UTC), ended)
    assert runs["training/plain"].span == (datetime(2026, 11, 30, 11, 59, 30, tzinfo=UTC), ended)
    assert "suite.times" not in runs["training/plain"].tags
    assert runs["training/pretrained"].span is None
    assert runs["training/pretrained"].tags["suite.times"].startswith("of writing")
    stages = json.loads(layout.stages.read_text())
    layout.stages.write_text(json.dumps({"evaluate": stages["evaluate"] | {"made": 1}}))
    assert made(layout)["plain/gd/layer3"].span is None


def test_a_training_shows_its_epochs_its_quality_and_what_a_step_costs_in_plain_steps(layout):
    runs = made(layout)
    assert {key for key in runs if key.startswith("training/")} == {
        f"training/{name}{seed}" for name in TRAININGS for seed in ("", "@1")
    }
    run = runs["training/plain"]
    assert run.parameters == TRAININGS["plain"]
    assert run.series == {"training/loss": [(1, 0.5), (2, 0.25)]}
    quality = {"test/error": 4.0, "interval/error_low": 3.0, "interval/error_high": 5.0}
    assert run.metrics == {"cost/ratio": 2.5, "cost/ratio_low": 2.0} | quality
    assert {path.name for path in run.artifacts} == {"history.csv", "model.json", "cost.json"}
    assert runs["training/plain@1"].tags["seed"] == "1"
    assert [path.name for path in runs["training/plain@1"].artifacts] == ["training-plain@1.png"]
    assert runs["training/pretrained"].series == {}


def test_a_training_makes_a_network_and_says_of_which_it_is_made(layout):
    runs = made(layout)
    network = runs["training/plain"].network
    assert (network.name, network.kind, network.epoch) == ("plain", "resnet18", 2)
    assert network.tags.items() >= {"weights": "models/toy/plain", "fingerprint": "f"}.items()
    assert runs["training/plain"].tags["mlflow.source.git.commit"] == "beef"
    assert runs["training/pretrained@1"].takes == ["training/plain@1"]


def test_what_is_told_of_all_rows_together_is_in_one_run(layout):
    run = made(layout)["report"]
    assert {path.name for path in run.artifacts} == {"leaderboard.md", "table6.md", "table6.png"}


@pytest.mark.parametrize(
    ("column", "name"),
    {
        "bleu": "test/bleu",
        "bleu_drawdown": "edits/bleu_drawdown",
        "drawdown_high": "interval/drawdown_high",
        "published_num_steps": "published/num_steps",
        "kl_nontrivial_low": "nontrivial/kl_low",
        "drawdown_learned": "learned/drawdown",
        "drawdown_edit_seeds_std": "edit_seeds/drawdown_std",
        "drawdown_seeds_mean": "seeds/drawdown_mean",
        "seeds": "seeds/count",
        "trials": "tuning/trials",
    }.items(),
)
def test_numbers_of_a_row_are_grouped(column, name):
    assert metric_of_row(column, "bleu") == name


@pytest.mark.parametrize(
    ("column", "name"),
    {
        "train_loss": "training/loss",
        "tuning_error": "tuning/error",
        "valid_loss": "validation/loss",
        "edit_steps": "edit/steps",
        "editor_lr": "editor/lr",
        "base_loss": "training/base_loss",
        "c_loc_per_token": "training/c_loc_per_token",
    }.items(),
)
def test_numbers_of_a_training_are_grouped(column, name):
    assert metric_of_training(column) == name
