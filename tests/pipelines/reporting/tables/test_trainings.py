"""What is said of trainings: footnotes with every term that is not the default, and tables of models and times."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from pydantic import TypeAdapter

from benchmarks.errors import InputError
from pipelines.reporting.tables import other_stages
from pipelines.store.layout import Layout
from pipelines.tasks.images import note
from pipelines.tasks.images.settings import ImageTraining
from tests.pipelines.conftest import committed
from tests.pipelines.reporting.cells import image_cell, write_project

PLAN = {"epochs": 3, "batch_size": 8, "lr": 1e-3, "schedule": "cosine"}
EDITABLE = {**PLAN, "recipe": "editable", "editor": "rmsprop", "layers": "chain3", "c_edit": 0.1, "c_loc": 0.1}
NAME = "editable-0.1-rmsprop-chain3"


def noted(block: dict[str, Any], name: str = NAME) -> str:
    return note(name, TypeAdapter(ImageTraining).validate_python(block))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ""),
        ({"start": "plain", "optimizer": "sgd", "teacher": "plain", "options": {"width": 3}}, ""),
        ({"reference_mode": "train", "clip_norm": 10.0}, "clip_norm 10, reference_mode train"),
        ({"detach_reference": False, "locality": "cross_entropy"}, "locality cross_entropy, detach_reference false"),
        ({"edits": 2, "max_steps": 4}, "edits 2, max_steps 4"),
        ({"mixed_precision": True}, "mixed_precision true"),
        ({"c_loc": 0.2}, "c_edit 0.1, c_loc 0.2"),
        ({"c_edit": 0.01, "c_loc": 0.01}, "c_edit 0.01, c_loc 0.01"),
        ({"hyperparameters": {"lr": 1e-3}}, "lr from 0.001"),
        ({"hyperparameters": {"lr": 1e-3}, "learning_rate": "fixed"}, "learning_rate fixed, lr 0.001"),
    ],
)
def test_what_is_not_the_default_is_said(changed, said):
    assert noted(EDITABLE | changed) == (f"trained with {said}" if said else "")


def test_other_recipes_say_what_they_have():
    cnp = {**PLAN, "recipe": "cnp", "c_edit": 0.1, "c_loc": 0.2, "edits": 4, "margin": 1.0}
    assert noted(cnp, "cnp") == "trained with c_edit 0.1, c_loc 0.2, edits 4, margin 1"
    assert noted({**PLAN, "recipe": "plain"}, "plain") == ""
    assert noted({"recipe": "dknn", "network": "plain", "k": 10}, "dknn-10") == ""
    assert noted({"recipe": "dknn", "network": "plain", "k": 10, "parts": ["head"]}, "dknn-10") == (
        "trained with parts head"
    )


def test_every_editable_row_of_cifar10_small_says_where_p_comes_from():
    described = committed().benchmark("cifar10_small").trainings
    editable = {name: training for name, training in described.items() if training.recipe == "editable"}
    assert editable
    assert all("reference_mode train" in note(name, training) for name, training in editable.items())


@pytest.fixture
def project(tmp_path):
    """A benchmark with two trainings, of which one was made, with two seeds."""
    settings = write_project(
        tmp_path, image_cell("plain/gd/all"), image_cell("editable/rmsprop/chain3"), training_seeds=[0, 1]
    )
    layout = Layout("digits", tmp_path)
    for seed, error in ((0, 2.5), (1, 3.0)):
        folder = layout.described("plain", seed)
        folder.mkdir(parents=True)
        described = {"training": "plain", "epoch": 2, "epochs": 3, "tuning_error": error, "options": {}}
        (folder / "model.json").write_text(json.dumps(described))
        (folder / "timing.json").write_text('{"seconds": 12.5}')
    cost = {"cost_ratio": 2.5, "cost_ratio_low": 2.25, "cost_ratio_high": 2.75, "batches": 7}
    (layout.described("plain", 1) / "cost.json").write_text(json.dumps(cost))
    return settings, layout


def test_models_and_what_they_took_are_two_tables(project):
    settings, layout = project
    other_stages.write_trainings(settings, layout, "tuning_error")
    made, timed = (pd.read_csv(layout.results / name) for name in (other_stages.TRAININGS, other_stages.TIMINGS))
    assert made.values.tolist() == [["plain", 0, "plain", 2, 3, 2.5], ["plain", 1, "plain", 2, 3, 3.0]]
    assert made.columns.tolist() == ["training", "seed", "recipe", "kept", "epochs", "tuning_error"]
    assert timed["seconds"].tolist() == [12.5, 12.5]
    assert timed["cost_ratio_high"].tolist()[1] == 2.75
    assert timed["cost_ratio"].isna().tolist() == [True, False]


def test_a_model_may_be_chosen_by_another_number(project):
    settings, layout = project
    for seed in (0, 1):
        described = {"training": "plain", "epoch": 1, "epochs": 1, "valid_loss": 1.5}
        (layout.described("plain", seed) / "model.json").write_text(json.dumps(described))
    other_stages.write_trainings(settings, layout, "valid_loss")
    assert pd.read_csv(layout.results / other_stages.TRAININGS)["valid_loss"].tolist() == [1.5, 1.5]


@pytest.mark.parametrize("file", ["model.json", "timing.json"])
def test_a_broken_file_about_a_model_is_refused_by_name(project, file):
    settings, layout = project
    (layout.described("plain", 1) / file).write_text("[]")
    with pytest.raises(InputError, match=f"plain@1.{file} .*: remove it and run `.*train digits plain`"):
        other_stages.write_trainings(settings, layout, "tuning_error")
