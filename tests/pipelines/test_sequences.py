"""The stage of edits in a row: records, tables, resuming, and what it says about mistakes."""

import json
import signal

import numpy as np
import pandas as pd

from benchmarks.scoring.sequential import turn
from tests.pipelines.conftest import Project

CELLS = {"rmsprop-plain-chain4": ["plain", "rmsprop", "chain4"], "gd-plain-all": ["plain", "gd", "all"]}


def read(project: Project, path: str) -> pd.DataFrame:
    return pd.read_csv(project.folder / "results/digits" / path)


def test_every_order_edits_the_same_images_and_the_table_follows_from_the_records(sequenced_once):
    summary = read(sequenced_once, "sequences.csv")
    assert summary[["training", "editor", "layers"]].drop_duplicates().to_numpy().tolist() == list(CELLS.values())
    records = {name: read(sequenced_once, f"sequences/{name}.csv") for name in CELLS}
    for name, frame in records.items():
        assert len(frame) == 18
        for order, rows in frame.groupby("order"):
            assert rows["image"].tolist() == turn(6, order, 0, "digits", "test")
            assert rows["edit"].tolist() == [1, 2, 3, 4, 5, 6]
            assert rows["wrong_after"].tolist()[:-1] == rows["wrong_before"].tolist()[1:]
        assert (frame["control_size"] == 54).all()  # of 60 test images, those that are not edited
        assert frame["wrong_before"][frame["edit"] == 1].nunique() == 1
        rows = summary[(summary["editor"] == name.split("-")[0])]
        last = frame[frame["edit"] == 6]
        assert rows["edits"].tolist() == list(range(7))
        np.testing.assert_allclose(rows["error"].iloc[-1], 100 * (last["wrong_after"] / 54).mean(), rtol=1e-4)
        np.testing.assert_allclose(rows["in_force"].iloc[-1], 100 * frame["in_force_at_end"].mean(), rtol=1e-4)
        np.testing.assert_allclose(rows["success_rate"].iloc[-1], 100 * frame["succeeded"].mean(), rtol=1e-4)
    described = json.loads((sequenced_once.folder / "results/digits/sequences/gd-plain-all.json").read_text())
    tuned = json.loads((sequenced_once.folder / "results/digits/tuned/gd/plain-all.json").read_text())
    assert described["hyperparameters"] == tuned["hyperparameters"]
    assert (described["source"], described["split"], described["edits"]) == ("random", "test", 6)


def test_the_first_edit_of_a_row_is_the_evaluated_single_edit(sequenced_once):
    """Stage `evaluate` makes the same requests, each from the original weights."""
    single = pd.read_csv(sequenced_once.folder / "results/digits/edits/rmsprop/plain-chain4.csv").set_index("edit")
    rows = read(sequenced_once, "sequences/rmsprop-plain-chain4.csv")
    for _, first in rows[rows["edit"] == 1].iterrows():
        expected = single.loc[first["image"]]
        for column in ("target", "predicted", "succeeded", "steps"):
            assert first[column] == expected[column]


def test_rows_killed_between_orders_end_with_the_same_bytes(sequenced_once, tuned):
    tuned.change(sequences__orders=6)
    unbroken = tuned.copy(tuned.folder.with_name("unbroken"))
    unbroken.succeed("sequences", "digits", "--params", "params.yaml")
    shards = tuned.folder / "unfinished/digits/sequences"
    ended = tuned.start("sequences", "digits").stop(lambda: len(list(shards.rglob("[0-9]*.csv"))) >= 3)
    assert ended.code == -signal.SIGKILL
    assert not (tuned.folder / "results/digits/sequences.csv").exists()
    tuned.choose(processes=2)
    tuned.succeed("sequences", "digits")
    files = tuned.files("results/digits/sequences")
    assert len(files) == 4
    assert files == unbroken.files("results/digits/sequences")
    tables = [(project.folder / "results/digits/sequences.csv").read_bytes() for project in (tuned, unbroken)]
    assert tables[0] == tables[1]
    assert not tuned.files("unfinished")
    rows, fewer = (read(project, "sequences/gd-plain-all.csv") for project in (tuned, sequenced_once))
    assert rows[rows["order"] < 3].equals(fewer)  # more orders, the first the same


def test_what_is_done_is_left_alone_and_what_is_not_asked_for_goes(sequenced_once, tmp_path):
    project = sequenced_once.copy(tmp_path / "project")
    before = project.files("results/digits")
    assert "sequences digits: 2 of 2 unchanged" in project.succeed("sequences", "digits").output
    assert project.files("results/digits") == before
    project.change(sequences__cells=[CELLS["gd-plain-all"], ["plain", "rmsprop", "chain1"]])
    ended = project.succeed("sequences", "digits")
    assert "sequences digits plain/rmsprop/chain1: left out" in ended.output
    assert "1 of 1 unchanged" in ended.output
    left = {path.name for path in (project.folder / "results/digits/sequences").iterdir()}
    assert left == {"gd-plain-all.json", "gd-plain-all.csv"}
    assert set(read(project, "sequences.csv")["editor"]) == {"gd"}
    project.change(sequences=None)
    ended = project.succeed("sequences", "digits")
    assert "nothing to do, its configuration has no block `sequences`" in ended.output
    assert not (project.folder / "results/digits/sequences.csv").exists()
    assert not project.files("results/digits/sequences")


def test_a_study_may_edit_the_tuning_split_and_look_at_a_part_of_it(sequenced_once, tmp_path):
    project = sequenced_once.copy(tmp_path / "project")
    asked = {"edits": 5, "orders": 2, "split": "tuning", "control_size": 30, "cells": [CELLS["gd-plain-all"]]}
    project.change(sequences=asked)
    project.succeed("sequences", "digits")
    rows = read(project, "sequences/gd-plain-all.csv")
    assert len(rows) == 10
    assert (rows["control_size"] == 30).all()
    described = json.loads((project.folder / "results/digits/sequences/gd-plain-all.json").read_text())
    assert described["split"] == "tuning"
    assert read(project, "sequences.csv")["edits"].tolist() == [0, 1, 2, 3, 4, 5]


def test_more_edits_than_leave_an_image_to_look_at_are_refused(sequenced_once, tmp_path):
    project = sequenced_once.copy(tmp_path / "project")
    project.change(sequences__edits=60)
    ended = project.run("sequences", "digits")
    assert ended.code == 2, ended.output
    assert ended.errors == "error: digits: sequences: 60 edits leave none of 60 test images to look at\n"
    assert not project.files("unfinished")
