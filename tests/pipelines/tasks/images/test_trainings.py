"""Classifiers made side by side, of one another and with several seeds, and the edits of each."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from benchmarks.data import dataset
from benchmarks.errors import InputError
from pipelines.jobs.cells import ModelKey
from pipelines.tasks import load_settings
from pipelines.tasks.images.recipes import check_precision, check_sources
from tests.pipelines.conftest import DIGITS, PARAMS, TABLE_3_TRAINING, Project, write_project

EDITABLE = "editable-0.1-rmsprop-chain3"
BENCHMARK = DIGITS | {
    "trainings": {  # not in the order in which they can be made
        "dknn-10": {"recipe": "dknn", "network": "plain", "k": 10},
        "cnp": {
            **{"recipe": "cnp", "architecture": "cnp_resnet18", **TABLE_3_TRAINING, "lr": 2e-3},
            **{"c_edit": 0.1, "c_loc": 0.2, "clip_norm": 10.0, "edits": 4, "margin": 1.0},
        },
        EDITABLE: {
            **{"recipe": "editable", "editor": "rmsprop", "layers": "chain3", **TABLE_3_TRAINING},
            **{"c_edit": 0.1, "c_loc": 0.1, "clip_norm": 10.0},
        },
        **DIGITS["trainings"],
    },
    "editors": {
        "rmsprop": {"trials": 1, "max_steps": 5, "layers": {"plain": ["chain3"]}},
        "condition_vector": {"trials": 1, "max_steps": 1},
        "flip_labels": {"trials": 1, "max_steps": 100},
        "lookup_cache": {"trials": 2, "max_steps": 1, "layers": {"plain": ["all"]}},
    },
    "analysis": {},
    "sequences": None,
}
PLAN = {"epochs": 1, "batch_size": 256, "lr": 1e-3, "schedule": "cosine"}


@pytest.fixture(scope="module")
def project(stage_server, tmp_path_factory) -> Project:
    """Four trainings with two seeds each, and four editors of them; not to be written to."""
    folder = write_project(tmp_path_factory.mktemp("trainings"), PARAMS | {"training_seeds": [0, 1]}, digits=BENCHMARK)
    made = Project(folder, stage_server)
    for stage in ("prepare", "train", "tune", "evaluate"):
        made.succeed(stage, "digits")
    return made


@pytest.fixture
def again(project, tmp_path) -> Project:
    """A copy of it to change."""
    return project.copy(tmp_path / "again")


def described(project: Project, name: str) -> Path:
    return project.folder / "results/digits/models" / name


def test_every_training_is_made_with_every_seed_and_described_beside_the_results(project):
    names = {f"{name}{seed}" for name in BENCHMARK["trainings"] for seed in ("", "@1")}
    for folder in ("models/digits", "results/digits/models"):
        assert {path.name for path in (project.folder / folder).iterdir()} == names
    first, second = project.weights("plain"), project.weights("plain@1")
    assert first.keys() == second.keys()
    assert not first["stem.conv.weight"].equal(second["stem.conv.weight"])
    for name in names:
        copy = described(project, name) / "model.json"
        assert copy.read_bytes() == (project.folder / "models/digits" / name / "model.json").read_bytes()
        where = json.loads(copy.with_name("made.json").read_text())
        assert where.keys() == {"commit", "machine", "device", "threads", "asked"}


def test_editors_edit_the_models_that_were_prepared_for_them(project):
    edits = {str(path.relative_to(project.folder / "results/digits/edits")) for path in _records(project)}
    cells = ("flip_labels/dknn-10-votes", "condition_vector/cnp-condition", "lookup_cache/plain-all")
    cells += ("rmsprop/plain-chain3", f"rmsprop/{EDITABLE}-chain3")
    both = {f"{start}@1-{last}.csv" for start, last in (cell.rsplit("-", 1) for cell in cells)}
    assert edits == both | {f"{cell}.csv" for cell in cells}


def _records(project: Project) -> list[Path]:
    found = (project.folder / "results/digits/edits").glob("*/*.csv")
    return [path for path in found if not path.name.endswith(("timing.csv", "learned.csv"))]


def test_a_dknn_holds_the_network_of_its_own_seed(project):
    for repetition in ("", "@1"):
        network = project.weights(f"plain{repetition}")
        inside = project.weights(f"dknn-10{repetition}")
        shared = {name.rpartition("network.")[2]: value for name, value in inside.items() if ".network." in name}
        assert {"chain4.1.conv2.weight", "stem.conv.weight"} <= shared.keys()
        assert all(value.equal(network[name]) for name, value in shared.items())


def test_what_was_made_already_is_left_alone_and_one_change_makes_one_training(again):
    before = {path: path.stat().st_mtime_ns for path in (again.folder / "models").rglob("*.safetensors")}
    assert again.succeed("train", "digits").output.count("unchanged") == len(before) == 8
    assert {path: path.stat().st_mtime_ns for path in before} == before
    again.change(**{f"trainings__{EDITABLE}__c_loc": 0.2})
    output = again.succeed("train", "digits").output
    assert output.count("unchanged") == 6
    assert output.count(f"train digits {EDITABLE}") == output.count("kept epoch 1 of 1") == 2


def test_naming_a_training_makes_what_it_is_made_of_as_well_and_what_goes_on_from_it_follows(again):
    again.choose(training_seeds=[0])
    again.change(trainings__plain__epochs=1)
    output = again.succeed("train", "digits", "dknn-10").output
    assert "train digits plain: kept epoch 1 of 1" in output
    assert "train digits dknn-10: tuning error" in output
    assert "train digits cnp" not in output
    output = again.succeed("train", "digits").output
    assert output.count("unchanged") == 2
    assert "train digits cnp: kept epoch" in output


def test_what_a_step_costs_is_written_down(project):
    for name in (EDITABLE, "cnp"):
        cost = json.loads((described(project, name) / "cost.json").read_text())
        assert 1 < cost["cost_ratio_low"] <= cost["cost_ratio"] <= cost["cost_ratio_high"] < 100
        assert cost["batches"] >= 2
        assert (cost["batch_size"], cost["threads"]) == (256, 1)
        assert cost["machine"].endswith("cores")
    assert not (described(project, "plain") / "cost.json").exists()


def test_the_history_of_an_editable_training_holds_its_edits_and_its_editor(project):
    history = pd.read_csv(described(project, EDITABLE) / "history.csv")
    learned = json.loads((described(project, EDITABLE) / "editor.json").read_text())["hyperparameters"]
    assert {"base_loss", "edit_loss", "locality_loss", "edit_success", "edit_steps"} <= set(history)
    assert {f"editor_{name}" for name in learned} <= set(history)
    assert history["edit_success"].between(0, 1).all()
    assert history["edit_steps"].between(0, 10).all()
    assert history["editor_lr"].iloc[-1] == pytest.approx(learned["lr"], rel=0.2)  # the mean over the last epoch
    assert history["editor_lr"].nunique() == len(history)


def test_the_learned_hyperparameters_are_evaluated_beside_the_tuned_ones(project):
    folder = project.folder / "results/digits/edits/rmsprop"
    files = {f"{EDITABLE}{repetition}-chain3.learned.csv" for repetition in ("", "@1")}
    assert {path.name for path in folder.glob("*.learned.csv")} == files
    records = json.loads((folder / f"{EDITABLE}-chain3.json").read_text())
    learned = json.loads((described(project, EDITABLE) / "editor.json").read_text())
    assert records["learned"] == learned["hyperparameters"] != records["hyperparameters"]
    both = [pd.read_csv(folder / f"{EDITABLE}-chain3{kind}.csv") for kind in ("", ".learned")]
    assert both[0]["image"].equals(both[1]["image"])
    assert not both[0]["loss"].equals(both[1]["loss"])


def test_trainings_made_of_each_other_are_refused(again):
    again.change(trainings__plain__start="cnp")
    ended = again.run("train", "digits")
    assert ended.code == 2
    assert ended.errors == "error: digits: trainings: plain, cnp are made of each other\n"


def test_models_that_are_no_longer_trained_are_named_and_kept(again):
    assert "which no configuration makes" not in again.succeed("train", "digits").output
    again.choose(training_seeds=[0])
    again.change(
        trainings=DIGITS["trainings"] | {"cnp": BENCHMARK["trainings"]["cnp"]}, editors={"condition_vector": {}}
    )
    before = again.files("models")
    first, *others = again.succeed("train", "digits").output.splitlines()
    left = f"cnp@1, dknn-10, dknn-10@1, {EDITABLE}, {EDITABLE}@1, plain@1"
    said = "which no configuration makes; delete what you do not need"
    assert first == f"models/digits holds {left}, {said}"
    assert not any(said in line for line in others)
    assert again.files("models") == before


def test_nothing_of_another_recipe_stays_beside_a_model(again):
    folder, names = described(again, EDITABLE), {"model.json", "timing.json", "made.json"}
    assert {path.name for path in folder.iterdir()} == names | {"editor.json", "cost.json", "history.csv"}
    again.choose(training_seeds=[0])
    for block, more in (({"recipe": "plain", **PLAN}, {"history.csv"}), (BENCHMARK["trainings"]["dknn-10"], set())):
        again.change(**{f"trainings__{EDITABLE}": block})
        again.succeed("train", "digits", EDITABLE)
        assert {path.name for path in folder.iterdir()} == names | more


OTHER = {
    "classes": (7, "it tells 7 classes apart, the data of digits have 10"),
    "dataset": ("0" * 64, "it was trained on other data than those of digits"),
}
MADE_OF = {
    "teacher": {"recipe": "distilled", "teacher": "plain", **PLAN},
    "start": {"recipe": "plain", "start": "plain", **PLAN},
    "network": {"recipe": "dknn", "network": "plain", "k": 3},
}


def change_description(project: Project, **values: Any) -> None:
    path = project.folder / "models/digits/plain/model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("role", MADE_OF)
def test_a_model_that_fits_the_data_is_taken_and_any_other_refused(trained, monkeypatch, role):
    monkeypatch.chdir(trained.folder)
    trained.change(trainings__made=MADE_OF[role])
    asked = load_settings(), ModelKey("digits", "made"), dataset.load("data/digits")
    check_sources(*asked)
    path = Path("models/digits/plain/model.json")
    before = json.loads(path.read_text())
    for name, (value, fault) in OTHER.items():
        change_description(trained, **{**before, name: value})
        with pytest.raises(InputError) as refused:
            check_sources(*asked)
        said = str(refused.value)
        assert said.startswith("digits made cannot be made of the model in models/digits/plain: ")
        assert fault in said
        assert "\n" not in said
    path.unlink()
    with pytest.raises(InputError, match="model.json is missing: train the model first"):
        check_sources(*asked)


def test_a_processor_without_bfloat16_is_warned_of_and_such_a_gpu_refused(monkeypatch, capsys):
    key, cpu = ModelKey("digits", "plain"), torch.device("cpu")
    for emulated, said in (
        (False, ""),
        (True, "train digits plain: this processor emulates bfloat16, so mixed_precision makes it slower\n"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=not emulated: {"avx2": True, "avx512_bf16": has})
        check_precision(key, cpu)
        assert capsys.readouterr().out == said
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    with pytest.raises(InputError, match="digits plain: mixed_precision needs a GPU with bfloat16"):
        check_precision(key, torch.device("cuda"))
