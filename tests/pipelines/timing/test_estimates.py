"""Estimates follow from operations, launches and recorded times, and the README shows what they give now."""

from __future__ import annotations

import pytest
import torch

from benchmarks import models
from benchmarks.seeds import generator
from pipelines import speed
from pipelines.timing import estimates
from tests.pipelines.conftest import ROOT, committed


@pytest.fixture(scope="module")
def settings():
    return committed()


def test_operations_are_those_of_the_convolutions_behind_the_edited_part():
    """By hand, for 32 pixels a side: 3x3 kernels, output pixels, channels in and out; two for each multiplication."""
    width = 8
    network = models.make("resnet18", channels=3, classes=10, width=width)
    first = 9 * 16 * (4 * width * 8 * width + 3 * 8 * width * 8 * width) + 16 * 4 * width * 8 * width
    by_hand = 2 * (first + 8 * width * 10)
    assert estimates.operations(network, "chain4") == pytest.approx(by_hand, abs=0)
    whole, head = (estimates.operations(network, part) for part in ("all", "head"))
    assert whole > 4 * by_hand > head == 2 * 8 * width * 10


def test_a_plain_training_takes_three_forward_passes_of_each_image(settings):
    block = settings.benchmark("cifar10")
    plain = [one for one in block.trainings.values() if one.recipe == "plain"]
    others = [one for one in block.trainings.values() if one.recipe in ("editable", "cnp")]
    images = 352 * 128  # the last batch is counted as full
    forward = 2 * 555.4e6
    epochs = 3 * sum(one.epochs for one in plain) + 6.2 * sum(one.epochs for one in others)
    trainings = next(estimates.parts(settings, "cifar10"))
    assert trainings.hours == pytest.approx(epochs * images * forward / 40e12 / 3600, rel=1e-3)


def test_the_readme_shows_the_table(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    speed.main(["--estimate", "cifar10"])
    assert capsys.readouterr().out in (ROOT / "pipelines/timing/README.md").read_text()


@pytest.mark.parametrize("name", ["digits", "toy_translation", "nosuch"])
def test_what_is_no_resnet18_on_cifar10_is_refused(name, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        speed.main(["--estimate", name])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert name in said.err.splitlines()[-1]


def test_tasks_go_to_the_gpu_that_is_free_first():
    assert estimates.simulate([3, 1, 1, 2], 2) == (4.0, 7 / 8)  # 3 | 1, 1, 2
    assert estimates.simulate([1, 1, 1, 3], 2) == (4.0, 6 / 8)  # 1, 1 | 1, 3: the long one last
    assert estimates.simulate([2, 2], 2, begin=10, start=1) == (13.0, 4 / 26)
    assert estimates.simulate([1] * 4, 4, handed_out=5)[0] == 21  # the driver is what is waited for


def test_no_order_is_better_than_the_bound_or_worse_than_grahams():
    for number in range(20):
        work = torch.rand(30, generator=generator("scale", number)).tolist()
        least = max(sum(work) / 4, max(work))
        assert least <= estimates.simulate(work, 4)[0] <= sum(work) / 4 + max(work)


def test_the_mean_cell_takes_what_the_arithmetic_says():
    found = estimates.cells(ROOT / "results")
    assert len(found) == 1000
    expected = 1000 * 50_000 * 3.64e9 / 40e12
    assert sum(found) / len(found) == pytest.approx(expected)
    assert min(found) >= 0


def test_more_pieces_help_until_the_driver_is_what_is_waited_for():
    rows = [line.split("|") for line in estimates.of_cluster(ROOT / "results").splitlines()[2:]]
    hours = [float(row[5].split()[0]) for row in rows]
    whole, ten, hundred, slow, fast = hours
    assert ten < hundred < whole
    assert slow > ten >= fast
