"""Every loop of this suite written the obvious way: the reference for its tests and for the report on its speed.

Nothing is shared between two edits, two steps or two images: one edit at a time on a copy of the whole model, a number
fetched at every step, the frozen front run again each time, a full forward pass of the control images per edit. Only
the definitions are those of everything else (*Editable Neural Networks*, Sinitsin et al., ICLR 2020, section 3).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from baselines.editable import OF_BATCH, EditTerms
from baselines.objectives import Step
from benchmarks.seeds import generator

Number = float | Tensor


class Rule(Protocol):
    """An update rule for one edit; what it remembers is kept in the object, as in ``torch.optim``."""

    def step(self, gradients: list[Tensor]) -> list[Tensor]:
        """What to add to each parameter."""


class GradientDescent(Rule):
    """θ ← θ − α g."""

    def __init__(self, lr: Number) -> None:
        self.lr = lr

    def step(self, gradients: list[Tensor]) -> list[Tensor]:
        return [-self.lr * gradient for gradient in gradients]


class RMSProp(Rule):
    """θ ← θ − α g / √(v + ε), v₀ = g₀², v ← β v + (1 − β) g² afterwards."""

    def __init__(self, lr: Number, beta: Number, eps: Number) -> None:
        self.lr, self.beta, self.eps = lr, beta, eps
        self.mean_squares: list[Tensor] = []

    def step(self, gradients: list[Tensor]) -> list[Tensor]:
        squares = [gradient * gradient for gradient in gradients]
        if self.mean_squares:
            pairs = zip(self.mean_squares, squares, strict=True)
            squares = [self.beta * old + (1 - self.beta) * new for old, new in pairs]
        self.mean_squares = squares
        pairs = zip(gradients, squares, strict=True)
        return [-self.lr * gradient / (square + self.eps).sqrt() for gradient, square in pairs]


@dataclass(frozen=True)
class Edited:
    """A patched copy of a model, and how the edit went; ``names`` are the parameters that it could change."""

    model: nn.Module
    names: list[str]
    succeeded: bool
    steps: int


def margin(logits: Tensor, label: int) -> Tensor:
    """``l_e`` of one image's logits ``(1, C)``: ``max_y log p(y|x) − log p(label|x)``; satisfied iff ``<= 0``."""
    log_p = logits.log_softmax(dim=1)[0]
    return log_p.max() - log_p[label]


def edit(model: nn.Module, image: Tensor, label: int, layers: str | None, rule: Rule, max_steps: int) -> Edited:
    """Change ``layers`` (None for all) of a copy of ``model`` until it assigns ``image (1, C, H, W)`` to ``label``."""
    patched = copy.deepcopy(model).eval()
    chosen = dict(_chosen(patched, layers))
    steps = 0
    while True:
        loss = margin(patched(image), label)
        if loss.item() <= 0 or steps == max_steps:
            return Edited(patched, list(chosen), loss.item() <= 0, steps)
        gradients = torch.autograd.grad(loss, list(chosen.values()))
        with torch.no_grad():
            for value, update in zip(chosen.values(), rule.step(list(gradients)), strict=True):
                value += update
        steps += 1


def predictions(model: nn.Module, images: Tensor, chunk: int = 500) -> Tensor:
    """The class ``(N,)`` of each of ``images (N, C, H, W)``, by a full forward pass."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(part).argmax(dim=1) for part in images.split(chunk)])


def drawdown(before: Tensor, after: Tensor, labels: Tensor) -> float:
    """|error after − error before| in percentage points, from predictions and true classes ``(N,)``."""
    wrong_before, wrong_after = (int((answers != labels).sum()) for answers in (before, after))
    return 100.0 * abs(wrong_after - wrong_before) / len(labels)


def editable_loss(model: nn.Module, step: Step, terms: EditTerms, layers: str | None, rule: Rule, k: int) -> Tensor:
    """Objective (2) to (4) for one batch with one edit, in at most ``k`` steps that the gradient goes back through.

    The base loss is taken in training mode; the edit, and p(y|x,θ) and p(y|x,θ̂) of formula (4), in evaluation mode.
    """
    source = generator(step.seed, "edit")
    model.train()
    logits = model(step.inputs)
    base = F.cross_entropy(logits, step.labels)
    if terms.edited_image == OF_BATCH:
        place = int(torch.randint(len(step.labels), (), generator=source))
        image = step.inputs[place : place + 1]
    else:
        image = step.apart(1)
    label = int(torch.randint(logits.shape[1], (), generator=source))
    model.eval()
    with torch.no_grad():
        reference = model(step.inputs).log_softmax(dim=1)
    changed, taken = dict(_chosen(model, layers)), 0
    while True:
        loss = margin(functional_call(model, changed, (image,)), label)
        if loss.item() <= 0 or taken == k:
            break
        gradients = torch.autograd.grad(loss, list(changed.values()), create_graph=True)
        pairs = zip(changed.items(), rule.step(list(gradients)), strict=True)
        changed = {name: value + update for (name, value), update in pairs}
        taken += 1
    edited = functional_call(model, changed, (step.inputs,)).log_softmax(dim=1)
    locality = (reference.exp() * (reference - edited)).sum(dim=1).mean()
    model.train()
    return base + terms.c_edit * loss.clamp(min=0) + terms.c_loc * locality


def _chosen(model: nn.Module, layers: str | None) -> Iterator[tuple[str, nn.Parameter]]:
    for name, value in model.named_parameters():
        if layers is None or name.startswith(f"{layers}."):
            yield name, value
