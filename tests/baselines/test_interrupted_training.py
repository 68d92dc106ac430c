"""A training that is interrupted goes on as if it had not been; one that becomes NaN stops and keeps what it had."""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import nn

from baselines import checkpointing
from baselines.checkpointing import CHECKPOINT, WITHIN, load_state
from baselines.objectives import CrossEntropy, Step
from baselines.training import Epoch, Losses, Trained
from benchmarks.errors import InputError
from tests.baselines.conftest import AXES, Scaled, assert_same, with_misleading_tuning


class Killed(Exception):
    """Stands for whatever ends a process."""


def kill_after(number: int) -> Callable[[Epoch], None]:
    def on_epoch(epoch: Epoch) -> None:
        if epoch.epoch == number:
            raise Killed

    return on_epoch


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_interrupted_training_ends_bit_identical_to_an_unbroken_one(fit, dataset, plan, number):
    data = with_misleading_tuning(dataset) if number % 2 else dataset
    objectives = [Scaled(), Scaled(), Scaled()]
    unbroken = fit(objectives[0], data=data, folder="unbroken")
    with pytest.raises(Killed):
        fit(objectives[1], data=data, folder="broken", on_epoch=kill_after(number))
    reported: list[Epoch] = []
    steps: list[int] = []
    resumed = fit(objectives[2], data=data, folder="broken", on_epoch=reported.append, on_step=steps.append)
    assert_same(resumed, unbroken)
    assert torch.equal(objectives[2].scale, objectives[0].scale)
    assert tuple(reported) == unbroken.history
    assert len(steps) == 3 * (plan.epochs - number)


@pytest.mark.parametrize(("number", "step"), [(1, 1), (1, 2), (2, 2), (4, 1)])
def test_training_that_is_killed_within_an_epoch_goes_on_from_the_step_that_was_saved_last(
    fit, plan, monkeypatch, number, step
):
    objectives = [Scaled(), Scaled(), Scaled()]
    unbroken = fit(objectives[0], folder="unbroken")
    monkeypatch.setattr(checkpointing, "_SAVED_EVERY", 0.0)
    made: list[int] = []

    def kill(done: int) -> None:
        made.append(done)
        if len(made) == 3 * (number - 1) + step:
            raise Killed

    with pytest.raises(Killed):
        fit(objectives[1], folder="broken", on_step=kill)
    left: list[int] = []
    resumed = fit(objectives[2], folder="broken", on_step=left.append)
    assert_same(resumed, unbroken)
    assert torch.equal(objectives[2].scale, objectives[0].scale)
    assert (made + left) == [1, 2, 3] * plan.epochs


def test_within_an_epoch_a_checkpoint_is_written_only_every_few_minutes(fit, plan, tmp_path, monkeypatch):
    def look(done: int) -> None:
        seen.append((done, (tmp_path / CHECKPOINT).exists(), (tmp_path / WITHIN).exists()))

    seen: list[tuple[int, bool, bool]] = []
    assert 60 <= checkpointing._SAVED_EVERY <= 600
    fit(folder="seldom", on_step=look)
    assert not any(within for _, _, within in seen)
    seen.clear()
    monkeypatch.setattr(checkpointing, "_SAVED_EVERY", 0.0)
    fit(on_step=look)
    # Not after the last step of an epoch, whose own checkpoint follows and makes the other one go.
    first, later = ([(step, after, True) for step in (1, 2, 3)] for after in (False, True))
    assert seen == first + later * (plan.epochs - 1)
    assert not (tmp_path / WITHIN).exists()


