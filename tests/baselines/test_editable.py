"""Editable Training: every loss and every gradient against something computed in another way."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy.special import rel_entr
from torch import Tensor, nn

import editors
from baselines.editable import EditableObjective, EditableTerms, EditObjective, EditTerms
from baselines.objectives import CrossEntropy, Distillation, Step
from benchmarks.errors import InputError

CLASSES = 4
GRADIENT_EDITORS = ["gd", "scaled_gd", "rmsprop", "momentum", "adam"]
SMOOTH = {"gd": {"lr": 0.05}, "rmsprop": {"lr": 0.02, "eps": 9e-3}, "adam": {"lr": 0.02, "eps": 9e-3}}
"""Learning rates too small to succeed in three steps, and ``eps`` large enough for finite differences."""


@pytest.fixture
def model(generator: torch.Generator) -> nn.Sequential:
    """Smooth, in float64, in training mode, with batch norm before, inside and after what is edited."""

    def part(before: int, after: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(before, after), nn.BatchNorm1d(after, momentum=0.0), nn.Tanh())

    middle = part(6, 6).append(nn.Linear(6, 6))  # not bounded by a tanh, so that some edits succeed
    head = nn.Sequential(nn.BatchNorm1d(6, momentum=0.0), nn.Linear(6, CLASSES))
    made = nn.Sequential(OrderedDict(stem=part(5, 6), chain3=middle, head=head)).double()
    with torch.no_grad():
        for value in made.parameters():
            value.copy_(torch.randn(value.shape, generator=generator, dtype=torch.float64) * 0.8)
        for name, value in made.named_buffers():
            if name.endswith(("mean", "var")):
                value.copy_(torch.rand(value.shape, generator=generator, dtype=torch.float64) + 0.3)
    return made.train()


@pytest.fixture
def step(generator: torch.Generator) -> Step:
    inputs, others = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(CLASSES, (6,), generator=generator)
    return Step(inputs, labels, seed=3, apart=lambda count: others[:count])


def objective(editor: str = "rmsprop", layers: str = "chain3", **options: Any) -> EditableObjective:
    terms = {"c_edit": 0.7, "c_loc": 1.3, "max_steps": 3, "hyperparameters": SMOOTH.get(editor, {})}
    return EditableObjective(EditableTerms(editor=editor, layers=layers, **{**terms, **options})).double()


def seeded(step: Step, seed: int) -> Step:
    """The same batch with another edit."""
    others = step.apart(6).roll(-seed, 0)
    return replace(step, seed=seed, apart=lambda count: others[:count])


def ending(model: nn.Module, step: Step, made: EditObjective, wanted: float) -> Step:
    """The step with the first seed whose edit ends with that success (0 or 1) after at least one gradient step."""
    for seed in range(100):
        tried = seeded(step, seed)
        parts = made(model, tried).parts
        if parts["edit_success"] == wanted and parts["edit_steps"] > 0:
            return tried
    raise AssertionError("no such edit")


def with_reference(made: EditObjective, logits: Tensor) -> EditObjective:
    """The same objective, parameters shared, with p given by ``logits`` once and for all."""
    fixed = copy.copy(made)
    fixed._reference = lambda suffix, features: logits  # type: ignore[method-assign]
    return fixed


def central_difference(function: Callable[[], float], value: Tensor, direction: Tensor, size: float = 1e-5) -> float:
    """The derivative along ``direction`` from four points, so that the error is of fourth order."""
    original, total = value.detach().clone(), 0.0
    for place, weight in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
        with torch.no_grad():
            value.copy_(original + place * size * direction)
        total += weight * function()
    with torch.no_grad():
        value.copy_(original)
    return total / (12 * size)


def assert_gradients_are_right(model: nn.Module, made: EditObjective, step: Step, value: Callable[[], float]) -> None:
    """Those of every parameter, along a direction of its own, against differences of ``value``."""
    generator = torch.Generator().manual_seed(11)
    named = {**dict(model.named_parameters()), **dict(made.named_parameters())}
    gradients = torch.autograd.grad(made(model, step).total, list(named.values()))
    for (name, parameter), gradient in zip(named.items(), gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        expected = central_difference(value, parameter, direction)
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=2e-5, abs=2e-8), name


@pytest.mark.parametrize("reference_mode", ["eval", "train"])
@pytest.mark.parametrize("locality", ["kl", "cross_entropy"])
def test_gradient_equals_finite_differences_where_nothing_is_detached(model, step, locality, reference_mode):
    made = objective(locality=locality, reference_mode=reference_mode, detach_reference=False)
    step = ending(model, step, made, 0.0)
    assert_gradients_are_right(model, made, step, lambda: float(made(model, step).total.detach()))


@pytest.mark.parametrize(
    ("editor", "layers"), [*((editor, "chain3") for editor in GRADIENT_EDITORS), ("rmsprop", "all")]
)
@pytest.mark.parametrize("succeeds", [0.0, 1.0])
def test_gradient_equals_finite_differences_with_the_reference_held_fixed(model, step, editor, layers, succeeds):
    options = {"hyperparameters": {**SMOOTH.get(editor, {}), "lr": 0.09}, "max_steps": 4} if succeeds else {}
    made = objective(editor, layers, **options)
    step = ending(model, step, made, succeeds)
    steps = float(made(model, step).parts["edit_steps"])
    held = with_reference(made, model.eval()(torch.cat([step.inputs, step.apart(1)])).detach())
    model.train()

    def value() -> float:
        losses = held(model, step)
        assert losses.parts["edit_steps"] == steps
        return float(losses.total.detach())

    assert_gradients_are_right(model, made, step, value)


@dataclass(frozen=True)
class Expected:
    """What one edit should give, computed without the objective."""

    edit: float
    locality: float
    steps: int
    succeeded: bool


def expected(model: nn.Module, step: Step, made: EditableObjective, image: Tensor, label: int) -> Expected:
    """Formulas (3) and (4), one image at a time, with the whole model and scipy's relative entropy."""
    settled = copy.deepcopy(model)
    settled(step.inputs)  # the base loss moves the running statistics first
    settled.eval()
    editor = editors.build(made.terms.editor, **made.editor_parameters(), max_steps=made.terms.max_steps)
    edit = editor.edit(settled, image[None], editors.constraints.predicts(label), "chain3")
    patched = edit.apply(settled)
    before = [settled(one[None]).softmax(dim=1).detach().numpy() for one in step.inputs]
    after = [patched(one[None]).softmax(dim=1).detach().numpy() for one in step.inputs]
    locality = sum(float(rel_entr(p, q).sum()) for p, q in zip(before, after, strict=True)) / len(before)
    margin = patched(image[None]).log_softmax(dim=1)[0]
    return Expected(max(0.0, (margin.max() - margin[label]).item()), locality, edit.steps, edit.succeeded)


