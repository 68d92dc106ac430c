"""The simulation of a large cluster gives what is known of simple cases, and says what limits what."""

from __future__ import annotations

import pytest
import torch

from benchmarks.seeds import generator
from pipelines.timing import scale
from tests.pipelines.conftest import ROOT


def test_tasks_go_to_the_gpu_that_is_free_first():
    assert scale.simulate([3, 1, 1, 2], 2) == scale.Outcome(4.0, 7 / 8)  # 3 | 1, 1, 2
    assert scale.simulate([1, 1, 1, 3], 2) == scale.Outcome(4.0, 6 / 8)  # 1, 1 | 1, 3: the long one last
    assert scale.simulate([2, 2], 2, begin=10, start=1) == scale.Outcome(13.0, 4 / 26)
    assert scale.simulate([1] * 4, 4, handed_out=5).seconds == 21  # the driver is what is waited for


def test_no_order_is_better_than_the_bound_or_worse_than_grahams():
    for number in range(20):
        work = torch.rand(30, generator=generator("scale", number)).tolist()
        least = max(sum(work) / 4, max(work))
        assert least <= scale.simulate(work, 4).seconds <= sum(work) / 4 + max(work)


def test_the_mean_cell_takes_what_the_arithmetic_says():
    found = scale.cells(ROOT / "results")
    assert len(found) == 1000
    expected = 1000 * 50_000 * 3.64e9 / 40e12
    assert sum(found) / len(found) == pytest.approx(expected)
    assert min(found) >= 0


def test_more_pieces_help_until_the_driver_is_what_is_waited_for():
    rows = [line.split("|") for line in scale.table(ROOT / "results").splitlines()[2:]]
    hours = [float(row[5].split()[0]) for row in rows]
    whole, ten, hundred, slow, fast = hours
    assert ten < hundred < whole
    assert slow > ten >= fast
