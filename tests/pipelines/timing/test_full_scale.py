"""Estimates at full scale follow from operations and launches, and the README shows what they give now."""

from __future__ import annotations

import pytest

from benchmarks import models
from pipelines import speed
from pipelines.tasks import load_settings
from pipelines.timing import full_scale
from tests.pipelines.conftest import ROOT


@pytest.fixture(scope="module")
def settings():
    return load_settings(ROOT / "params.yaml")


def test_operations_are_those_of_the_convolutions_behind_the_edited_part():
    """By hand, for 32 pixels a side: 3x3 kernels, output pixels, channels in and out; two for each multiplication."""
    width = 8
    network = models.make("resnet18", channels=3, classes=10, width=width)
    first = 9 * 16 * (4 * width * 8 * width + 3 * 8 * width * 8 * width) + 16 * 4 * width * 8 * width
    by_hand = 2 * (first + 8 * width * 10)
    assert full_scale.operations(network, "chain4") == pytest.approx(by_hand, abs=0)
    whole, head = (full_scale.operations(network, part) for part in ("all", "head"))
    assert whole > 4 * by_hand > head == 2 * 8 * width * 10


def test_a_plain_training_takes_three_forward_passes_of_each_image(settings):
    block = settings.benchmark("cifar10")
    plain = [one for one in block.trainings.values() if one.recipe == "plain"]
    others = [one for one in block.trainings.values() if one.recipe in ("editable", "cnp")]
    images = 352 * 128  # the last batch is counted as full
    forward = 2 * 555.4e6
    epochs = 3 * sum(one.epochs for one in plain) + 6.2 * sum(one.epochs for one in others)
    trainings = next(full_scale.parts(settings, "cifar10"))
    assert trainings.hours == pytest.approx(epochs * images * forward / 40e12 / 3600, rel=1e-3)


def test_the_readme_shows_the_table(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    speed.main(["--estimate", "cifar10"])
    assert capsys.readouterr().out in (ROOT / "pipelines/README.md").read_text()
