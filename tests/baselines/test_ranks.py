"""Two processes that share out the batches of a training end as one process that computes their shares in turns."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from baselines.editable import EditableTerms
from baselines.images import ImageBatches
from baselines.objectives import Distillation, Step
from baselines.ranks import Shared, SharedDistillation, SharedEditable, share
from baselines.training import Losses

RANKS = 2
TERMS = EditableTerms(editor="rmsprop", layers="chain4", c_edit=0.5, c_loc=0.5, max_steps=3)
OBJECTIVES = {"distilled": SharedDistillation, "editable": SharedEditable}


def made(name: str, model: nn.Module) -> Shared:
    given = model if name == "distilled" else TERMS
    return OBJECTIVES[name](given).on(RANKS)


def gradients(objective: Shared, model: nn.Module, step: Step) -> dict[str, torch.Tensor]:
    """By parameter, in float64, after a second step as well: the first leaves its statistics behind.

    Beside them is what is logged.
    """
    for _ in range(2):
        for value in (*model.parameters(), *objective.parameters()):
            value.grad = None
        losses = objective(model.train(), step)
        losses.total.backward()
    found = {name: value.grad for name, value in nn.ModuleList([model, objective]).named_parameters()}
    told = {"logits": losses.logits, "total": losses.total.detach(), **losses.parts}
    return {name: value for name, value in found.items() if value is not None} | told


def rank(number: int, folder: Path, work) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/met", rank=number, world_size=RANKS)
    torch.save(work(), folder / f"{number}.pt")
    dist.destroy_process_group()


def on_two_processes(folder: Path, work) -> list:
    """What ``work()`` gives in each of two processes that know of each other."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=rank, args=(number, folder, work)) for number in range(RANKS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    return [torch.load(folder / f"{number}.pt", weights_only=True) for number in range(RANKS)]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_are_those_of_one_process_with_the_same_batch(name, dataset, plan, make_resnet, tmp_path):
    step = next(iter(ImageBatches(dataset).epoch(plan, ("axes",)).batches()))
    step = Step(step.inputs.double(), step.labels, step.seed, lambda count: step.inputs[:count].double())
    model = make_resnet().double()
    start = {key: value.clone() for key, value in model.state_dict().items()}

    def found() -> dict[str, torch.Tensor]:
        model.load_state_dict(start)
        teacher = make_resnet().double()
        nn.init.normal_(teacher.head.linear.weight, generator=torch.Generator().manual_seed(1))
        return gradients(made(name, teacher).double(), model, step)

    first, second = on_two_processes(tmp_path, found)
    expected = found()
    assert first.keys() == second.keys() == expected.keys()
    assert sum(float(value.norm()) for key, value in expected.items() if key != "logits") > 0.1
    for key, value in expected.items():
        torch.testing.assert_close(first[key], value, rtol=1e-5, atol=1e-9)
        assert torch.equal(first[key], second[key])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_training_ends_as_in_one_process_and_only_the_first_of_two_writes(name, fit, make_resnet, tmp_path):
    def trained() -> dict[str, torch.Tensor]:
        folder = f"{dist.get_rank()}" if dist.is_initialized() else "alone"
        done = fit(made(name, make_resnet()), model=make_resnet(), epochs=1, lr=1e-4, folder=folder)
        return dict(done.model.state_dict()) | {"train_error": torch.tensor(done.kept.scores["train_error"])}

    first, second = on_two_processes(tmp_path, trained)
    assert [(tmp_path / folder / "checkpoint.pt").exists() for folder in "01"] == [True, False]
    for key, value in trained().items():
        torch.testing.assert_close(first[key], value, rtol=1e-3, atol=1e-5)
        assert torch.equal(first[key], second[key]) or "running" in key


def test_shares_divide_the_batch_and_draw_edits_of_their_own():
    inputs = torch.arange(7.0)[:, None, None, None]
    step = Step(inputs, torch.arange(7), seed=5, apart=lambda count: torch.arange(float(count)))
    shares = [share(step, number, 3) for number in range(3)]
    assert sorted(label for one in shares for label in one.labels.tolist()) == list(range(7))
    assert len({one.seed for one in shares}) == 3
    assert sorted(torch.cat([one.apart(2) for one in shares]).tolist()) == list(range(6))


def test_the_mean_of_shares_is_that_of_the_objective_on_each(dataset, plan, make_model):
    """Of the teacher's answers, on each half of the batch, by hand."""
    step = next(iter(ImageBatches(dataset).epoch(plan, ("axes",)).batches()))
    model, teacher = make_model(1).train(), make_model(2)
    losses = SharedDistillation(teacher).on(RANKS)(model, step)
    assert isinstance(losses, Losses)
    plain = Distillation(teacher)
    halves = [plain(make_model(1).train(), share(step, number, RANKS)) for number in range(RANKS)]
    torch.testing.assert_close(losses.total, sum(half.total for half in halves) / RANKS)
    torch.testing.assert_close(losses.logits[1::2], halves[1].logits)
