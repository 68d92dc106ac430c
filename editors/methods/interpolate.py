"""Edited and original weights mixed: as little of the edit as the constraint needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from editors.backtracking import mixed_back, refuse_graph
from editors.contract import Constraint, Editor, EditResult, Layers, Request
from editors.hyperparameters import check_steps, hyperparameter
from editors.methods.rmsprop import RMSProp
from editors.registry import register
from editors.selection import select_parameters


@register("interpolate")
@dataclass(frozen=True, kw_only=True)
class Interpolate(Editor):
    """θ⁰ + a (θ̂ − θ⁰), with θ̂ from RMSProp and a the smallest mixing factor at which the constraint still holds.

    Source: Ilharco et al., NeurIPS 2022 (PAINT), who choose a on held-out data; here by bisection, for each edit

    Its gradient steps are RMSProp's. An edit that fails stays where RMSProp ended.
    """

    lr: float | Tensor = hyperparameter(1e-3, low=1e-5, high=1e-1, log=True)
    max_steps: int = 10

    def __post_init__(self) -> None:
        check_steps(self.max_steps)

    def edit(
        self,
        model: nn.Module,
        inputs: Any,
        constraint: Constraint,
        layers: Layers = None,
        differentiable: bool = False,
    ) -> EditResult:
        refuse_graph("interpolate", differentiable)
        edit = self._rule.edit(model, inputs, constraint, layers)
        return _mixed(edit, Request(inputs, constraint), layers)

    def edit_many(
        self,
        model: nn.Module,
        requests: Sequence[Request | tuple[Any, Constraint]],
        layers: Layers = None,
        differentiable: bool = False,
    ) -> list[EditResult]:
        refuse_graph("interpolate", differentiable)
        edits = self._rule.edit_many(model, requests, layers)
        return [_mixed(edit, Request(*request), layers) for edit, request in zip(edits, requests, strict=True)]

    @property
    def _rule(self) -> RMSProp:
        return RMSProp(lr=self.lr, max_steps=self.max_steps)


def _mixed(edit: EditResult, request: Request, layers: Layers) -> EditResult:
    return mixed_back(edit, select_parameters(edit.model, layers), request)
