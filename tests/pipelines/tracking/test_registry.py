"""A patched model is a version of a registered model, if the user asks for that."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("mlflow")

from benchmarks import metrics
from benchmarks.errors import InputError
from benchmarks.patching.side_effects import Errors, Known, SideEffects
from pipelines.reporting.patches import EditedImage, PatchReport, write
from pipelines.tracking import registry
from tests.pipelines.tracking.conftest import artifacts, client, runs


@pytest.fixture
def report(repository) -> Path:
    """What stands beside a patch."""
    wrong = torch.arange(400) < 40
    errors = Errors.of(wrong, wrong.roll(1))
    known = Known(errors, None, "cat", errors, errors, 2.5, 3.5)
    told = PatchReport(
        model="model.pth",
        out="patched.pth",
        patch="patched.patch.safetensors",
        editor="rmsprop",
        layers="chain3",
        hyperparameters=[{"lr": 0.001, "beta": 0.5}, {"lr": 0.01, "beta": 0.5}],
        views=0,
        one_by_one=True,
        edited=(EditedImage("0.png", "cat", "dog", "cat", True), EditedImage("1.png", "cat", "dog", "dog", False)),
        steps=3,
        seconds=0.5,
        changed={"a": 10},
        parameters=40,
        patch_bytes=40,
        original="fedcba9876543210",
        patched="0123456789abcdef",
        effects=SideEffects(400, (), metrics.share(5, 400), known),
    )
    write(told, Path("patched"), "RGB")
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
    assert versions[0].description == Path("patched.md").read_text()
    run = client().get_run(versions[0].run_id)
    assert run.data.params.items() >= {"lr": "0.001 0.01", "beta": "0.5", "out": "patched.pth"}.items()
    groups = {f"control/{name}/{when}": 10 for name in ("errors", "worst", "corrupted") for when in ("before", "after")}
    groups |= {f"control/{name}/drawdown": 0 for name in ("errors", "worst", "corrupted")}
    groups |= {"control/flip_rate": 1.25, "control/calibration_before": 2.5, "control/calibration_after": 3.5}
    numbers = {"steps": 3, "seconds": 0.5, "parameters": 40, "patch_bytes": 40, "not_corrected": 1}
    assert run.data.metrics == groups | numbers
    names = {path.name for path in artifacts(run).rglob("*") if path.is_file()}
    assert names == {"patched.json", "patched.md", "patched.patch.safetensors"}
    assert len(runs("patches")) == 2


def test_a_long_report_is_described_as_far_as_any_database_takes_it(report):
    with Path("patched.md").open("a", encoding="utf-8") as page:
        page.write("– more\n" * 1000)
    registry.register("cats", report)
    (version,) = client().search_model_versions("name='cats'")
    assert len(version.description) == 5000
    assert version.description.endswith("…")


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "top.1", "100 %"])
def test_a_name_that_mlflow_refuses_is_told(report, name):
    with pytest.raises(InputError, match="--register: .* cannot name a model in MLflow"):
        registry.register(name, report)


def test_a_server_that_does_not_answer_is_told_and_the_patch_stays(report, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"the patch is written, but not registered: MLflow at http://127\.0\.0\.1:9 "):
        registry.register("cats", report)
