"""What scoring computes once and keeps, and how much memory that takes."""

import pytest
from torch import nn

from benchmarks.dataset import Dataset
from benchmarks.requests import EditRequests
from benchmarks.scoring import VIEWS, Scorer
from tests.benchmarks.scoring.conftest import LARGEST, score


def test_the_frozen_part_runs_once_however_many_edits_are_scored(
    model: nn.Sequential, dataset: Dataset, requests: EditRequests
) -> None:
    seen = []
    handle = model.chain1.register_forward_hook(lambda module, inputs, outputs: seen.append(len(outputs)))
    try:
        scorer = Scorer(model, "chain3", dataset, dataset.test, requests)
        score(scorer)
        prepared = sum(seen)
        score(scorer)
    finally:
        handle.remove()
    assert prepared <= 1 + len(dataset.test) + len(requests) * (1 + VIEWS)
    assert sum(seen) == prepared


@pytest.mark.parametrize(("chunk_bytes", "most"), [(7 * LARGEST, 7), (8 * LARGEST - 1, 7), (1, 1), (None, 30)])
def test_no_activation_takes_more_memory_than_allowed(
    model: nn.Sequential, dataset: Dataset, requests: EditRequests, chunk_bytes: int | None, most: int
) -> None:
    seen = []
    handle = model.stem.register_forward_hook(lambda module, inputs, outputs: seen.append(len(outputs)))
    try:
        Scorer(model, "chain2", dataset, dataset.test, requests, chunk_bytes=chunk_bytes)
    finally:
        handle.remove()
    assert max(seen) == most
