"""Trainings on a GPU: without waiting for it, in the same order each time, and gone on with where they were killed."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

from baselines import checkpointing, streaming
from baselines.cnp import CnpObjective, CnpTerms
from baselines.edit_targets import MatchedRanks
from baselines.editable import EditableObjective, EditableTerms
from baselines.images import ImageBatches, ImagePlan
from baselines.objectives import CrossEntropy, Distillation
from baselines.training import Objective, Trained, train
from benchmarks import models
from benchmarks.errors import InputError
from benchmarks.seeds import drawn_from
from pipelines.timing import subjects

TERMS = EditableTerms(editor="rmsprop", layers="chain3", c_edit=0.1, c_loc=0.1, max_steps=4)
OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "plain": lambda network: CrossEntropy(),
    "distilled": lambda network: Distillation(network),
    "editable": lambda network: EditableObjective(TERMS),
    "editable, targets like mistakes": lambda network: EditableObjective(
        TERMS, targets=MatchedRanks(torch.arange(10).double() / 45)
    ),
    "cnp": lambda network: CnpObjective(CnpTerms(c_edit=0.1, c_loc=0.1)),
}
IMAGES, BATCH = 48, 12


class Killed(Exception):
    """The end of a process."""


@pytest.fixture
def run(network, device, tmp_path):
    numbers = itertools.count()

    def trained(
        name, folder=None, *, where=device, killed_at=None, watch=lambda done: None, epochs=2, streams=False, **plan
    ) -> Trained:
        steps = itertools.count(1)

        def on_step(done: int) -> None:
            if watch is not None:
                watch(done)
            if next(steps) == killed_at:
                raise Killed

        with drawn_from("weights", device=torch.device("cpu")):
            architecture = "cnp_resnet18" if name == "cnp" else "resnet18"
            model = models.make(architecture, channels=3, classes=10, width=4).to(where)
        chosen = ImagePlan(**{"epochs": epochs, "batch_size": BATCH, "lr": 1e-3, "clip_norm": 10.0} | plan)
        folder = folder or tmp_path / f"{name}-{next(numbers)}"
        data = subjects.dataset(IMAGES)
        source = ImageBatches(streaming.within_memory(data, where) if streams else data, where)
        return train(model, OBJECTIVES[name](network), source, chosen, folder, ("test", name), on_step=on_step)

    return trained


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_training_ends_as_on_a_cpu(name, run):
    (ours, expected) = (run(name, epochs=1, where=where) for where in (torch.device("cuda", 0), torch.device("cpu")))
    assert {value.device.type for value in ours.model.state_dict().values()} == {"cuda"}
    assert ours.kept.numbers == pytest.approx(expected.kept.numbers, rel=1e-2)
    for value, other in zip(ours.model.parameters(), expected.model.parameters(), strict=True):
        torch.testing.assert_close(value.cpu(), other, rtol=0, atol=5e-4)  # half a step of Adam


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize(
    ("name", "mixed_precision"), [("plain", True), ("distilled", False), ("editable", True), ("cnp", False)]
)
def test_a_training_that_is_killed_ends_with_the_same_bytes(name, mixed_precision, run, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpointing, "_SAVED_EVERY", 0.0)
    whole = run(name, mixed_precision=mixed_precision)
    for killed_at in (2, 4):
        with pytest.raises(Killed):
            run(name, tmp_path / "killed", killed_at=killed_at, mixed_precision=mixed_precision)
    broken = run(name, tmp_path / "killed", mixed_precision=mixed_precision)
    assert [epoch.numbers for epoch in broken.history] == [epoch.numbers for epoch in whole.history]
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, broken.model.state_dict()[key])


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize(
    ("name", "launches", "waits"),
    [("plain", 380, 0), ("distilled", 460, 0), ("editable", 2600, 5), ("editable, targets like mistakes", 2600, 6)],
)
def test_a_step_waits_for_the_constraint_alone(name, launches, waits, run, emulation):
    seen = []

    def watch(done: int) -> None:
        counts = emulation.counts()
        seen.append((counts.launched, counts.synchronised, counts.undetermined, counts.launches))

    emulation.reset()
    run(name, epochs=1, watch=watch, lr=1e-9)
    steps = len(seen) - 1
    assert (seen[-1][0] - seen[0][0]) / steps < launches
    assert (seen[-1][1] - seen[0][1]) / steps <= waits
    assert seen[-1][2] == {}
    assert "fill of uninitialised memory" not in seen[-1][3]


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("name", ["plain", "editable"])
def test_images_that_do_not_fit_are_streamed_to_the_same_end_without_a_wait(name, run, device, emulation, monkeypatch):
    monkeypatch.setattr(streaming, "LARGEST_SHARE", 0.0)
    before = torch.cuda.memory_allocated(device)
    ImageBatches(streaming.within_memory(subjects.dataset(IMAGES), device), device)
    assert torch.cuda.memory_allocated(device) == before
    ends, waits = [], []
    for streams in (False, True):
        seen = []
        ends.append(run(name, epochs=1, streams=streams, watch=lambda _: seen.append(emulation.counts().synchronised)))  # noqa: B023
        waits.append(seen[-1] - seen[0])
    assert waits[0] == waits[1]
    whole, streamed = ends
    assert [epoch.numbers for epoch in streamed.history] == [epoch.numbers for epoch in whole.history]
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, streamed.model.state_dict()[key])


def test_a_loss_that_is_no_number_names_its_step_though_it_is_read_later(run):
    with pytest.raises(InputError, match=r"the training loss became nan at step [1-4] of epoch 1"):
        run("plain", lr=1e30, epochs=1)
