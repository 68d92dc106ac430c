"""Mixed precision: bfloat16 where time is spent, float32 where digits count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from baselines.cnp import CnpObjective, CnpTerms
from baselines.cost import step_cost
from baselines.editable import EditableObjective, EditableTerms
from baselines.objectives import CrossEntropy, Distillation, Losses, Objective, Step, losses_of
from baselines.training import TrainingPlan, train
from benchmarks import models
from benchmarks.dataset import Dataset
from editors.descent import DescentEditor
from tests.baselines.conftest import AXES, MakeModel

EDITABLE = EditableTerms(
    editor="rmsprop", layers="chain3", c_edit=0.1, c_loc=0.1, max_steps=2, hyperparameters={"lr": 1e-4}
)
CNP = CnpTerms(c_edit=0.1, c_loc=0.1)


def network(architecture: str = "resnet18") -> nn.Module:
    torch.manual_seed(0)
    return models.make(architecture, channels=3, classes=4, width=8).train()


@pytest.fixture
def step(generator: torch.Generator) -> Step:
    return Step(torch.randn(64, 3, 16, 16, generator=generator), torch.arange(64) % 4, seed=1)


def gradient(objective: Objective, model: nn.Module, step: Step, mixed_precision: bool) -> Tensor:
    wanted = [value for value in (*model.parameters(), *objective.parameters()) if value.requires_grad]
    total = losses_of(objective, model, step, mixed_precision).total
    found = torch.autograd.grad(total, wanted, allow_unused=True, materialize_grads=True)
    assert {value.dtype for value in found} == {torch.float32}
    return torch.cat([value.flatten() for value in found])


class SeesConvolutions:
    """The types of what a network's first convolution answers, in training and in evaluation mode."""

    def __init__(self, model: nn.Module) -> None:
        self.training: set[torch.dtype] = set()
        self.evaluation: set[torch.dtype] = set()
        first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
        first.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        (self.training if module.training else self.evaluation).add(outputs.dtype)


@pytest.mark.parametrize(
    ("architecture", "make"),
    [
        ("resnet18", lambda: CrossEntropy()),
        ("resnet18", lambda: Distillation(network())),
        ("resnet18", lambda: EditableObjective(EDITABLE)),
        ("resnet18", lambda: EditableObjective(replace(EDITABLE, reference_mode="train", detach_reference=False))),
        ("cnp_resnet18", lambda: CnpObjective(CNP)),
    ],
)
def test_losses_and_gradients_are_those_of_full_precision_but_for_some_percent(architecture, make, step: Step) -> None:
    model, objective = network(architecture), make()
    seen = SeesConvolutions(model)
    full = gradient(objective, model, step, mixed_precision=False)
    assert seen.training == {torch.float32}
    mixed = gradient(objective, model, step, mixed_precision=True)
    assert seen.training == {torch.float32, torch.bfloat16}
    assert not torch.equal(full, mixed)
    assert torch.cosine_similarity(full, mixed, dim=0) > 0.9  # of networks at random, as gradients cancel there
    expected, found = (losses_of(objective, model, step, precision) for precision in (False, True))
    assert found.total.dtype == found.logits.dtype == torch.float32
    torch.testing.assert_close(found.total, expected.total, rtol=0.03, atol=0)
    torch.testing.assert_close(dict(found.parts), dict(expected.parts), rtol=0.1, atol=0.05)  # logits are about 1


def test_edits_are_made_in_float32(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, edit, objective = [], DescentEditor.edit, EditableObjective(EDITABLE)

    def watched(self, model, inputs, *args, **options):
        made = edit(self, model, inputs, *args, **options)
        seen.append((inputs.dtype, made.loss.dtype, torch.is_autocast_enabled("cpu")))
        return made

    monkeypatch.setattr(DescentEditor, "edit", watched)
    steps = [losses_of(objective, network(), step, mixed).parts["edit_steps"] for mixed in (False, True)]
    assert steps[0] == steps[1] > 0
    assert seen == [(torch.float32, torch.float32, False)] * 2


def test_a_training_learns_in_it_and_is_judged_in_full_precision(
    make_model: MakeModel, dataset: Dataset, plan: TrainingPlan, tmp_path: Path
) -> None:
    longer = replace(plan, epochs=8, mixed_precision=True)
    model = make_model()
    seen = SeesConvolutions(model)
    history = train(model, CrossEntropy(), dataset, longer, tmp_path, AXES).history
    assert history[-1].train_loss < 0.7 * history[0].train_loss
    assert seen.training == {torch.bfloat16}
    assert seen.evaluation == {torch.float32}
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_another_precision_does_not_go_on_from_a_checkpoint(
    make_model: MakeModel, dataset: Dataset, plan: TrainingPlan, tmp_path: Path
) -> None:
    full = train(make_model(), CrossEntropy(), dataset, plan, tmp_path, AXES).history
    mixed = train(make_model(), CrossEntropy(), dataset, replace(plan, mixed_precision=True), tmp_path, AXES).history
    assert mixed[0].train_loss != full[0].train_loss


def test_steps_are_timed_in_the_precision_they_are_trained_in(
    make_model: MakeModel, dataset: Dataset, plan: TrainingPlan
) -> None:
    seen = []

    class Watched(CrossEntropy):
        def forward(self, model: nn.Module, step: Step) -> Losses:
            seen.append(torch.is_autocast_enabled("cpu"))
            return super().forward(model, step)

    for mixed in (False, True):
        step_cost(make_model(), Watched(), dataset, replace(plan, mixed_precision=mixed), count=2)
    assert seen == [False] * 3 + [True] * 3
