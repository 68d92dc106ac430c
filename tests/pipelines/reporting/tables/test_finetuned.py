"""Tables 4 and 5, and mistakes in a row, on a small digits_finetune: every number again from the records."""

from __future__ import annotations

import csv
import json
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from baselines.model_files import load_model
from benchmarks.data import dataset
from benchmarks.data.candidates import load_candidates
from benchmarks.seeds import generator
from pipelines.config import params
from tests.pipelines.conftest import PARAMS, ROOT, Project, write_project

NAME = "digits_finetune"
EXTRA = ("distilled", "editable-rmsprop-extra", "editable-rmsprop-extra-match_ranks", "editable-rmsprop-extra-mistakes")
ROWS = {"pretrained": "chain3", "extended": "extra", **dict.fromkeys(EXTRA, "extra")}
LEFT_OUT = "editable-rmsprop-chain3"
"""A row of the paper's that this run does not have; its training would take longest."""


def small() -> dict:
    """The committed benchmark, with every name it has, made small enough for tests."""
    block = params.read_extended(ROOT / f"benchmarks/configs/{NAME}.yaml")
    block["data"]["options"] = {"tuning_size": 60, "test_size": 60, "pool_size": 60}
    block["model"]["options"] = {"width": 2}
    for training in block["trainings"].values():
        training |= {"epochs": 1, "batch_size": 400} if "epochs" in training else {}
        training |= {"options": {"extra_width": 8}} if "options" in training else {}
    block["trainings"]["pretrained"]["epochs"] = 3
    del block["trainings"][LEFT_OUT], block["analysis"], block["sequences"], block["similar"]
    block["tuning"] = {"edits": 12, "control_size": 20, "min_success": 60.0}
    block["evaluation"] |= {"edits": 12, "shard": 4}
    block["mistakes"]["edits"] = 10
    block["editors"] = {"rmsprop": {"trials": 1, "max_steps": 5, "layers": block["editors"]["rmsprop"]["layers"]}}
    return block


