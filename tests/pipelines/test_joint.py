"""The stage of many edits together: records of every draw, tables that follow from them, and what is left alone."""

import json

import pandas as pd

from benchmarks.scoring.joint import by_count
from tests.pipelines.conftest import Project

CELL = ["plain", "rmsprop", "chain4"]
ASKED = {"counts": [1, 3, 59], "draws": 2, "sources": ["random"], "in_a_row": [3], "max_steps": 4, "cells": [CELL]}


def read(project: Project, path: str) -> pd.DataFrame:
    return pd.read_csv(project.folder / "results/digits" / path)


def test_every_draw_has_a_record_and_what_is_not_asked_for_goes(tuned):
    tuned.change(joint=ASKED)
    assert "of 59 edits together" in tuned.succeed("joint", "digits").output
    records = read(tuned, "joint/rmsprop-plain-chain4.csv")
    assert records.groupby(["count", "manner"])["draw"].apply(list).to_dict() == {
        key: [0, 1] for key in ((1, "jointly"), (3, "jointly"), (3, "in_a_row"), (59, "jointly"))
    }
    assert (records["control_size"] == 60 - records["count"]).all()
    table = read(tuned, "joint.csv")
    assert list(table)[:7] == ["training", "editor", "layers", "source", "count", "manner", "draws"]
    pd.testing.assert_frame_equal(table[list(by_count(records))], by_count(records), rtol=1e-4)
    assert len(read(tuned, "timings-joint.csv")) == len(table) == 4
    described = json.loads((tuned.folder / "results/digits/joint/rmsprop-plain-chain4.json").read_text())
    assert (described["draws"], described["max_steps"], described["test_images"]) == (2, 4, 60)
    before = tuned.files("results/digits")
    assert "joint digits: 1 of 1 unchanged" in tuned.succeed("joint", "digits").output
    assert tuned.files("results/digits") == before
    assert not tuned.files("unfinished")
    (tuned.folder / "results/digits/joint/rmsprop-plain-chain4.timing.csv").unlink()
    assert "unchanged" not in tuned.succeed("joint", "digits").output
    assert tuned.files("results/digits/joint").keys() == {name for name in before if "/joint/" in name}
    tuned.change(joint=ASKED | {"counts": [61, 70], "in_a_row": []})
    ended = tuned.run("joint", "digits")
    assert ended.code == 2
    assert "joint.counts, [61, 70], are all above the edits there are: 59 random" in ended.errors
    tuned.change(joint=ASKED | {"counts": [1, 3, 3]})
    assert "joint: counts: 3 is listed twice" in tuned.run("joint", "digits").errors
    tuned.change(joint=None)
    assert "nothing to do, its configuration has no block `joint`" in tuned.succeed("joint", "digits").output
    assert not (tuned.folder / "results/digits/joint.csv").exists()
    assert not tuned.files("results/digits/joint")