def test_the_time_of_a_process_that_was_killed_counts(fit, plan, monkeypatch):
    clock = [0.0]

    def on_step(done: int) -> None:
        clock[0] += 10.0
        if clock[0] == 50.0 and not killed:
            killed.append(True)
            raise Killed

    killed: list[bool] = []
    monkeypatch.setattr(checkpointing.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(checkpointing, "_SAVED_EVERY", 0.0)
    with pytest.raises(Killed):
        fit(on_step=on_step)
    clock[0] = 1000.0
    assert fit(on_step=on_step).seconds == 10.0 * 3 * plan.epochs - 10.0  # it ticks after a step's checkpoint


def test_sgd_with_two_rates_resumes_to_the_same_model(fit):
    options = {"optimizer": "sgd", "lr_new": 5e-2}
    whole = fit(folder="whole", new=["4.bias"], **options)
    with pytest.raises(Killed):
        fit(folder="killed", new=["4.bias"], on_epoch=kill_after(2), **options)
    assert_same(fit(folder="killed", new=["4.bias"], **options), whole)
    # Another training: its checkpoint must not be gone on from.
    other = fit(folder="killed", new=["4.weight"], **options)
    assert any(not torch.equal(*pair) for pair in zip(other.model.parameters(), whole.model.parameters(), strict=True))
    assert_same(other, fit(folder="other", new=["4.weight"], **options))


def test_finished_training_is_not_trained_again(fit):
    first = fit()
    steps: list[int] = []
    assert_same(fit(on_step=steps.append), first)
    assert steps == []


@pytest.mark.parametrize("other", ["lr", "epochs", "precision", "axes", "data", "weights", "objective", "its setting"])
def test_checkpoint_of_other_settings_is_not_used(fit, make_model, dataset, other):
    with pytest.raises(Killed):
        fit(Scaled(), folder="used", on_epoch=kill_after(1))

    def anew(folder: str) -> Trained:
        changed = {
            "lr": {"lr": 5e-3},
            "epochs": {"epochs": 2},
            "precision": {"mixed_precision": True},
            "axes": {"axes": (1, *AXES[1:])},
            "data": {"data": with_misleading_tuning(dataset)},
            "weights": {"model": make_model(1)},
        }
        objective = {"objective": CrossEntropy(), "its setting": Scaled(weight=0.1)}.get(other, Scaled())
        return fit(objective, folder=folder, **changed.get(other, {}))

    assert_same(anew("used"), anew("fresh"))


def test_corrupt_checkpoint_is_refused_by_name(fit, tmp_path):
    with pytest.raises(Killed):
        fit(on_epoch=kill_after(1))
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"checkpoint\.pt is not a readable checkpoint .*: remove it"):
        fit()


def test_checkpoint_of_something_else_is_started_over(fit, tmp_path):
    torch.save({"weights": torch.zeros(3)}, tmp_path / CHECKPOINT)
    assert_same(fit(epochs=1), fit(epochs=1, folder="fresh"))


class Poisoned(CrossEntropy):
    """Becomes NaN at a step of the whole training (counted from 1), or spoils the weights after it."""

    at: ClassVar[int] = 0
    spoils_weights: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.done = [0]

    def forward(self, model: nn.Module, step: Step) -> Losses:
        self.done[0] += 1
        losses = super().forward(model, step)
        if self.done[0] != self.at:
            return losses
        if not self.spoils_weights:
            return replace(losses, total=losses.total * torch.nan)
        losses.total.register_hook(lambda gradient: gradient * torch.nan)
        return losses


@pytest.mark.parametrize("saved_every", [0.0, 300.0])
@pytest.mark.parametrize(
    ("spoils_weights", "at", "sentence"),
    [
        (True, 4, r"the training loss became nan at step 2 of epoch 2;"),
        (False, 5, r"the training loss became nan at step 2 of epoch 2;"),
        (True, 6, "the tuning loss became nan at the end of epoch 2;"),
    ],
)
def test_nan_stops_training_and_keeps_the_last_good_epoch(
    fit, tmp_path, monkeypatch, spoils_weights, at, sentence, saved_every
):
    monkeypatch.setattr(checkpointing, "_SAVED_EVERY", saved_every)
    unbroken = fit(Poisoned(), folder="unbroken")
    with monkeypatch.context() as patch:
        patch.setattr(Poisoned, "at", at)
        patch.setattr(Poisoned, "spoils_weights", spoils_weights)
        with pytest.raises(InputError, match=sentence) as caught:
            fit(Poisoned())
    assert f"{tmp_path / CHECKPOINT} keeps epoch 1" in str(caught.value)
    kept = load_state(tmp_path / CHECKPOINT)
    assert len(kept["history"]) == 1
    within = load_state(tmp_path / WITHIN)
    assert (within is not None) == (saved_every == 0 and at != 4)
    for state in [kept] if within is None else [kept, within]:
        assert all(value.isfinite().all() for value in state["trained"].values())
    assert_same(fit(Poisoned()), unbroken)


def test_huge_learning_rate_is_named(fit):
    with pytest.raises(InputError, match=r"became (nan|inf) at .* of epoch \d; lower the learning rate \(now 1e\+37\)"):
        fit(lr=1e37)


def test_nan_in_the_first_epoch_leaves_no_checkpoint(fit, tmp_path, monkeypatch):
    monkeypatch.setattr(Poisoned, "at", 3)
    with pytest.raises(InputError, match=r"at step 3 of epoch 1; .*; no epoch was completed"):
        fit(Poisoned())
    assert not (tmp_path / CHECKPOINT).exists()
