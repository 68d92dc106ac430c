"""Footnotes of trainings: every term that is not the default, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from pipelines.reporting.tables.training_notes import note
from pydantic import TypeAdapter

from pipelines.config import params
from pipelines.config.trainings import TrainingSettings

PLAN = {"epochs": 3, "batch_size": 8, "lr": 1e-3, "schedule": "cosine"}
EDITABLE = {**PLAN, "recipe": "editable", "editor": "rmsprop", "layers": "chain3", "c_edit": 0.1, "c_loc": 0.1}
NAME = "editable-0.1-rmsprop-chain3"


def noted(block: dict[str, Any], name: str = NAME) -> str:
    return note(name, TypeAdapter(TrainingSettings).validate_python(block))


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
    trainings = params.load().benchmark("cifar10_small").trainings
    editable = {name: training for name, training in trainings.items() if training.recipe == "editable"}
    assert editable
    assert all("reference_mode train" in note(name, training) for name, training in editable.items())
