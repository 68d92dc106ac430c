"""Editing, scoring and Editable Training work on the model itself: no step of them copies a model or its weights."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import editors
from baselines import dknn
from baselines.cnp import CnpObjective, CnpTerms
from baselines.editable import EditableObjective, EditableTerms, EditObjective
from baselines.objectives import Step
from benchmarks import models
from benchmarks.data.dataset import Dataset
from benchmarks.scoring.requests import draw_requests
from benchmarks.scoring.scorer import Scorer
from editors.constraints import predicts

TESTS = Path(__file__).parents[1]
OF_THE_HEAD = ("grace", "minimal_repair", "rank_one")


@pytest.fixture
def no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever copies a module or a tensor deeply fails; tests may."""
    original = copy.deepcopy

    def refusing(value: Any, *arguments: Any, **options: Any) -> Any:
        caller = Path(sys._getframe(1).f_code.co_filename)
        if isinstance(value, nn.Module | Tensor) and not caller.is_relative_to(TESTS):
            raise AssertionError(f"{caller} copies a {type(value).__name__}")
        return original(value, *arguments, **options)

    monkeypatch.setattr(copy, "deepcopy", refusing)


def network(name: str, **options: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return models.make(name, channels=1, classes=4, width=2, **options).eval()


def edited_by(name: str, dataset: Dataset) -> tuple[nn.Module, str]:
    """A model that the editor can edit, and the part of it."""
    if name == "condition_vector":
        return network("cnp_resnet18"), "condition"
    if name == "flip_labels":
        inputs = dataset.inputs(dataset.train.images)
        return dknn.from_network(network("resnet18"), inputs, dataset.train.labels, classes=4, k=5), "votes"
    return network("resnet18"), "head" if name in OF_THE_HEAD else "chain3"


@pytest.mark.parametrize("name", editors.available())
def test_edits_and_their_records_copy_nothing(name, dataset, no_copies):
    model, layers = edited_by(name, dataset)
    requests = draw_requests(dataset.test, 4, 6, "copies")
    scorer = Scorer(model, layers, dataset, dataset.test, requests)
    inputs = scorer.inputs(dataset.train.images)
    editor = editors.build(name)
    if editor.needs_statistics:
        known = editor.statistics(scorer.model, inputs, dataset.train.labels, scorer.layers)
        editor = editor.informed(known)
    wanted = (int(scorer.model(inputs[:1]).argmax()) + 1) % 4
    one = editor.edit(scorer.model, inputs[:1], predicts(wanted), layers=scorer.layers)
    many, _ = scorer.edit(editor, range(6))
    assert len([scorer.record(row, edit) for row, edit in enumerate(many)]) == 6
    assert not all(edit.unchanged for edit in [one, *many])


def editable(**options: Any) -> EditObjective:
    return EditableObjective(EditableTerms(editor="rmsprop", layers="chain3", c_edit=0.1, c_loc=0.1, **options))


def step_of(dataset: Dataset, seed: int = 0) -> Step:
    inputs = dataset.inputs(dataset.train.images)
    return Step(inputs[:12], dataset.train.labels[:12], seed, lambda count: inputs[12 : 12 + count])


@pytest.mark.parametrize("reference_mode", ["eval", "train"])
@pytest.mark.parametrize("recipe", ["editable", "cnp"])
def test_a_step_of_editable_training_copies_nothing(recipe, reference_mode, dataset, no_copies):
    options = {"edits": 2, "reference_mode": reference_mode}
    made = editable(**options) if recipe == "editable" else CnpObjective(CnpTerms(c_edit=0.1, c_loc=0.1, **options))
    model = network("resnet18" if recipe == "editable" else "cnp_resnet18").train()
    optimizer = torch.optim.Adam([*model.parameters(), *made.parameters()], lr=1e-3)
    for seed in range(3):
        optimizer.zero_grad()
        made(model, step_of(dataset, seed)).total.backward()
        optimizer.step()


def test_a_copy_would_be_seen(dataset, no_copies):
    model = network("resnet18")
    edit = editors.build("rmsprop").edit(model, dataset.inputs(dataset.test.images[:1]), predicts(3))
    with pytest.raises(editors.EditError, match="copies a Sequential"):
        edit.apply(model)


def calls_of(part: nn.Module, work: Callable[[], object]) -> int:
    calls: list[None] = []
    hook = part.register_forward_hook(lambda *_: calls.append(None))
    work()
    hook.remove()
    return len(calls)


@pytest.mark.parametrize("reference_mode", ["eval", "train"])
@pytest.mark.parametrize("edits", [1, 3])
def test_what_is_before_the_edited_part_runs_twice_in_a_training_step(edits, reference_mode, dataset):
    """Once for the base loss and once, in evaluation mode, for all edits, however many steps they take."""
    model = network("resnet18").train()
    made = editable(edits=edits, reference_mode=reference_mode, max_steps=4)
    most = 0.0

    def run(seed: int) -> None:
        nonlocal most
        losses = made(model, step_of(dataset, seed))
        losses.total.backward()
        most = max(most, float(losses.parts["edit_steps"]))

    for part in ("stem", "chain1", "chain2"):
        assert [calls_of(model.get_submodule(part), lambda seed=seed: run(seed)) for seed in range(4)] == [2] * 4
    assert most > 1
