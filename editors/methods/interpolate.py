"""Edited and original weights mixed: as little of the edit as the constraint needs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from editors.backtracking import BisectionEditor, mixed_back
from editors.base import EditResult, Layers, Request
from editors.hyperparameters import check_steps, hyperparameter
from editors.methods.rmsprop import RMSProp
from editors.registry import register
from editors.selection import editable_parameters


@register("interpolate")
@dataclass(frozen=True, kw_only=True)
class Interpolate(BisectionEditor):
    """θ⁰ + a (θ̂ − θ⁰), with θ̂ from RMSProp and a the smallest mixing factor at which the constraint still holds.

    Source: Ilharco et al., NeurIPS 2022 (PAINT), who choose a on held-out data; here by bisection, for each edit

    Its gradient steps are RMSProp's. An edit that fails stays where RMSProp ended.
    """

    lr: float | Tensor = hyperparameter(1e-3, low=1e-5, high=1e-1, log=True, stronger="larger")
    max_steps: int = 10

    def __post_init__(self) -> None:
        check_steps(self.max_steps)

    def bisected(self, model: nn.Module, requests: list[Request], layers: Layers) -> list[EditResult]:
        edits = RMSProp(lr=self.lr, max_steps=self.max_steps).edit_many(model, requests, layers)
        original = editable_parameters(model, layers)
        return [mixed_back(edit, original, request) for edit, request in zip(edits, requests, strict=True)]
