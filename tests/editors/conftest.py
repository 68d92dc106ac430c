"""Small models and editors that the tests of this folder share."""

import copy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import editors
from editors import registry
from editors.covariance import Covariances, edited_layers
from editors.ewc import ElasticWeightConsolidation
from editors.fisher import Fisher
from editors.methods.covariance import Covariance
from editors.methods.fisher import NaturalGradient
from editors.methods.rehearsal import Rehearsal
from editors.replay import Replay, TrainingData
from editors.selection import select_parameters

Build = Callable[..., editors.Editor]

README = Path(editors.__file__).with_name("README.md").read_text(encoding="utf-8")
EXAMPLE = README.split("```python\n")[1].split("```")[0]
"""The editor that the README adds."""


def _made_as_the_readme_says() -> tuple[str, type[editors.Editor]]:
    """The README's editor and its name; it is registered while the tests of this folder run, and nowhere else."""
    module = sys.modules.setdefault("readme_example", ModuleType("readme_example"))
    before = set(editors.available())
    exec(compile(EXAMPLE, "editors/README.md", "exec"), module.__dict__)
    (added,) = set(editors.available()) - before
    return added, registry._registered.pop(added)


ADDED, ADDED_CLASS = _made_as_the_readme_says()

# Learning rates with which the edits below take some, but not all, of their steps; editors not named use their default.
LEARNING_RATES = {
    "gd": 0.05,
    "scaled_gd": 0.15,
    "rprop": 0.02,
    "rmsprop": 0.02,
    "momentum": 0.03,
    "adam": 0.02,
    "gd_ewc": 0.05,
    "rmsprop_ewc": 0.02,
    "retrain": 0.02,
    "rehearsal": 0.02,
    "interpolate": 0.02,
    ADDED: 0.03,
}

# Forward passes of each step, beside the last check of the constraint.
PASSES = {"rehearsal": 2, "retrain": 2}

# Editors whose edits change no weights; their own tests hold them to what remains of the contract. An editor that is
# not named here or below is held to all of it.
ANSWERING = ("condition_vector", "flip_labels", "grace", "lookup_cache")
# These change no layer but the last.
CLOSED_FORM = ("minimal_repair", "rank_one")
NAMES = [*editors.available(), ADDED]
CHANGING = [name for name in NAMES if name not in (*ANSWERING, *CLOSED_FORM)]
# Editors that search after their last step: not differentiable, and they evaluate the constraint more often.
SEARCHING = ("interpolate",)
RULES = [name for name in CHANGING if name not in SEARCHING]
# A bound on Polyak's step: what the models below make of a longer one depends on the last digit.
LONGEST = {"polyak": 0.1, "covariance": 0.1, "fisher": 0.1}


