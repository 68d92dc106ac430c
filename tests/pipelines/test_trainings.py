"""Trainings made side by side, of one another and with several seeds, up to their rows of Table 3."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from pipelines.jobs.recipes import Task
from safetensors.torch import load_file

from benchmarks.errors import InputError
from pipelines import train
from pipelines.config import params
from pipelines.reporting.tables import leaderboard
from tests.pipelines.conftest import Project, tiny_parameters

EDITABLE = "editable-0.1-rmsprop-chain3"
SUBSETS = {
    "rmsprop": {"plain": ["chain3"], EDITABLE: ["chain3"]},
    "condition_vector": {"cnp": ["condition"]},
    "flip_labels": {"dknn-10": ["votes"]},
    "lookup_cache": {"plain": ["all"]},
}


@pytest.fixture(scope="module")
def project(stage_server, tmp_path_factory) -> Project:
    """Five trainings with two seeds each, and four editors of them, through all stages; not to be written to."""
    made = Project(tmp_path_factory.mktemp("trainings"), stage_server)
    committed = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
    content = tiny_parameters() | {"leaderboard": list(SUBSETS), "training_seeds": [0, 1]}
    content["trainings"] = ["dknn-10", "cnp", EDITABLE, "plain"]  # not in the order in which they can be made
    for name in (EDITABLE, "cnp"):
        content["benchmarks"]["digits"]["trainings"][name] |= {"epochs": 1, "batch_size": 256}
    for editor, subsets in SUBSETS.items():
        content["editors"][editor] = committed["editors"][editor] | {"trials": 2, "subsets": subsets}
    (made.folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    for stage in ("prepare", "train"):
        made.succeed(stage, "digits")
    for editor in SUBSETS:
        made.succeed("tune", "digits", editor)
        made.succeed("evaluate", "digits", editor)
    made.succeed("analyse", "digits")
    made.succeed("report", "digits")
    return made


def weights(project: Project, name: str) -> dict:
    return load_file(project.folder / "models/digits" / name / "model.safetensors")


def test_every_training_is_made_with_every_seed(project):
    found = {path.name for path in (project.folder / "models/digits").iterdir()}
    names = ("plain", EDITABLE, "cnp", "dknn-10")
    assert found == {f"{name}{repetition}" for name in names for repetition in ("", "@1")}
    first, second = weights(project, "plain"), weights(project, "plain@1")
    assert first.keys() == second.keys()
    assert not first["stem.conv.weight"].equal(second["stem.conv.weight"])


def test_a_dknn_holds_the_network_of_its_own_seed(project):
    for repetition in ("", "@1"):
        network = weights(project, f"plain{repetition}")
        inside = weights(project, f"dknn-10{repetition}")
        shared = {name.rpartition("network.")[2]: value for name, value in inside.items() if ".network." in name}
        assert {"chain4.1.conv2.weight", "stem.conv.weight"} <= shared.keys()
        assert all(value.equal(network[name]) for name, value in shared.items())


def test_what_was_made_already_is_left_alone_and_one_change_makes_one_training(project, tmp_path):
    again = project.copy(tmp_path / "again")
    before = {path: path.stat().st_mtime_ns for path in (again.folder / "models").rglob("*.safetensors")}
    assert again.succeed("train", "digits").output.count("unchanged") == len(before) == 8
    assert {path: path.stat().st_mtime_ns for path in before} == before
    again.change(**{f"benchmarks__digits__trainings__{EDITABLE}__c_loc": 0.2})
    output = again.succeed("train", "digits").output
    assert output.count("unchanged") == 6
    assert output.count(f"train digits {EDITABLE}") == 2
    assert output.count("kept epoch 1 of 1") == 2


def test_a_new_start_changes_what_goes_on_from_it(project, tmp_path):
    again = project.copy(tmp_path / "again")
    again.change(benchmarks__digits__trainings__plain__epochs=1, training_seeds=[0])
    again.succeed("train", "digits", "plain")
    output = again.succeed("train", "digits").output
    assert output.count("unchanged") == 1
    assert "train digits cnp: kept epoch" in output
    assert "train digits dknn-10: tuning error" in output


def test_a_training_that_goes_on_starts_where_the_other_ended(project, tmp_path):
    again = project.copy(tmp_path / "again")
    again.change(**{f"benchmarks__digits__trainings__{EDITABLE}__lr": 1e-12}, training_seeds=[0])
    again.succeed("train", "digits", EDITABLE)
    start, end = weights(again, "plain"), weights(again, EDITABLE)
    for name, value in start.items():
        if "running" not in name and "num_batches" not in name:
            assert (value - end[name]).abs().max() < 1e-8, name


def test_what_a_step_costs_is_written_down(project):
    for name in (EDITABLE, "cnp"):
        cost = json.loads((project.folder / "models/digits" / name / "cost.json").read_text())
        assert 1 < cost["cost_ratio_low"] <= cost["cost_ratio"] <= cost["cost_ratio_high"] < 100
        assert cost["batches"] >= 2
    assert not (project.folder / "models/digits/plain/cost.json").exists()


def test_the_history_of_an_editable_training_holds_its_edits_and_its_editor(project):
    folder = project.folder / "models/digits" / EDITABLE
    history = pd.read_csv(folder / "history.csv")
    learned = json.loads((folder / "editor.json").read_text())["hyperparameters"]
    assert {"base_loss", "edit_loss", "locality_loss", "edit_success", "edit_steps"} <= set(history)
    assert {f"editor_{name}" for name in learned} <= set(history)
    assert history["edit_success"].between(0, 1).all()
    assert history["edit_steps"].between(0, 10).all()
    assert history["editor_lr"].iloc[-1] == pytest.approx(learned["lr"], rel=0.2)  # the mean over the last epoch
    assert history["editor_lr"].nunique() == len(history)


def test_what_became_of_each_training_stands_in_two_tables(project):
    results = project.folder / "results/digits"
    made, timed = (pd.read_csv(results / name) for name in ("trainings.csv", "timings-trainings.csv"))
    names = [(name, seed) for name in ("dknn-10", "cnp", EDITABLE, "plain") for seed in (0, 1)]
    for table in (made, timed):
        assert list(zip(table["training"], table["seed"], strict=True)) == names
    assert made["recipe"].tolist()[::2] == ["dknn", "cnp", "editable", "plain"]
    for row in made.to_dict("records"):
        folder = f"{row['training']}{'@1' if row['seed'] else ''}"
        described = json.loads((project.folder / "models/digits" / folder / "model.json").read_text())
        assert (row["kept"], row["epochs"]) == (described["epoch"], described["epochs"])
        assert row["tuning_error"] == pytest.approx(described["tuning_error"], rel=1e-5)
    measured = timed[timed["cost_ratio"].notna()]
    assert set(measured["training"]) == {EDITABLE, "cnp"}
    assert (measured["cost_ratio_low"] <= measured["cost_ratio"]).all()
    assert (measured["cost_ratio"] <= measured["cost_ratio_high"]).all()
    assert measured["batch_size"].tolist() == [256] * 4
    assert measured["threads"].tolist() == [1] * 4
    assert measured["machine"].str.contains("cores").all()
    assert timed["seconds"].notna().all()


def test_the_cost_of_a_step_judges_the_claim(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    cost = json.loads(Path("models/digits", EDITABLE, "cost.json").read_text())
    claim = pd.read_csv("results/digits/claims.csv").set_index("claim").loc["editable-training-costs-2.5-plain-steps"]
    assert claim["of"] == EDITABLE
    assert claim["measured_of"] == pytest.approx(cost["cost_ratio"], rel=1e-5)
    assert claim["caveats"] == f"{EDITABLE}: stands in for editable-0.01-rmsprop-chain3, which this run lacks"


def test_table_3_has_all_rows_of_the_paper_in_its_order(project, monkeypatch):
    table = pd.read_csv(project.folder / "results/digits/table3.csv")
    published = pd.read_csv(Path(__file__).parents[2] / "results/published/table3.csv")
    assert table["training"].head(11).tolist() == published["training"].tolist()
    assert table["editor"].head(11).tolist() == published["editor"].tolist()
    assert table["published_drawdown"].head(11).tolist() == published["drawdown"].tolist()
    assert table["editor"].tolist()[11:] == ["lookup_cache"]
    assert table["appendix"].tolist() == [False] * 11 + [True]
    measured = table[table["drawdown"].notna()]
    assert set(measured["training"] + "/" + measured["editor"]) == {
        *("plain/rmsprop", f"{EDITABLE}/rmsprop", "cnp/condition_vector", "dknn-10/flip_labels", "plain/lookup_cache")
    }
    assert (table[table["drawdown"].isna()]["note"] == "not part of this run").all()
    assert "**" not in next(line for line in markdown(project) if "lookup_cache" in line)


def test_a_row_says_in_a_footnote_what_its_training_did_otherwise(project):
    table = pd.read_csv(project.folder / "results/digits/table3.csv", keep_default_na=False)
    notes = table[table["drawdown"] != ""].set_index("training")["note"]
    said = "trained with c_edit 0.1, c_loc 0.2, clip_norm 10, edits 4, margin 1"
    assert notes["cnp"].endswith(said)
    assert notes[EDITABLE].endswith("trained with clip_norm 10")
    assert "trained with" not in "".join(notes[["plain", "dknn-10"]])
    assert any(said in line for line in markdown(project))


def markdown(project: Project) -> list[str]:
    return (project.folder / "results/digits/table3.md").read_text().splitlines()


def test_seeds_are_told_apart_from_edits(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    results = leaderboard.read(params.load(), "digits")
    table = pd.read_csv("results/digits/table3.csv").set_index(["training", "editor"])
    for result in results:
        (other,) = result.repetitions
        assert (result.cell.seed, other.cell.seed) == (0, 1)
        values = [
            (abs(one.records["wrong_after"] - one.records["wrong_before"]) / one.records["control_size"]).mean() * 100
            for one in (result, other)
        ]
        row = table.loc[(result.cell.training, result.cell.editor)]
        assert row["drawdown"] == pytest.approx(values[0], rel=1e-5)
        assert row["seeds"] == 2
        assert row["drawdown_seeds_mean"] == pytest.approx(sum(values) / 2, rel=1e-5)
        assert row["drawdown_seeds_std"] == pytest.approx(abs(values[0] - values[1]) / math.sqrt(2), rel=1e-4, abs=1e-6)


def test_the_learned_hyperparameters_are_evaluated_beside_the_tuned_ones(project):
    folder = project.folder / "results/digits/edits/rmsprop"
    assert {path.name for path in folder.glob("*.learned.csv")} == {
        f"{EDITABLE}-chain3.learned.csv",
        f"{EDITABLE}@1-chain3.learned.csv",
    }
    described = json.loads((folder / f"{EDITABLE}-chain3.json").read_text())
    learned = json.loads((project.folder / "models/digits" / EDITABLE / "editor.json").read_text())
    assert described["learned"] == learned["hyperparameters"] != described["hyperparameters"]
    records = pd.read_csv(folder / f"{EDITABLE}-chain3.learned.csv")
    table = pd.read_csv(project.folder / "results/digits/table3.csv").set_index("training")
    assert table.loc[EDITABLE, "success_rate_learned"] == pytest.approx(100 * records["succeeded"].mean(), rel=1e-5)


def test_trainings_made_of_each_other_are_refused(project, tmp_path):
    again = project.copy(tmp_path / "again")
    again.change(benchmarks__digits__trainings__plain__start="cnp")
    ended = again.run("train", "digits")
    assert ended.code == 2
    assert "made of each other" in ended.errors
    again.change(benchmarks__digits__trainings__plain__start="nobody")
    ended = again.run("train", "digits")
    assert (ended.code, "cannot be made of 'nobody'" in ended.errors) == (2, True)


def test_a_training_that_is_made_of_one_that_is_not_listed_is_refused(project, tmp_path):
    again = project.copy(tmp_path / "again")
    again.change(trainings=["cnp"])
    ended = again.run("train", "digits")
    assert ended.code == 2
    assert "trainings: 'cnp' is made of 'plain', which must be listed as well" in ended.errors


def test_naming_a_training_makes_what_it_is_made_of_as_well(project, tmp_path):
    again = project.copy(tmp_path / "again")
    again.change(benchmarks__digits__trainings__plain__epochs=1, training_seeds=[0])
    output = again.succeed("train", "digits", "dknn-10").output
    assert "train digits plain: kept epoch 1 of 1" in output
    assert "train digits dknn-10: tuning error" in output
    assert "train digits cnp" not in output


def test_models_that_are_no_longer_trained_are_named_and_kept(project, tmp_path):
    again = project.copy(tmp_path / "again")
    assert "no longer trains" not in again.succeed("train", "digits").output
    again.change(trainings=["plain"], training_seeds=[0])
    before = again.files("models")
    left = f"cnp, cnp@1, dknn-10, dknn-10@1, {EDITABLE}, {EDITABLE}@1, plain@1"
    first, *others = again.succeed("train", "digits").output.splitlines()
    said = "which params.yaml no longer trains; delete what you do not need"
    assert first == f"models/digits holds {left}, {said}"
    assert not any(said in line for line in others)
    assert again.files("models") == before
    first, *_ = again.succeed("train", "digits", "cnp").output.splitlines()
    assert first == f"models/digits holds {left.removeprefix('cnp, ')}, {said}"


def test_nothing_of_another_recipe_stays_beside_a_model(project, tmp_path):
    again = project.copy(tmp_path / "again")
    folder = again.folder / "models/digits" / EDITABLE
    assert {"editor.json", "cost.json", "history.csv"} <= {path.name for path in folder.iterdir()}
    plain = {"recipe": "plain", "epochs": 1, "batch_size": 256, "lr": 1e-3, "schedule": "cosine"}
    again.change(**{f"benchmarks__digits__trainings__{EDITABLE}": plain}, training_seeds=[0])
    again.succeed("train", "digits", EDITABLE)
    names = {"model.safetensors", "model.json", "history.csv", "timing.json"}
    assert {path.name for path in folder.iterdir()} == names
    dknn = {"recipe": "dknn", "network": "plain", "k": 3}
    again.change(**{f"benchmarks__digits__trainings__{EDITABLE}": dknn})
    again.succeed("train", "digits", EDITABLE)
    assert {path.name for path in folder.iterdir()} == names - {"history.csv"}


def test_a_run_without_the_rows_of_a_table_has_no_such_table(project, tmp_path):
    again = project.copy(tmp_path / "again")
    results = again.folder / "results/digits"
    results.mkdir(exist_ok=True)
    (results / "table1.md").write_text("of an earlier run\n")
    again.change(leaderboard=["flip_labels"])
    again.succeed("report", "digits")
    assert sorted(path.name for path in results.glob("table*")) == ["table3.csv", "table3.md"]
    assert len(pd.read_csv(again.folder / "results/digits/table3.csv")["drawdown"].dropna()) == 1
    again.change(leaderboard=["flip_labels"], trainings=["plain"])
    ended = again.run("report", "digits")
    assert (ended.code, "nothing to report on digits" in ended.errors) == (2, True)


def test_a_processor_without_bfloat16_is_warned_of_and_such_a_gpu_refused(monkeypatch, capsys):
    task = Task("digits", "plain")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": True})
    train._check_precision(task, torch.device("cpu"))
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False})
    train._check_precision(task, torch.device("cpu"))
    assert capsys.readouterr().out == (
        "train digits plain: this processor emulates bfloat16, so mixed_precision makes it slower\n"
    )
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    with pytest.raises(InputError, match="digits plain: mixed_precision needs a GPU with bfloat16"):
        train._check_precision(task, torch.device("cuda"))
