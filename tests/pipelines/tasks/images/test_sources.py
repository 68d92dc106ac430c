"""A model of other classes or other data is no teacher and no start: said before anything is trained."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pipelines.jobs.recipes import Task

from benchmarks.data import dataset
from benchmarks.errors import InputError
from pipelines.config import params
from pipelines.jobs import sources
from tests.pipelines.conftest import Project

PLAN = {"epochs": 1, "batch_size": 256, "lr": 1e-3, "schedule": "cosine"}
TAUGHT = {**PLAN, "recipe": "distilled", "teacher": "plain"}
GOES_ON = {**PLAN, "recipe": "plain", "start": "plain"}
DKNN = {"recipe": "dknn", "network": "plain", "k": 3}
OTHER = {
    "classes": (7, "it tells 7 classes apart, the data of digits have 10"),
    "dataset": ("0" * 64, "it was trained on other data than those of digits"),
}


def with_training(project: Project, block: dict[str, Any]) -> None:
    project.change(benchmarks__digits__trainings__made=block, trainings=["plain", "made"])


def change_description(project: Project, **values: Any) -> None:
    path = project.folder / "models/digits/plain/model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("block", [TAUGHT, GOES_ON, DKNN], ids=["teacher", "start", "network"])
def test_a_model_that_fits_the_data_is_taken_and_any_other_refused(trained, monkeypatch, block):
    monkeypatch.chdir(trained.folder)
    with_training(trained, block)
    asked = params.load(), Task("digits", "made"), dataset.load("data/digits")
    sources.check(*asked)
    described = json.loads((trained.folder / "models/digits/plain/model.json").read_text())
    for name, (value, fault) in OTHER.items():
        change_description(trained, **{**described, name: value})
        with pytest.raises(InputError) as refused:
            sources.check(*asked)
        said = str(refused.value)
        assert said.startswith("digits made cannot be made of the model in models/digits/plain: ")
        assert fault in said
        assert "\n" not in said
    (trained.folder / "models/digits/plain/model.json").unlink()
    with pytest.raises(InputError, match="model.json is missing: train the model first"):
        sources.check(*asked)


@pytest.mark.parametrize("name", OTHER)
def test_the_command_ends_with_one_sentence_before_it_trains(trained, name):
    with_training(trained, TAUGHT)
    value, fault = OTHER[name]
    change_description(trained, **{name: value})
    ended = trained.run("train", "digits", "made")
    assert ended.code == 2
    assert "train digits plain: unchanged" in ended.output
    assert fault in ended.errors
    assert "Traceback" not in ended.errors
    assert len(ended.errors.strip().splitlines()) == 1
    assert not (trained.folder / "models/digits/made").exists()
    assert not (trained.folder / "unfinished/digits/training/made").exists()
