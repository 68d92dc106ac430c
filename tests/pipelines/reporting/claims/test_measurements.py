"""Numbers besides edits: what is there is read, what is missing is not measured, what is damaged is refused."""

from __future__ import annotations

import json
import math

import pytest

from benchmarks.errors import InputError
from benchmarks.metrics import Estimate
from pipelines.reporting.claims import measurements
from pipelines.store.layout import Layout

HEAD = "training,editor,layers,edits,components_90,components_90_low,components_90_high,own_excess\n"
KEYS = "plain,rmsprop,chain3"


@pytest.fixture
def layout(tmp_path):
    return Layout("digits", tmp_path)


def write(path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def read(layout):
    return measurements.read(layout, ["plain", "cnp"])


def test_nothing_is_no_error(layout):
    assert read(layout) == {}


def test_what_is_there_is_read_by_name(layout):
    cost = {"cost_ratio": 2.5, "cost_ratio_low": 2.25, "cost_ratio_high": 2.75, "seconds": 12}
    write(layout.model("cnp") / "cost.json", json.dumps(cost))
    write(layout.results / "figure2/summary.csv", f"{HEAD}{KEYS},400,7,6,9,1.5\nplain,gd,all,400,,,,0.5\n")
    found = read(layout)
    assert found["cost_ratio/cnp"] == Estimate(2.5, 2.25, 2.75)
    assert found["components_90/plain/rmsprop/chain3"] == Estimate(7, 6, 9)
    excess = found["own_excess/plain/gd/all"]
    assert excess.value == 0.5
    assert math.isnan(excess.low)
    assert set(found) == {
        "cost_ratio/cnp",
        "components_90/plain/rmsprop/chain3",
        "own_excess/plain/rmsprop/chain3",
        "own_excess/plain/gd/all",
    }


def test_a_training_that_is_not_run_is_not_read(layout):
    write(layout.model("editable-0.1-rmsprop-chain3") / "cost.json", "{")
    assert read(layout) == {}


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"cost_ratio": "fast"}', '{"cost_ratio": null}'])
def test_a_damaged_cost_is_refused(layout, content):
    write(layout.model("cnp") / "cost.json", content)
    with pytest.raises(InputError, match=r"cnp.cost.json does not hold the cost of a training .*train again"):
        read(layout)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "summary.csv is broken"),
        ("training,editor,components_90\nplain,gd,3\n", "is broken .*layers"),
        (f"{HEAD}{KEYS},400,many,6,9,1\n", "is broken .*many"),
        (f"{HEAD}{KEYS},400,7,6,9,1\n{KEYS},400,7,6,9,1\n", "is broken .a cell has two rows.: remove it"),
        (f"{HEAD}{KEYS},400,7,9,6,1\n", r"components_90 is 7 with the interval \[9, 6\], which cannot be"),
        (f"{HEAD}{KEYS},400,inf,6,9,1\n", "components_90 is inf"),
    ],
)
def test_a_damaged_summary_is_refused(layout, content, sentence):
    write(layout.results / "figure2/summary.csv", content)
    with pytest.raises(InputError, match=sentence) as caught:
        read(layout)
    assert "\n" not in str(caught.value)
