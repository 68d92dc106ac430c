"""The suite's fast ways find what the naive ones find: edits, drawdown and the gradient of Editable Training."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import editors
from baselines import naive
from baselines.editable import EditableObjective, EditableTerms
from baselines.objectives import Step
from benchmarks import models
from benchmarks.networks.model_split import activations, layers_of, split
from benchmarks.seeds import generator
from tests.optional import compiles

CLASSES, K = 4, 4
LEARNING_RATES = {
    ("gd", "all"): 3e-4,
    ("gd", "chain3"): 1e-3,
    ("rmsprop", "all"): 3e-4,
    ("rmsprop", "stem"): 3e-2,
    ("rmsprop", "chain3"): 1e-3,
    ("rmsprop", "head"): 1e-2,
}
"""With these, by editor and layers, some edits of the model below fail and some succeed, after one step or several."""


@pytest.fixture(scope="module")
def inputs() -> Tensor:
    return torch.randn(16, 1, 8, 8, generator=generator("naive", "inputs"), dtype=torch.float64)


@pytest.fixture(scope="module")
def model(inputs: Tensor) -> nn.Sequential:
    """A narrow ResNet-18 in float64 whose answers are spread over all classes; left in training mode."""
    net = models.make("resnet18", channels=1, classes=CLASSES, width=3).double().train()
    source = generator("naive", "weights")
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(torch.randn(value.shape, generator=source, dtype=value.dtype) * 0.4 + (value.dim() == 1))
        for _ in range(30):
            net(inputs)
        logits = net.eval()(inputs)
        net.head.linear.weight /= logits.std(dim=0)[:, None] / 2
        net.head.linear.bias.copy_((net.head.linear.bias - logits.mean(dim=0)) * 2 / logits.std(dim=0))
    return net.train()


def rule(name: str, layers: str) -> naive.Rule:
    lr = LEARNING_RATES[name, layers]
    return naive.GradientDescent(lr) if name == "gd" else naive.RMSProp(lr, 0.6, 1e-6)


@pytest.mark.parametrize(("name", "layers"), LEARNING_RATES)
def test_edits_behind_a_frozen_front_and_in_batches_equal_naive_ones(model, inputs, name, layers):
    part = layers_of(layers)
    targets = torch.randint(CLASSES, (len(inputs),), generator=generator("naive", "targets")).tolist()
    options = {} if name == "gd" else {"beta": 0.6, "eps": 1e-6}
    editor = editors.build(name, lr=LEARNING_RATES[name, layers], **options, max_steps=K)
    prefix, suffix = split(model, part)
    features = activations(prefix, inputs)
    asked = [(one[None], editors.constraints.predicts(label)) for one, label in zip(features, targets, strict=True)]
    together = editor.edit_many(suffix, asked, part)
    single = [editor.edit(suffix, *one, part) for one in asked]
    expected = [
        naive.edit(model, one[None], label, part, rule(name, layers), K)
        for one, label in zip(inputs, targets, strict=True)
    ]
    assert {0, 1, 2, K} <= {edit.steps for edit in expected}
    assert {edit.succeeded for edit in expected} == {True, False}
    for found in (together, single):
        for edit, reference in zip(found, expected, strict=True):
            assert (edit.succeeded, edit.steps) == (reference.succeeded, reference.steps)
            assert sorted(edit.parameters) == sorted(reference.names)
            for key, value in reference.model.named_parameters():
                changed = edit.parameters.get(key, model.get_parameter(key))
                torch.testing.assert_close(changed, value, rtol=0, atol=1e-12)


def gradients(loss: Callable[[nn.Module, nn.Module], Tensor], model: nn.Module, objective: nn.Module) -> dict:
    """Those of every parameter of fresh copies, by name, the editor's own included; 0 for what the loss ignores."""
    model, objective = copy.deepcopy(model).train(), copy.deepcopy(objective)
    named = {**dict(model.named_parameters()), **dict(objective.named_parameters())}
    found = torch.autograd.grad(loss(model, objective), list(named.values()), allow_unused=True)
    return {
        key: torch.zeros_like(value) if gradient is None else gradient
        for (key, value), gradient in zip(named.items(), found, strict=True)
    }


def both_gradients(
    model: nn.Module, step: Step, name: str, layers: str, edited_image: str, compiled: bool = False
) -> tuple[dict, dict, EditableTerms]:
    values = {"lr": LEARNING_RATES[name, layers]} | ({} if name == "gd" else {"eps": 1e-3})
    options = {"max_steps": K, "hyperparameters": values, "edited_image": edited_image}
    terms = EditableTerms(editor=name, layers=layers, c_edit=0.7, c_loc=1.3, **options)
    dtype = step.inputs.dtype

    def naively(net: nn.Module, objective: EditableObjective) -> Tensor:
        editor = objective.editor()
        own = naive.GradientDescent(editor.lr) if name == "gd" else naive.RMSProp(editor.lr, editor.beta, editor.eps)
        return naive.editable_loss(net, step, terms, layers_of(layers), own, K)

    objective = EditableObjective(terms, compiled=compiled).to(dtype)
    found = gradients(lambda net, made: made(net, step).total, model, objective)
    return found, gradients(naively, model, objective), terms


@pytest.mark.parametrize(
    ("name", "layers", "edited_image", "compiled"),
    [
        *[(*one, "apart", False) for one in LEARNING_RATES],
        ("rmsprop", "chain3", "of_batch", False),
        pytest.param("rmsprop", "chain3", "apart", True, marks=compiles),
        pytest.param("gd", "all", "apart", True, marks=[compiles, pytest.mark.slow]),
    ],
)
def test_training_gradient_equals_the_naive_one(
    model: nn.Sequential, inputs: Tensor, name: str, layers: str, edited_image: str, compiled: bool
) -> None:
    labels = torch.randint(CLASSES, (len(inputs),), generator=generator("naive", "labels"))
    taken = set()
    for seed in range(2):
        step = Step(inputs, labels, seed, lambda count, seed=seed: -inputs[seed : seed + count])
        found, expected, terms = both_gradients(model, step, name, layers, edited_image, compiled)
        objective = EditableObjective(terms).double()
        taken.add(int(objective(copy.deepcopy(model), step).parts["edit_steps"]))
        assert any(key.startswith("raw.") for key in expected)
        for key, gradient in expected.items():
            limit = 1e-10 * float(gradient.norm()) + 1e-14
            assert float((found[key] - gradient).norm()) <= limit, (seed, key)
    assert max(taken) > 0
