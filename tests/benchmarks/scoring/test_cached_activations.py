"""What scoring computes once and keeps, and how much memory that takes."""

import pytest

from benchmarks.data.dataset import Dataset
from benchmarks.scoring.scorer import GENERALITY_COPIES, Scorer
from benchmarks.scoring.side_effects import CORRUPTED_SHARE
from tests.benchmarks.scoring.conftest import LARGEST, score


def test_the_frozen_part_runs_once_however_many_edits_are_scored(model, dataset, requests):
    seen = []
    handle = model.chain1.register_forward_hook(lambda module, inputs, outputs: seen.append(len(outputs)))
    try:
        scorer = Scorer(model, "chain3", dataset, dataset.test, requests)
        score(scorer)
        prepared = sum(seen)
        score(scorer)
    finally:
        handle.remove()
    corrupted = round(CORRUPTED_SHARE * len(dataset.test))
    assert prepared <= 1 + len(dataset.test) + len(requests) * (1 + GENERALITY_COPIES) + corrupted
    assert sum(seen) == prepared


@pytest.mark.parametrize(("chunk_bytes", "most"), [(7 * LARGEST, 7), (8 * LARGEST - 1, 7), (1, 1), (None, 30)])
def test_no_activation_takes_more_memory_than_allowed(model, dataset, requests, chunk_bytes, most):
    seen = []
    handle = model.stem.register_forward_hook(lambda module, inputs, outputs: seen.append(len(outputs)))
    try:
        Scorer(model, "chain2", dataset, dataset.test, requests, chunk_bytes=chunk_bytes)
    finally:
        handle.remove()
    assert max(seen) == most


@pytest.mark.parametrize("cache_bytes", [0, 2**30])
def test_only_a_chunk_of_images_at_a_time_becomes_numbers(model, dataset, requests, cache_bytes, monkeypatch):
    converted = []
    convert = Dataset.inputs
    monkeypatch.setattr(Dataset, "inputs", lambda self, images: converted.append(len(images)) or convert(self, images))
    score(Scorer(model, "chain3", dataset, dataset.test, requests, cache_bytes=cache_bytes, chunk_bytes=7 * LARGEST))
    assert max(converted) == 7
    # Without a cache, the front runs again for every edit that changed something.
    assert (sum(converted) > 2 * len(dataset.test) + len(requests) * (1 + GENERALITY_COPIES)) == (cache_bytes == 0)