@pytest.mark.parametrize("edited_image", ["apart", "of_batch"])
def test_losses_are_those_of_formulas_2_to_4_row_by_row(model: nn.Sequential, step: Step, edited_image: str) -> None:
    """Locality is over the batch alone; of an edited image that is of the batch, it is part of it."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 0.2
    made = objective(max_steps=2, hyperparameters={"lr": 0.05}, edited_image=edited_image)
    edited = step.apart(6) if edited_image == "apart" else step.inputs
    table = {
        (place, label): expected(model, step, made, image, label)
        for place, image in enumerate(edited)
        for label in range(CLASSES)
    }
    met: set[tuple[int, int]] = set()
    for seed in range(60):
        fresh = copy.deepcopy(model)
        losses = made(fresh, seeded(step, seed))
        parts = {name: float(value) for name, value in losses.parts.items()}
        found = [
            key
            for key, value in table.items()
            if parts["locality_loss"] == pytest.approx(value.locality, rel=1e-9, abs=1e-12)
            and parts["edit_loss"] == pytest.approx(value.edit, rel=1e-9, abs=1e-12)
            and parts["edit_steps"] == value.steps
            and parts["edit_success"] == float(value.succeeded)
        ]
        assert found
        met.update(found)
        base = F.cross_entropy(copy.deepcopy(model)(step.inputs), step.labels)
        assert parts["base_loss"] == pytest.approx(float(base), rel=1e-12)
        total = parts["base_loss"] + 0.7 * parts["edit_loss"] + 1.3 * parts["locality_loss"]
        assert float(losses.total) == pytest.approx(total, rel=1e-12)
        assert edited_image == "of_batch" or seed % 6 in {place for place, _ in found}
    assert {value.succeeded for value in table.values()} == {True, False}
    assert len({place for place, _ in met}) == 6
    assert len({label for _, label in met}) == CLASSES


def test_running_statistics_move_by_the_base_loss_alone(model, step):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 0.2
    plain = copy.deepcopy(model)
    plain(step.inputs)
    objective()(model, step)
    for name, value in plain.named_buffers():
        assert torch.equal(value, dict(model.named_buffers())[name]), name
    assert all(module.training for module in model.modules())


def test_cross_entropy_form_is_larger_by_the_entropy_and_has_the_same_gradient(model, step):
    losses = [objective(locality=form)(model, step) for form in ("kl", "cross_entropy")]
    p = model.eval()(step.inputs).softmax(dim=1)
    entropy = float(-(p * p.log()).sum(dim=1).mean())
    gap = losses[1].parts["locality_loss"] - losses[0].parts["locality_loss"]
    assert float(gap) == pytest.approx(entropy, rel=1e-9)
    for one, other in zip(*(torch.autograd.grad(each.total, list(model.parameters())) for each in losses), strict=True):
        torch.testing.assert_close(one, other)


def test_reference_of_training_mode_is_the_base_pass(model, step):
    made = objective(reference_mode="train", locality="cross_entropy", c_edit=0.0)
    losses = made(model, step)
    usual = objective(locality="cross_entropy", c_edit=0.0)(model, step)
    assert float(losses.parts["locality_loss"]) != pytest.approx(float(usual.parts["locality_loss"]))
    answers = torch.cat([losses.logits, model.eval()(step.apart(1))])
    model.train()
    fixed = with_reference(objective(locality="cross_entropy", c_edit=0.0), answers)
    assert float(fixed(model, step).total) == pytest.approx(float(losses.total), rel=1e-12)


def test_one_seed_means_one_edit(model, step):
    made = objective()
    assert made(model, step).total == made(model, step).total
    others = {float(made(model, seeded(step, seed)).total) for seed in range(20)}
    assert len(others) > 5


@pytest.mark.parametrize("editor", [*GRADIENT_EDITORS, "rprop"])
@pytest.mark.parametrize("stride", [-1e6, 1e6, -30.0, 30.0])
def test_editor_parameters_stay_in_range_after_large_steps(editor, stride):
    made = objective(editor, hyperparameters={}).float()
    with torch.no_grad():
        for value in made.parameters():
            value.add_(stride)
    values = made.editor_parameters()
    for parameter in editors.describe(editor).hyperparameters:
        assert parameter.domain.contains(values[parameter.name])
        assert parameter.low * (1 - 1e-5) <= values[parameter.name] <= parameter.high * (1 + 1e-5)
    editors.build(editor, **values)
    made.editor()


def test_editor_parameters_start_where_they_were_asked_to(model):
    made = objective(hyperparameters={"lr": 2e-3, "beta": 0.25})
    assert made.editor_parameters() == pytest.approx({"lr": 2e-3, "beta": 0.25, "eps": 1e-6}, rel=1e-5)


def test_a_fixed_learning_rate_is_no_parameter(model, step):
    made = objective(learning_rate="fixed", hyperparameters={"lr": 3e-2})
    assert sorted(name for name, _ in made.named_parameters()) == ["raw.beta", "raw.eps"]
    parts = made(model, step).parts
    assert "editor_lr" not in parts
    assert float(parts["editor_beta"]) == pytest.approx(0.5)
    assert made.editor_parameters()["lr"] == 3e-2


STATISTICS_EDITORS = ["covariance", "fisher", "gd_ewc", "rehearsal", "retrain", "rmsprop_ewc"]


@pytest.mark.parametrize(
    ("editor", "fault"),
    [
        *((editor, "is not differentiable") for editor in ("condition_vector", "interpolate", "rank_one")),
        *((editor, "needs statistics of a trained model") for editor in STATISTICS_EDITORS),
    ],
)
def test_an_editor_that_no_training_can_go_through_is_refused_with_those_that_it_can(editor, fault):
    with pytest.raises(InputError) as refused:
        objective(editor, hyperparameters={})
    said, _, allowed = str(refused.value).rpartition(": ")
    assert said.startswith(f"editor '{editor}' {fault}: Editable Training takes those that ")
    assert allowed.split(", ") == ["adam", "gd", "momentum", "polyak", "rmsprop", "rprop", "scaled_gd"]


@pytest.mark.parametrize("editor", ["polyak", "rprop"])
def test_training_goes_through_those_of_which_no_finite_differences_are_taken_above_too(model, step, editor):
    losses = objective(editor, hyperparameters={})(model, step)
    gradients = torch.autograd.grad(losses.total, list(model.parameters()))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert any(bool(gradient.any()) for gradient in gradients)


class Detached(EditObjective):
    """An editor that forgets the graph that it was asked for."""

    def editor(self) -> editors.Editor:
        class Forgetful(type(editors.build("gd"))):  # type: ignore[misc]
            def edit(self, *arguments: Any, differentiable: bool) -> editors.Edit:
                return super().edit(*arguments)

        return Forgetful(lr=1e-3, max_steps=2)


def test_an_edit_without_a_graph_is_refused(model, step):
    made = Detached(EditTerms(c_edit=1.0, c_loc=1.0), "chain3")
    steps = [seeded(step, seed) for seed in range(10)]  # one in four is trivial
    with pytest.raises(InputError, match="edits are not differentiable"):
        [made(model, one) for one in steps]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"c_edit": -1.0}, "c_edit must be a number >= 0, not -1.0"),
        ({"c_loc": float("nan")}, "c_loc must be a number >= 0, not nan"),
        ({"edited_image": "first"}, "edited_image must be one of apart, of_batch, not 'first'"),
        ({"locality": "l2"}, "locality must be one of kl, cross_entropy, not 'l2'"),
        ({"reference_mode": "test"}, "reference_mode must be one of eval, train, not 'test'"),
        ({"learning_rate": "tuned"}, "learning_rate must be one of trained, fixed, not 'tuned'"),
        ({"hyperparameters": {"lr": 0.5}}, "hyperparameters.lr must start between 1e-05 and 0.1 .*not at 0.5"),
    ],
)
def test_bad_options_are_answered_with_what_is_allowed(options, message):
    with pytest.raises(InputError, match=message):
        objective(**options)


def test_with_a_teacher_only_the_base_loss_is_another_one(model, step):
    teacher = copy.deepcopy(model)
    with torch.no_grad():
        teacher.head[1].weight.mul_(1.7)
    bases = [CrossEntropy(), Distillation(teacher)]
    terms = objective().terms
    made = [EditableObjective(terms, base).double()(model, step) for base in bases]
    alone = [base(model, step) for base in bases]
    assert not torch.allclose(alone[0].total, alone[1].total)
    for losses, base in zip(made, alone, strict=True):
        torch.testing.assert_close(losses.parts["base_loss"], base.total)
        extra = terms.c_edit * losses.parts["edit_loss"] + terms.c_loc * losses.parts["locality_loss"]
        torch.testing.assert_close(losses.total, base.total + extra)
    for name in ("edit_loss", "locality_loss", "edit_steps"):
        torch.testing.assert_close(made[0].parts[name], made[1].parts[name])
    trained = dict(EditableObjective(terms, bases[1]).named_parameters())
    assert {name.split(".")[0] for name, value in trained.items() if value.requires_grad} == {"raw"}
