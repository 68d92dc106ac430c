"""A patched model is a version of a registered model, if the user asks for that."""

import json
from pathlib import Path

import pytest

pytest.importorskip("mlflow")

from benchmarks.errors import InputError
from pipelines.tracking import registry
from tests.pipelines.conftest import artifacts, client, runs


@pytest.fixture
def report(repository) -> Path:
    """What stands beside a patch."""
    told = {
        "editor": "rmsprop",
        "layers": "chain3",
        "hyperparameters": {"lr": 0.001},
        "views": 0,
        "model": "model.pth",
        "out": "patched.pth",
        "steps": 3,
        "seconds": 0.5,
        "patched": "0123456789abcdef",
        "effects": {
            "images": 400,
            "flips": [],
            "flip_rate": {"value": 1.25, "low": 0.5, "high": 2.0},
            "drawdown": None,
        },
    }
    Path("patched.json").write_text(json.dumps(told))
    Path("patched.md").write_text("# A patch")
    Path("patched.patch.safetensors").write_bytes(b"weights")
    return Path("patched.json")


def test_each_patch_is_the_next_version_with_its_report(report):
    assert registry.register("cats", report).startswith("registered as version 1 of cats in MLflow at sqlite:///")
    assert registry.register("cats", report).startswith("registered as version 2 of cats")
    versions = client().search_model_versions("name='cats'")
    assert {version.version for version in versions} == {"1", "2"} or {version.version for version in versions} == {
        1,
        2,
    }
    assert versions[0].tags == {"weights": "patched.pth", "fingerprint": "0123456789abcdef"}
    assert versions[0].description == "# A patch"
    model = client().get_logged_model(versions[0].model_id)
    run = client().get_run(model.source_run_id)
    assert run.data.params.items() >= {"lr": "0.001", "editor": "rmsprop", "out": "patched.pth"}.items()
    assert run.data.metrics == {"steps": 3, "seconds": 0.5, "control/flip_rate": 1.25}
    names = {path.name for path in artifacts(run).rglob("*") if path.is_file()}
    assert names == {"patched.json", "patched.md", "patched.patch.safetensors"}
    assert len(runs("patches")) == 2


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "top.1", "100 %"])
def test_a_name_that_mlflow_refuses_is_told(report, name):
    with pytest.raises(InputError, match="--register: .* cannot name a model in MLflow"):
        registry.register(name, report)


def test_a_server_that_does_not_answer_is_told_and_the_patch_stays(report, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"the patch is written, but not registered: MLflow at http://127\.0\.0\.1:9 "):
        registry.register("cats", report)