class ConvNet(nn.Module):
    """Images ``(N, 1, 6, 6)`` to 5 logits, with everything that behaves otherwise in training: batch norm, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh())
        self.chain1 = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh())
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(4 * 9, 5)

    def forward(self, images: Tensor) -> Tensor:
        features = nn.functional.avg_pool2d(self.chain1(self.stem(images)), 2)
        return self.head(self.dropout(features.flatten(1)))


class Informed(editors.Editor):
    """An editor that has the statistics it needs for whatever model it is given, as if they were computed before.

    They are made up: what they should be is tested with each editor, here only that it keeps the contract with them.
    """

    def __init__(self, editor: editors.Editor) -> None:
        self.editor = editor

    def __getattr__(self, name: str) -> Any:
        return getattr(self.editor, name)

    def edit(self, model: nn.Module, inputs: Any, *arguments: Any, **options: Any) -> editors.Edit:
        layers = arguments[1] if len(arguments) > 1 else options.get("layers")
        return self._informed(model, inputs, layers).edit(model, inputs, *arguments, **options)

    def edit_many(self, model: nn.Module, requests: Any, *arguments: Any, **options: Any) -> list[editors.Edit]:
        layers = arguments[0] if arguments else options.get("layers")
        inputs = requests[0][0] if requests else None
        return self._informed(model, inputs, layers).edit_many(model, requests, *arguments, **options)

    def _informed(self, model: nn.Module, inputs: Any, layers: Any) -> editors.Editor:
        try:
            parameters = select_parameters(model, layers)
        except editors.EditError:
            return self.editor  # a request that must be refused, whatever the editor knows
        if isinstance(self.editor, Covariance):
            layers = edited_layers(model, parameters)
            return self.editor.informed(Covariances({layer.weight: _moment(layer.joined()) for layer in layers}))
        if isinstance(self.editor, ElasticWeightConsolidation | NaturalGradient):
            return self.editor.informed(Fisher({key: _importance(value) for key, value in parameters.items()}))
        if isinstance(self.editor, Replay) and inputs is not None:
            if not isinstance(inputs, Tensor):
                pytest.skip("training data are one tensor, and so is what the model takes")
            if isinstance(self.editor, Rehearsal):
                return self.editor.informed(TrainingData(_examples(inputs), _answers(model, _examples(inputs))))
            labels = torch.zeros(2, dtype=torch.int64, device=inputs.device)
            return self.editor.informed(TrainingData(_examples(inputs), labels))
        return self.editor


def _examples(inputs: Tensor) -> Tensor:
    # The same two for all requests of a test, which may differ in values, device and number of rows.
    rows = inputs.shape if inputs.dim() == 1 and inputs.is_floating_point() else inputs.shape[1:]
    examples = torch.linspace(-1, 1, 2 * rows.numel()).view(2, *rows)
    return examples.to(inputs).abs()


def _answers(model: nn.Module, examples: Tensor) -> Tensor:
    # As many as there are classes, which a copy says, so that no test counts this pass.
    with torch.inference_mode(False), torch.no_grad():
        copied = copy.deepcopy(model).eval()
        copied._forward_pre_hooks.clear()
        device = next(copied.parameters()).device
        shape = copied(torch.ones(examples.shape, dtype=examples.dtype, device=device)).shape
    return torch.linspace(-1, 1, shape.numel(), device=examples.device).view(shape).log_softmax(dim=-1)


def _moment(joined: Tensor) -> Tensor:
    root = torch.linspace(0.1, 1, joined.shape[1], dtype=joined.dtype, device=joined.device)
    return root.outer(root) + root.diag()


def _importance(value: Tensor) -> Tensor:
    return torch.linspace(0.1, 1, value.numel(), dtype=value.dtype, device=value.device).view_as(value)


class CountingConstraint:
    """A constraint that knows how often it was evaluated; ``limit`` shifts how hard it is to satisfy."""

    def __init__(self, label: int, limit: float = 0.0) -> None:
        self.label, self.limit, self.calls = label, limit, 0

    def __call__(self, outputs: Tensor) -> Tensor:
        self.calls += 1
        return nn.functional.cross_entropy(outputs, torch.full((len(outputs),), self.label)) - self.limit


def impossible(outputs: Tensor) -> Tensor:
    """Depends smoothly on the outputs and is never satisfied."""
    return torch.tanh(outputs).square().sum() + 1


def assert_same(found: Sequence[editors.EditResult], expected: Sequence[editors.EditResult], atol: float) -> None:
    assert [(edit.succeeded, edit.steps) for edit in found] == [(edit.succeeded, edit.steps) for edit in expected]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.loss, other.loss, rtol=0, atol=atol)
        torch.testing.assert_close(dict(one.parameters), dict(other.parameters), rtol=0, atol=atol)


def one_by_one(editor: editors.Editor, model: nn.Module, requests: Sequence[Any], **options: Any) -> list[Any]:
    return [editor.edit(model, inputs, constraint, **options) for inputs, constraint in requests]


def answer(model: nn.Module, inputs: Tensor) -> int:
    """The label that ``model`` in evaluation mode assigns to one input."""
    return int(copy.deepcopy(model).eval()(inputs).argmax())


def wrong_answer(model: nn.Module, inputs: Tensor) -> int:
    return int(copy.deepcopy(model).eval()(inputs).argmin())


@pytest.fixture(autouse=True)
def _added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._registered, ADDED, ADDED_CLASS)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """Each registered editor in turn."""
    return request.param


@pytest.fixture(params=CHANGING)
def changing(request: pytest.FixtureRequest) -> str:
    """Each registered editor that changes weights in turn."""
    return request.param


@pytest.fixture(params=RULES)
def rule(request: pytest.FixtureRequest) -> str:
    """Each registered editor that does nothing but follow an update rule in turn."""
    return request.param


@pytest.fixture
def build(changing: str) -> Build:
    """Builds the editor ``changing``, with a step size that suits the models below and whatever it must know."""

    def build_with(**values: Any) -> editors.Editor:
        suitable = {"lr": LEARNING_RATES[changing]} if changing in LEARNING_RATES else {}
        if changing.endswith("_ewc"):
            suitable["ewc_lambda"] = 0.5
        if changing in LONGEST:
            suitable["longest"] = LONGEST[changing]
        if changing == "retrain":
            suitable |= {"min_steps": 1, "weight": 10.0}
        return Informed(editors.build(changing, **{**suitable, **values}))

    return build_with


@pytest.fixture
def editor(build: Build) -> editors.Editor:
    return build(max_steps=6)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(2020)


@pytest.fixture
def model(generator: torch.Generator) -> nn.Module:
    """A float64 :class:`ConvNet` left in training mode, as a user would hand it over between two epochs."""
    net = ConvNet().double().train()
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(torch.randn(value.shape, generator=generator, dtype=value.dtype) * 0.3)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(generator=generator)
                module.running_var.uniform_(0.5, 2.0, generator=generator)
    net.stem[1].eval()
    net.head.bias.requires_grad_(False)
    return net


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    """``(12, 1, 1, 6, 6)``: the inputs of twelve edits."""
    return torch.randn(12, 1, 1, 6, 6, generator=generator, dtype=torch.float64)


@pytest.fixture
def passes(changing: str) -> int:
    """Forward passes that each step of ``changing`` takes."""
    if changing in SEARCHING:
        pytest.skip("it evaluates the constraint after its last step as well")
    return PASSES.get(changing, 1)


@pytest.fixture
def graphs(changing: str) -> bool:
    """Whether edits of ``changing`` are differentiable."""
    return changing in RULES


def head_after_adam(
    model: nn.Module, loss: Callable[[nn.Module, Tensor], Tensor], steps: int, lr: float, seed: int
) -> dict[str, Tensor]:
    """The head of ``model`` after so many steps of torch's Adam on ``loss(model, rows)``, at most six.

    Rows are numbers below 10 in batches of 4, shuffled anew once all were seen.
    """
    moving = copy.deepcopy(model).eval().requires_grad_(False)
    moving.head.requires_grad_()
    optimizer = torch.optim.Adam(moving.head.parameters(), lr=lr)
    source = torch.Generator().manual_seed(seed)
    rows = [part for _ in range(2) for part in torch.randperm(10, generator=source).split(4)]
    for chosen in rows[:steps]:
        optimizer.zero_grad()
        loss(moving, chosen).backward()
        optimizer.step()
    return {f"head.{name}": value.detach() for name, value in moving.head.named_parameters()}
