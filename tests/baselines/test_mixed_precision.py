"""Mixed precision: bfloat16 where time is spent, float32 where digits count."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines import objectives, precision
from baselines.checkpointing import CHECKPOINT, load_state
from baselines.cnp import CnpObjective, CnpTerms
from baselines.cost import step_cost
from baselines.editable import EditableObjective, EditableTerms
from baselines.objectives import CrossEntropy, Distillation, Step
from baselines.training import Epoch, Losses, Objective, Trained
from benchmarks import models
from editors.descent import DescentEditor
from tests.baselines.conftest import assert_same

EDITABLE = EditableTerms(
    editor="rmsprop",
    layers="chain3",
    c_edit=0.1,
    c_loc=0.1,
    max_steps=2,
    hyperparameters={"lr": 0.01},
    edited_image="of_batch",  # with this seed an edit far from where another step would be taken
)
CNP = CnpTerms(c_edit=0.1, c_loc=0.1)


def network(architecture: str = "resnet18", number: int = 0) -> nn.Module:
    torch.manual_seed(number)
    return models.make(architecture, channels=3, classes=4, width=8).train()


@pytest.fixture
def step(generator: torch.Generator) -> Step:
    inputs = torch.randn(64, 3, 16, 16, generator=generator)
    apart = torch.randn(1, 3, 16, 16, generator=generator)
    return Step(inputs, torch.arange(64) % 4, 1, lambda count: apart)


def losses_of(objective: Objective, model: nn.Module, step: Step, mixed_precision: bool) -> Losses:
    with precision.mixed(step.inputs.device, mixed_precision):
        return objective(model, step)


def gradient(losses: Losses, model: nn.Module, objective: Objective) -> Tensor:
    wanted = [value for value in (*model.parameters(), *objective.parameters()) if value.requires_grad]
    found = torch.autograd.grad(losses.total, wanted, allow_unused=True, materialize_grads=True)
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
    ("architecture", "objective"),
    [
        ("resnet18", CrossEntropy()),
        ("resnet18", Distillation(network(number=1))),
        ("resnet18", EditableObjective(EDITABLE)),
        ("resnet18", EditableObjective(replace(EDITABLE, reference_mode="train", detach_reference=False))),
        ("cnp_resnet18", CnpObjective(CNP)),
    ],
)
def test_losses_and_gradients_are_those_of_full_precision_but_for_some_percent(architecture, objective, step):
    losses, gradients = {}, {}
    for mixed, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        model, mine = network(architecture), copy.deepcopy(objective)  # a step moves running statistics
        seen = SeesConvolutions(model)
        losses[mixed] = losses_of(mine, model, step, mixed)
        gradients[mixed] = gradient(losses[mixed], model, mine)
        assert seen.training == {dtype}
    assert losses[True].total.dtype == losses[True].logits.dtype == torch.float32
    assert not torch.equal(gradients[False], gradients[True])
    assert torch.cosine_similarity(gradients[False], gradients[True], dim=0) > 0.9  # they cancel in a random network
    torch.testing.assert_close(losses[True].total, losses[False].total, rtol=0.01, atol=0)
    torch.testing.assert_close(dict(losses[True].parts), dict(losses[False].parts), rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("reference_mode", ["eval", "train"])
def test_answers_are_compared_in_float32(reference_mode, step, monkeypatch):
    compared: list[tuple[torch.dtype, ...]] = []

    def watched(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def compare(*values: Any) -> Tensor:
            compared.append(tuple(value.dtype for value in values if isinstance(value, Tensor)))
            return function(*values)

        return compare

    monkeypatch.setattr(objectives, "divergence", watched(objectives.divergence))
    monkeypatch.setattr(EditableObjective, "_locality", watched(EditableObjective._locality))
    terms = replace(EDITABLE, reference_mode=reference_mode)
    for objective in (Distillation(network(number=1)), EditableObjective(terms)):
        losses_of(objective, network(), step, mixed_precision=True)
    assert compared == [(torch.float32, torch.float32)] * 2


def test_without_it_an_objective_works_where_autocast_does_not(step):
    model = network().to("meta")
    inputs = Step(step.inputs.to("meta"), step.labels.to("meta"), 1)
    assert losses_of(CrossEntropy(), model, inputs, mixed_precision=False).total.device.type == "meta"
    with precision.full(torch.device("meta")):
        assert model(inputs.inputs).dtype == torch.float32


def test_edits_are_made_in_float32(step, monkeypatch):
    seen, edit, objective = [], DescentEditor.edit, EditableObjective(EDITABLE)

    def watched(self, model, inputs, *args, **options):
        made = edit(self, model, inputs, *args, **options)
        seen.append((inputs.dtype, made.loss.dtype, torch.is_autocast_enabled("cpu")))
        return made

    monkeypatch.setattr(DescentEditor, "edit", watched)
    steps = [losses_of(objective, network(), step, mixed).parts["edit_steps"] for mixed in (False, True)]
    assert min(steps) > 0
    assert seen == [(torch.float32, torch.float32, False)] * 2


@pytest.mark.parametrize(
    ("architecture", "objective"), [("resnet18", EditableObjective(EDITABLE)), ("cnp_resnet18", CnpObjective(CNP))]
)
def test_a_step_that_edits_is_the_same_with_channels_last(architecture, objective, step):
    losses, gradients = {}, {}
    for order in (torch.contiguous_format, torch.channels_last):
        # In float64: rounding in float32 moves activations over the edge of a ReLU.
        model, mine = network(architecture).double().to(memory_format=order), copy.deepcopy(objective).double()
        given = replace(step, inputs=step.inputs.double().to(memory_format=order))
        losses[order] = losses_of(mine, model, given, mixed_precision=False)
        wanted = (*model.parameters(), *mine.parameters())
        found = torch.autograd.grad(losses[order].total, wanted, allow_unused=True, materialize_grads=True)
        gradients[order] = torch.cat([value.flatten() for value in found])
    found, expected = gradients[torch.channels_last], gradients[torch.contiguous_format]
    assert losses[torch.channels_last].parts["edit_steps"] == losses[torch.contiguous_format].parts["edit_steps"]
    assert float((found - expected).norm() / expected.norm()) < 1e-10


@pytest.mark.parametrize("mixed", [False, True])
def test_networks_are_trained_with_channels_last_and_kept_as_they_were(fit, make_resnet, tmp_path, mixed):
    orders = set()

    class Watched(CrossEntropy):
        def forward(self, model: nn.Module, step: Step) -> Losses:
            weight = model.get_parameter("chain1.0.conv1.weight")
            orders.add((weight.is_contiguous(), weight.is_contiguous(memory_format=torch.channels_last)))
            return super().forward(model, step)

    def stop(epoch: Epoch) -> None:
        raise KeyboardInterrupt

    def run(folder: str, **more: Any) -> Trained:
        return fit(Watched(), model=make_resnet(), folder=folder, epochs=2, mixed_precision=mixed, **more)

    trained = run("whole")
    assert orders == {(not mixed, mixed)}
    kept = load_state(tmp_path / "whole" / CHECKPOINT)["kept"]
    assert all(value.is_contiguous() for value in (*kept.values(), *trained.model.state_dict().values()))
    with pytest.raises(KeyboardInterrupt):
        run("broken", on_epoch=stop)
    assert_same(run("broken"), trained)


def test_a_training_learns_in_it_and_is_judged_in_full_precision(fit, make_model):
    model = make_model()
    seen = SeesConvolutions(model)
    history = fit(model=model, epochs=8, mixed_precision=True).history
    assert history[-1].train_loss < 0.7 * history[0].train_loss
    assert seen.training == {torch.bfloat16}
    assert seen.evaluation == {torch.float32}
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_steps_are_timed_in_the_precision_they_are_trained_in(make_model, dataset, plan):
    seen = []

    class Watched(CrossEntropy):
        def forward(self, model: nn.Module, step: Step) -> Losses:
            seen.append(torch.is_autocast_enabled("cpu"))
            return super().forward(model, step)

    for mixed in (False, True):
        step_cost(make_model(), Watched(), dataset, replace(plan, mixed_precision=mixed), count=2)
    assert seen == [False] * 3 + [True] * 3
