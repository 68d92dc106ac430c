"""`compile: true`: the same stages with compiled steps, and only what is edited made again."""

import json

import pandas as pd
import pytest

from pipelines.tasks import load_settings
from tests.optional import compiles
from tests.pipelines.conftest import DIGITS, PARAMS, TABLE_3_TRAINING, Project, write_project

pytestmark = compiles
EDITABLE = {"recipe": "editable", "editor": "rmsprop", "layers": "head", "c_edit": 0.1, "c_loc": 0.1}
BENCHMARK = DIGITS | {
    "trainings": DIGITS["trainings"] | {"editable": EDITABLE | TABLE_3_TRAINING},
    "editors": {"rmsprop": {"trials": 1, "layers": {"plain": ["chain4"], "editable": []}}},
    "analysis": {},
    "sequences": None,
}


@pytest.fixture(scope="module")
def project(stage_server, tmp_path_factory) -> Project:
    """A plain and an editable training, edited on chain 4 without compiling."""
    made = Project(write_project(tmp_path_factory.mktemp("compile"), digits=BENCHMARK), stage_server)
    for stage in ("prepare", "train", "tune", "evaluate"):
        made.succeed(stage, "digits")
    return made


@pytest.mark.slow
def test_edits_and_editable_trainings_are_made_again_and_plain_ones_are_not(project, tmp_path):
    def description(of: Project) -> dict:
        return json.loads((of.folder / "models/digits/editable/model.json").read_text())

    again = project.copy(tmp_path / "again")
    again.choose(compile=True)
    trained = again.succeed("train", "digits").output
    assert "train digits plain: unchanged" in trained
    assert "train digits editable: kept epoch 1 of 1" in trained
    assert description(again)["fingerprint"] != description(project)["fingerprint"]
    record = "results/digits/edits/rmsprop/plain-chain4"
    before = (again.folder / f"{record}.json").read_bytes()
    for stage in ("tune", "evaluate"):
        assert "unchanged" not in again.succeed(stage, "digits").output
    assert (again.folder / f"{record}.json").read_bytes() != before
    found, expected = (pd.read_csv(one.folder / f"{record}.csv") for one in (again, project))
    assert found["steps"].sum() > 0
    pd.testing.assert_frame_equal(found, expected, rtol=1e-3)


@pytest.mark.parametrize("flag", [False, True])
def test_only_editors_that_follow_a_gradient_are_compiled(tmp_path, flag):
    editors = {name: {} for name in ("rmsprop", "covariance", "rank_one", "lookup_cache")}
    chosen = {"editors": editors, "analysis": {}, "sequences": None}
    settings = load_settings(
        write_project(tmp_path, PARAMS | {"compile": flag}, digits=DIGITS | chosen) / "params.yaml"
    )
    found = {name: settings.compiles("digits", name) for name in editors}
    assert found == {"rmsprop": flag, "covariance": flag, "rank_one": False, "lookup_cache": False}
    assert settings.build("digits", "covariance").compiled is flag
    assert not hasattr(settings.build("digits", "rank_one"), "compiled")
