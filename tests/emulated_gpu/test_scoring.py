"""Records of edits on a GPU: those of a CPU, for one wait a shard."""

from __future__ import annotations

import copy
from dataclasses import asdict

import pytest
import torch

import editors
from benchmarks.scoring.joint import JointScorer
from benchmarks.scoring.requests import draw_requests
from benchmarks.scoring.scorer import Scorer
from benchmarks.scoring.sequential import SequentialScorer
from pipelines.timing import subjects

EDITOR = editors.build("rmsprop", lr=1e-3, max_steps=4)
STRONG = editors.build("rmsprop", lr=1e-2, max_steps=10)


@pytest.fixture(scope="module")
def images():
    return subjects.dataset(40)


@pytest.fixture
def scorer(network, images):
    requests = draw_requests(images.test, len(images.classes), 6, "requests")

    def on(device, **options):
        return Scorer(copy.deepcopy(network).to(device), "chain3", images, images.test, requests, **options)

    return on


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("options", [{}, {"control_size": 10}, {"views": 2}, {"cache_bytes": 0}], ids=str)
def test_records_are_those_of_a_cpu(options, scorer, device):
    found = []
    for where in ("cpu", device):
        one = scorer(where, **options)
        records = one.records(range(6), one.edit(EDITOR, range(6))[0])
        found.append([asdict(record) for record in records])
    for ours, expected in zip(*found, strict=True):
        assert ours == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert any(record["steps"] for record in found[0])


@pytest.mark.parametrize("control_size", [None, 10])
def test_records_of_a_shard_wait_once(control_size, scorer, device, counting):
    one = scorer(device, control_size=control_size)
    edits, _ = one.edit(EDITOR, range(6))
    one.records(range(6), edits)  # what is computed once is there now
    with counting() as found:
        records = one.records(range(6), edits)
    assert found.counts.synchronised == 1, found.places
    assert sum(record.steps > 0 for record in records) > 2
    assert found.counts.launched < 180 * len(records)  # about 60 of them for side effects


def test_edits_of_a_shard_wait_once_a_step(scorer, device, counting):
    one = scorer(device)
    one.edit(EDITOR, range(6))
    with counting() as found:
        edits, _ = one.edit(EDITOR, range(6))
    clock = found.counts.syncs.pop("torch.cuda.synchronize")
    assert clock == 2  # before and after what is timed
    assert sum(found.counts.syncs.values()) == 1 + max(edit.steps for edit in edits), found.places


@pytest.mark.usefixtures("strict")
def test_edits_in_a_row_are_those_of_a_cpu(network, images, device):
    rows = []
    for where in ("cpu", device):
        model = copy.deepcopy(network).to(where)
        one = SequentialScorer(model, "chain3", images, images.test.select(torch.arange(5)), images.test)
        rows.append(one.run(STRONG, range(5)))
    assert rows[0] == rows[1]
    assert any(row.succeeded and row.steps for row in rows[0])


def test_a_look_after_an_edit_in_a_row_waits_once(network, images, device, counting):
    some = images.test.select(torch.arange(12))
    one = SequentialScorer(copy.deepcopy(network).to(device), "chain3", images, some, images.test)
    one.run(STRONG, range(12))
    with counting() as found:
        rows = one.run(STRONG, range(12))
    changed = sum(row.steps > 0 and row.succeeded for row in rows)
    assert changed
    edits = sum(row.steps + 1 for row in rows)  # an edit waits for its loss before each step, and after the last
    assert sum(found.counts.syncs.values()) <= 1 + changed + edits, found.places


@pytest.mark.usefixtures("strict")
def test_images_edited_together_are_those_of_a_cpu(network, images, device, counting):
    records, waits = [], []
    for where in ("cpu", device):
        one = JointScorer(copy.deepcopy(network).to(where), "chain3", images, images.test)
        for count in (2, 5):
            draw = one.draw_random(count, 0, "together")
            one.record(STRONG, draw)
            with counting() as found:
                records.append(one.record(STRONG, draw)[0])
            waits.append(sum(found.counts.syncs.values()))
    assert records[:2] == records[2:]
    assert any(record.flips for record in records)
    assert waits[:2] == [0, 0]
    beside = [count - record.steps for count, record in zip(waits[2:], records[2:], strict=True)]
    assert beside[0] == beside[1] <= 12, found.places  # not more for more images
