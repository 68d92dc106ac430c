"""`compile: true`: the same stages with compiled steps, and only what is edited made again."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import yaml

from pipelines.config import params
from tests.compiling import compiles
from tests.pipelines.conftest import Project, tiny_parameters

pytestmark = compiles
EDITABLE = "editable-0.1-rmsprop-chain3"


@pytest.fixture(scope="module")
def project(stage_server, tmp_path_factory) -> Project:
    """A plain and an editable training, edited on chain 4 without compiling."""
    made = Project(tmp_path_factory.mktemp("compile"), stage_server)
    content = tiny_parameters() | {"leaderboard": ["rmsprop"], "trainings": ["plain", EDITABLE]}
    content["benchmarks"]["digits"]["trainings"][EDITABLE] |= {"epochs": 1, "batch_size": 256, "layers": "head"}
    content["editors"]["rmsprop"] |= {"trials": 1, "subsets": {"plain": ["chain4"]}}
    (made.folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    made.succeed("prepare", "digits")
    for stage in ("train", "tune", "evaluate"):
        made.succeed(stage, "digits")
    return made


def test_edits_and_editable_trainings_are_made_again_and_plain_ones_are_not(project, tmp_path):
    def description(of: Project, name: str) -> dict:
        return json.loads((of.folder / "models/digits" / name / "model.json").read_text())

    again = project.copy(tmp_path / "again")
    again.change(compile=True)
    trained = again.succeed("train", "digits").output
    assert "train digits plain: unchanged" in trained
    assert f"train digits {EDITABLE}: kept epoch 1 of 1" in trained
    assert description(again, EDITABLE)["fingerprint"] != description(project, EDITABLE)["fingerprint"]
    record = "results/digits/edits/rmsprop/plain-chain4"
    before = (again.folder / f"{record}.json").read_bytes()
    for stage in ("tune", "evaluate"):
        assert "unchanged" not in again.succeed(stage, "digits").output
    assert (again.folder / f"{record}.json").read_bytes() != before
    found, expected = (pd.read_csv(one.folder / f"{record}.csv") for one in (again, project))
    assert found["steps"].sum() > 0
    pd.testing.assert_frame_equal(found, expected, rtol=1e-3)


def test_only_editors_that_follow_a_gradient_are_compiled(tmp_path):
    content = yaml.safe_load((params.Path(params.__file__).parents[2] / "params.yaml").read_text())
    path = tmp_path / "params.yaml"
    for flag in (False, True):
        path.write_text(yaml.safe_dump(content | {"compile": flag}))
        chosen = params.load(path)
        found = {name: chosen.compiles(name) for name in ("rmsprop", "covariance", "rank_one", "lookup_cache")}
        assert found == {"rmsprop": flag, "covariance": flag, "rank_one": False, "lookup_cache": False}
        assert chosen.build("covariance").compiled is flag
        assert not hasattr(chosen.build("rank_one"), "compiled")
