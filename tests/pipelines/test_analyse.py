"""The stage behind Figure 2: its tables, what it goes on from, and what it says about mistakes."""

import json
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.analyse import FACTORS
from tests.pipelines.conftest import Project

TABLES = ("confusion", "tsne", "variance", "summary")
CHAIN4 = ["plain", "rmsprop", "chain4"]


def table(project, name: str) -> pd.DataFrame:
    return pd.read_csv(project.folder / f"results/digits/figure2/{name}.csv")


@pytest.fixture
def analysed(analysed_once: Project, tmp_path: Path) -> Project:
    """A project of the test's own after ``analyse``."""
    return analysed_once.copy(tmp_path / "project")


def test_tables_agree_with_the_records_of_the_same_edits(analysed):
    records = pd.read_csv(analysed.folder / "results/digits/edits/rmsprop/plain-chain4.csv")
    moved = records[records["steps"] > 0]
    confusion, tsne, variance, summary = (table(analysed, name) for name in TABLES)
    for frame in (confusion, tsne, variance, summary):
        assert frame[["training", "editor", "layers"]].drop_duplicates().to_numpy().tolist() == [CHAIN4]
    assert tsne["edit"].tolist() == moved["edit"].tolist()
    for column, expected in (("edited_class", "label"), ("predicted", "predicted"), ("target", "target")):
        assert tsne[column].tolist() == moved[expected].tolist()
    assert np.isfinite(tsne[["x", "y"]]).all(axis=None)
    edited = confusion.groupby("edited_class")["edits"].first()
    assert edited.to_dict() == {label: (records["label"] == label).sum() for label in range(10)}
    assert confusion["class"].tolist() == list(range(10)) * 10
    assert confusion["drawdown_signed"].isna().tolist() == (confusion["edits"] == 0).tolist()
    assert variance["components"].tolist() == list(range(1, len(moved) + 1))
    assert variance["explained"].is_monotonic_increasing
    assert variance["explained"].iloc[-1] == pytest.approx(100)
    row = summary.iloc[0]
    assert (row["edits"], row["descriptors"]) == (len(records), len(moved))
    for percent in (50, 80, 90, 95):
        reached = variance.loc[variance["explained"] >= percent, "components"].min()
        assert row[f"components_{percent}"] == reached
        assert row[f"components_{percent}_low"] <= reached <= row[f"components_{percent}_high"]


def test_an_analysis_killed_between_shards_ends_with_the_same_bytes(tuned):
    tuned.change(analysis={"edits": 30, "shard": 3, "cells": [CHAIN4]})
    unbroken = tuned.copy(tuned.folder.with_name("unbroken"))
    unbroken.succeed("analyse", "digits")
    shards = tuned.folder / "unfinished/digits/descriptors"
    ended = tuned.start("analyse", "digits").stop(lambda: len(list(shards.rglob("[0-9]*.safetensors"))) >= 3)
    assert ended.code == -signal.SIGKILL
    assert 3 <= len(list(shards.rglob("[0-9]*.safetensors"))) < 10
    assert not tuned.files("results/digits/figure2")
    tuned.succeed("analyse", "digits")
    for below, count in (("results/digits/figure2", 4), ("descriptors", 1 + len(FACTORS))):
        assert len(tuned.files(below)) == count
        assert tuned.files(below) == unbroken.files(below)
    assert not tuned.files("unfinished")


def test_edits_that_lie_there_are_not_made_again_unless_a_setting_changed(analysed):
    (path,) = (analysed.folder / "descriptors/digits").glob("*.safetensors")
    assert path.name == "plain-rmsprop-chain4.safetensors"
    written, results = path.stat().st_mtime_ns, analysed.files("results/digits/figure2")
    curves = {path: path.stat().st_mtime_ns for path in (analysed.folder / "descriptors").rglob("*.json")}
    assert len(curves) == len(FACTORS)
    analysed.succeed("analyse", "digits")
    assert path.stat().st_mtime_ns == written
    assert {path: path.stat().st_mtime_ns for path in curves} == curves
    assert analysed.files("results/digits/figure2") == results
    analysed.choose(seed=1)
    analysed.succeed("analyse", "digits")
    assert path.stat().st_mtime_ns > written
    assert analysed.files("results/digits/figure2") != results


def test_cells_that_are_not_tuned_at_present_are_left_out(analysed):
    both = [CHAIN4, ["plain", "gd", "chain3"], ["plain", "rmsprop", "chain1"]]
    analysed.change(analysis__cells=both)
    before = analysed.files("results/digits/figure2")
    said = analysed.succeed("analyse", "digits").output
    assert "analyse digits plain/gd/chain3: left out, as its editor's `layers` do not name it" in said
    assert analysed.files("results/digits/figure2") == before
    analysed.change(analysis__cells=both[1:])
    assert "none of the cells" in analysed.succeed("analyse", "digits").output
    assert not analysed.files("descriptors")
    assert all(table(analysed, name).empty for name in TABLES)


def test_trade_off_curves_are_the_evaluated_edits_with_other_learning_rates(analysed):
    curves = pd.read_csv(analysed.folder / "results/digits/curves.csv")
    assert curves["factor"].tolist() == list(FACTORS)
    chosen = json.loads((analysed.folder / "results/digits/edits/rmsprop/plain-chain4.json").read_text())
    assert curves["lr"].to_numpy() == pytest.approx(chosen["hyperparameters"]["lr"] * np.array(FACTORS), rel=1e-5)
    records = pd.read_csv(analysed.folder / "results/digits/edits/rmsprop/plain-chain4.csv")
    (tuned,) = curves[curves["factor"] == 1].to_dict("records")
    change = (records["wrong_after"] - records["wrong_before"]).abs() / records["control_size"]
    assert tuned["drawdown"] == pytest.approx(100 * change.mean(), rel=1e-4)
    assert tuned["generality"] == pytest.approx(20 * records["views_after"].mean(), rel=1e-4)
    assert tuned["success_rate"] == pytest.approx(100 * records["succeeded"].mean(), rel=1e-4)
    assert curves["success_rate"].iloc[0] <= curves["success_rate"].iloc[-1]
    assert [int(one) for one in curves["edits_succeeded"][3].split()] == records["succeeded"].tolist()
    assert np.array(curves["edits_drawdown"][3].split(), dtype=float) == pytest.approx(100 * change, rel=1e-4)


def test_a_curve_alone_is_made_of_further_cells(analysed):
    analysed.change(analysis__curves=[["plain", "gd", "chain4"]])
    before = analysed.files("results/digits/figure2")
    analysed.succeed("analyse", "digits")
    curves = pd.read_csv(analysed.folder / "results/digits/curves.csv")
    assert curves["editor"].unique().tolist() == ["rmsprop", "gd"]
    assert curves.groupby("editor", sort=False).size().tolist() == [len(FACTORS), len(FACTORS)]
    assert analysed.files("results/digits/figure2") == before