@pytest.fixture(scope="module")
def finetuned(stage_server: subprocess.Popen[str], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after all stages; not to be written to."""
    project = Project(tmp_path_factory.mktemp("finetuned"), stage_server)
    write_project(project.folder, PARAMS | {"run": [NAME]}, **{NAME: small()})
    for stage in ("prepare", "train", "tune", "evaluate", "report"):
        project.succeed(stage, NAME)
    return project


def records(project: Project, training: str, kind: str = "") -> list[dict[str, str]]:
    path = project.folder / f"results/{NAME}/edits/rmsprop/{training}-{ROWS[training]}{kind}.csv"
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def drawdown(rows: list[dict[str, str]]) -> float:
    changes = [abs(int(row["wrong_after"]) - int(row["wrong_before"])) / int(row["control_size"]) for row in rows]
    return 100 * sum(changes) / len(changes)


def test_table_4_has_the_papers_rows_in_its_order_and_then_ours(finetuned: Project) -> None:
    table = pd.read_csv(finetuned.folder / f"results/{NAME}/table4.csv")
    names = list(ROWS)
    assert table["training"].tolist() == [*names[:3], LEFT_OUT, *names[3:]]
    assert table["layers"].tolist() == ["chain3", "extra", "extra", "chain3", "extra", "extra", "extra"]
    for row in table.to_dict("records"):
        if row["training"] == LEFT_OUT:
            assert np.isnan(row["drawdown"])
            assert row["note"] == "not part of this run"
        else:
            assert row["drawdown"] == pytest.approx(drawdown(records(finetuned, row["training"])), abs=1e-4)


def test_table_5_has_every_row_on_the_same_mistakes(finetuned: Project) -> None:
    table = pd.read_csv(finetuned.folder / f"results/{NAME}/table5.csv").set_index("training")
    assert table.index.tolist() == ["extended", *EXTRA, "pretrained"]
    asked = {tuple((row["image"], row["target"]) for row in records(finetuned, name, ".mistakes")) for name in ROWS}
    assert len(asked) == 1
    for name, row in table.iterrows():
        rows = records(finetuned, name, ".mistakes")
        assert len(rows) == row["edits"] == 10
        assert row["drawdown"] == pytest.approx(drawdown(rows), abs=1e-4)
        right = [one["rank"] == "0" for one in rows]
        assert right == [one["trivial"] == "True" for one in rows]
        assert row["already_right"] == pytest.approx(100 * sum(right) / 10)
        assert all(one["label"] == one["target"] for one in rows)
    assert table.loc["pretrained", "already_right"] == table.loc["extended", "already_right"] == 0
    published = table["published_drawdown"].dropna()
    assert published.to_dict() == {"editable-rmsprop-extra-match_ranks": 0.14556}


def test_no_table_of_another_benchmark_is_written(finetuned: Project) -> None:
    folder = finetuned.folder / f"results/{NAME}"
    assert {path.name for path in folder.glob("table*.md")} == {"table4.md", "table5.md"}
    assert (folder / "claims.csv").exists()
    claimed = set(pd.read_csv(folder / "claims.csv")["claim"])
    assert "extra-layer-beats-chain3" in claimed
    assert "rmsprop-and-rprop-beat-gd" not in claimed
    page = (folder / "README.md").read_text()
    assert "Table 4: fine-tuning a trained network" in page
    assert "Table 1" not in page


def test_evaluated_mistakes_are_those_of_the_pretrained_model_and_never_trained_on(
    finetuned: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finetuned.folder)
    data = dataset.load(f"data/{NAME}")
    candidates = load_candidates(finetuned.folder / f"data/{NAME}")
    network, _ = load_model(f"models/{NAME}/pretrained")
    with torch.no_grad():
        logits = network(data.inputs(candidates.images.images)).double().numpy()
    labels = candidates.images.labels.numpy()
    ranks = (logits > logits[np.arange(len(labels)), labels][:, None]).sum(axis=1)
    evaluated = np.bincount([int(row["rank"]) for row in records(finetuned, "pretrained", ".mistakes")], minlength=10)
    drawn = pd.read_csv(f"results/{NAME}/models/editable-rmsprop-extra-match_ranks/ranks.csv")
    counts = drawn["mistakes"].to_numpy()
    wrong = np.bincount(ranks[ranks > 0], minlength=10)
    assert evaluated.sum() == 10
    assert evaluated[0] == 0
    assert (counts + evaluated <= wrong).all()
    smooth = np.convolve(counts, [0.1, 0.2, 0.4, 0.2, 0.1], mode="same") * (np.arange(10) > 0)
    np.testing.assert_allclose(drawn["probability"], smooth / smooth.sum(), atol=1e-5)
    shown = pd.read_csv(f"results/{NAME}/ranks.csv")
    np.testing.assert_allclose(shown[["training", "drawn", "evaluation", "random"]].sum(), 1.0, atol=1e-4)
    np.testing.assert_allclose(shown["evaluation"], evaluated / 10, atol=1e-6)


def test_the_three_ways_to_draw_edits_give_three_models(finetuned: Project) -> None:
    found = [load_file(finetuned.folder / f"models/{NAME}/{name}/model.safetensors") for name in EXTRA[1:]]
    for number, one in enumerate(found):
        for other in found[number + 1 :]:
            assert not torch.equal(one["extra.reduce.weight"], other["extra.reduce.weight"])


def test_what_is_done_is_left_alone_and_an_interrupted_evaluation_of_mistakes_goes_on(
    finetuned: Project, tmp_path
) -> None:
    again = finetuned.copy(tmp_path / "again")
    assert again.succeed("train", NAME).output.count("unchanged") == len(ROWS)
    folder = again.folder / f"results/{NAME}/edits/rmsprop"
    whole = again.files(f"results/{NAME}/edits")
    (folder / "distilled-extra.mistakes.json").unlink()
    (folder / "distilled-extra.mistakes.csv").unlink()
    shards = again.folder / f"unfinished/{NAME}/shards/rmsprop"
    running = again.start("evaluate", NAME)
    running.stop(lambda: len(list(shards.rglob("*.csv"))) >= 1)
    ended = again.succeed("evaluate", NAME)
    assert "5 of 6 unchanged" in ended.output
    assert again.files(f"results/{NAME}/edits") == whole


def test_mistakes_are_the_same_whichever_edits_are_drawn_so_they_are_evaluated_once(
    finetuned: Project, tmp_path
) -> None:
    again = finetuned.copy(tmp_path / "again")
    again.choose(edit_seeds=[0, 1])
    again.succeed("evaluate", NAME)
    names = {path.name for path in (again.folder / f"results/{NAME}/edits/rmsprop").glob("*.mistakes.json")}
    assert names
    assert not any("@" in name for name in names)
    again.succeed("report", NAME)
    assert "drawdown_edit_seeds_std" not in pd.read_csv(again.folder / f"results/{NAME}/table5.csv")
    assert "drawdown_edit_seeds_std" in pd.read_csv(again.folder / f"results/{NAME}/leaderboard.csv")


def test_other_mistakes_are_trained_on_and_evaluated_anew(finetuned: Project, tmp_path) -> None:
    again = finetuned.copy(tmp_path / "again")
    again.change(NAME, mistakes__edits=9)
    output = again.succeed("train", NAME, "distilled", "editable-rmsprop-extra").output
    assert output.count("unchanged") == 3  # those and the pre-trained one, which do not look at mistakes
    output = again.succeed("train", NAME, "editable-rmsprop-extra-mistakes").output
    assert "editable-rmsprop-extra-mistakes: kept epoch" in output
    (again.folder / f"data/{NAME}/candidates.safetensors").unlink()
    ended = again.run("evaluate", NAME)
    assert ended.code == 2
    assert "candidates.safetensors is missing" in ended.errors


def test_more_mistakes_than_there_are_is_one_sentence(finetuned: Project, tmp_path) -> None:
    again = finetuned.copy(tmp_path / "again")
    again.change(NAME, mistakes__edits=60)
    ended = again.run("train", NAME, "editable-rmsprop-extra-mistakes")
    assert ended.code == 2
    assert "mistakes.edits: the number of mistakes to evaluate on must be" in ended.errors


def test_records_of_mistakes_say_what_they_are_of(finetuned: Project) -> None:
    described = json.loads(
        (finetuned.folder / f"results/{NAME}/edits/rmsprop/distilled-extra.mistakes.json").read_text()
    )
    beside = json.loads((finetuned.folder / f"results/{NAME}/edits/rmsprop/distilled-extra.json").read_text())
    assert described["hyperparameters"] == beside["hyperparameters"]
    assert described["wrong_before_editing"] == beside["wrong_before_editing"]
    assert described["fingerprint"] != beside["fingerprint"]
    assert (described["edits"], beside["edits"]) == (10, 12)


def test_mistakes_in_a_row_are_edited_to_their_true_labels_and_similar_images_looked_at(
    finetuned: Project, tmp_path
) -> None:
    project, cells = finetuned.copy(tmp_path / "project"), [["pretrained", "rmsprop", "chain3"]]
    rows = {"edits": 8, "orders": 2, "source": "mistakes", "control_size": 40, "cells": cells}
    project.change(NAME, sequences=rows, similar={"augmentations": 3, "embedding": "pooled", "cells": cells})
    results = project.folder / f"results/{NAME}"
    project.succeed("sequences", NAME)
    single = pd.read_csv(results / "edits/rmsprop/pretrained-chain3.mistakes.csv").set_index("edit")
    rows = pd.read_csv(results / "sequences/rmsprop-pretrained-chain3.csv")
    assert len(rows) == 16
    assert (rows["control_size"] == 40).all()
    drawn = torch.randperm(10, generator=generator(0, NAME, "mistakes", "control"))[:8].sort().values.tolist()
    for _, first in rows[rows["edit"] == 1].iterrows():
        for column in ("target", "predicted", "succeeded", "steps"):
            assert first[column] == single.loc[drawn[first["image"]], column]
    similar = pd.read_csv(results / "sequences/similar/rmsprop-pretrained-chain3.csv")
    neighbours = json.loads((results / "sequences/similar/neighbours.json").read_text())
    assert len(similar) == 10 * 3
    assert similar["target"].tolist() == single["label"].repeat(3).tolist()
    assert similar["neighbour"].tolist() == np.repeat(neighbours["positions"], 3).tolist()
    row = pd.read_csv(results / "similar.csv").iloc[0]
    assert row["embedding"] == neighbours["embedding"] == "pooled"
    expected = 100 * similar["similar_after"].sum() / similar["views"].sum()
    assert row["similar_accuracy_low"] <= row["similar_accuracy"] <= row["similar_accuracy_high"]
    np.testing.assert_allclose(row["similar_accuracy"], expected, rtol=1e-4)
    before = project.files(f"results/{NAME}")
    assert "1 of 1 unchanged" in project.succeed("sequences", NAME).output
    assert project.files(f"results/{NAME}") == before
    wanted = {f"rmsprop-pretrained-chain3.{kind}" for kind in ("csv", "json")} | {"neighbours.json"}
    assert {path.name for path in (results / "sequences/similar").iterdir()} == wanted
    project.change(NAME, similar=None)
    project.succeed("sequences", NAME)
    assert not (results / "similar.csv").exists()
    assert not (results / "sequences/similar").exists()
