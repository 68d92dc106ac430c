"""How often an editor waits for the device: on a GPU every value that is read stops the queue of work."""

import pytest
import torch
from torch import Tensor

from tests.editors.conftest import impossible

READING = ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows by a name whenever a value leaves a tensor for Python."""
    found: list[str] = []

    def noting(name: str):
        original = getattr(Tensor, name)

        def noted(tensor: Tensor, *arguments, **options):
            found.append(name)
            return original(tensor, *arguments, **options)

        return noted

    for name in READING:
        monkeypatch.setattr(Tensor, name, noting(name))
    return found


def test_every_way_to_read_is_noted(reads):
    value = torch.tensor(1)
    value.item(), value.tolist(), value.numpy(), value.cpu(), bool(value), float(value), int(value), [0, 1][value]
    assert set(READING) <= set(reads)


def test_a_step_reads_as_often_for_many_edits_as_for_few(build, model, images, reads):
    def per_step(edits: int) -> float:
        requests = [(images[row % len(images)], impossible) for row in range(edits)]
        counts = []
        for steps in (3, 7):
            reads.clear()
            assert {edit.steps for edit in build(max_steps=steps).edit_many(model, requests)} == {steps}
            counts.append(len(reads))
        return (counts[1] - counts[0]) / 4

    few = per_step(3)
    assert 0 < few <= 2
    assert per_step(12) == few
