"""A kind of task of one's own, as benchmarks/README.md shows it: what its package and its adapter would hold.

A small network learns a curve. An edit moves the curve to another height at one place; its drawdown is how far that
changes the error everywhere else.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

import editors
from baselines.model_files import WEIGHTS, load_weights
from benchmarks.control_set import control_set
from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from benchmarks.metrics import Column, Estimate, Measures
from benchmarks.networks.model_split import layers_of
from benchmarks.scoring.sequential import turn
from benchmarks.seeds import generator, seed
from pipelines.config.blocks import Benchmark, Name, Training
from pipelines.reporting.tables.paper import leaderboard
from pipelines.reporting.tables.presentation import Presentation, Table
from pipelines.tasks.base import EditSet, Made, Task

TOLERANCE = 0.05
NEAR = torch.tensor([[-0.1], [-0.05], [0.05], [0.1]])

# What is edited and how that is scored: in a package of benchmarks/.


class Points(NamedTuple):
    """Heights ``y`` of the curve at the places ``x``, both ``(N, 1)``."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class CurveData:
    fingerprint: str
    train: Points
    tuning: Points
    test: Points


@dataclass(frozen=True)
class Height:
    """The constraint that the curve has this height, give or take the tolerance."""

    y: float

    def __call__(self, heights: Tensor) -> Tensor:
        return (heights - self.y).abs().amax() - TOLERANCE


@dataclass(frozen=True)
class CurveRecord:
    """What one edit did: the error on control points, and how many of the places ``near`` follow the edit."""

    edit: int
    trivial: bool
    succeeded: bool
    steps: int
    rmse_before: float
    rmse_after: float
    near: int
    near_before: int
    near_after: int


@dataclass(frozen=True)
class CurveRowRecord:
    """One edit in a row, after which ``wrong_after`` control points are farther off than the tolerance."""

    order: int
    edit: int
    succeeded: bool
    control_size: int
    wrong_before: int
    wrong_after: int
    earlier_in_force: int
    in_force: bool


CURVES = Measures(
    drawdown="rmse_drawdown",
    quality="rmse",
    means={
        "rmse_drawdown": lambda records: (records["rmse_after"] - records["rmse_before"]).abs(),
        "generality": lambda records: 100 * records["near_after"] / records["near"],
        "generality_before": lambda records: 100 * records["near_before"] / records["near"],
        "num_steps": lambda records: records["steps"],
    },
    columns={
        "rmse": Column("RMSE", "", 3),
        "rmse_drawdown": Column("Drawdown", "", 3),
        "success_rate": Column("Success", "%", 1),
        "generality": Column("Generality", "%", 1),
        "generality_before": Column("before the edit", "%", 1),
        "num_steps": Column("Steps", "", 2),
    },
    asked=("edit",),
)


@dataclass(frozen=True)
class Rmse:
    """How good a curve is before any edit: a :class:`benchmarks.metrics.Quality`."""

    value: float
    points: int

    name: ClassVar[str] = "rmse"
    signature: ClassVar[str] = ""
    timings: ClassVar[dict[str, float]] = {}

    @property
    def estimate(self) -> Estimate:
        return Estimate(self.value, math.nan, math.nan)

    @property
    def measured_on(self) -> str:
        return f"{self.points} test points"

    def difference(self, other: "Rmse", name: str) -> tuple[Estimate, str]:
        return Estimate(self.value - other.value, math.nan, math.nan), f"the same {self.measured_on}"


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))


@torch.no_grad()
def rmse(model: Callable[[Tensor], Tensor], points: Points) -> float:
    return float((model(points.x) - points.y).square().mean().sqrt())


@torch.no_grad()
def holding(model: Callable[[Tensor], Tensor], places: Tensor, wanted: Height) -> int:
    return sum(bool(wanted(height) <= 0) for height in model(places))


class CurveScorer:
    """Edits of one curve, each alone or all in a row, and what they do to the points of a split."""

    def __init__(
        self, model: nn.Module, layers: str, data: CurveData, points: Points, axes: tuple, count: int, size: int | None
    ) -> None:
        self.model, self.layers, self.count, self.control_size = model, layers_of(layers), count, size
        self._train, self._points, self._axes = data.train, points, axes
        draws = torch.rand(count, 2, generator=generator(*axes, "requests")) * 2 - 1
        self.requests = [editors.Request(draw[:1].view(1, 1), Height(float(draw[1]))) for draw in draws]

    @property
    def examples(self) -> int:
        return len(self._points.x)

    def edit(self, editor: editors.Editor, rows) -> tuple[list[editors.Edit], float]:
        began = time.perf_counter()
        edits = editor.edit_many(self.model, [self.requests[row] for row in rows], layers=self.layers)
        return edits, 1e3 * (time.perf_counter() - began) / len(rows)

    def records(self, rows, edits, *, generality: bool = True, every: bool = False) -> list[CurveRecord]:
        return [self._record(row, edit, generality, every) for row, edit in zip(rows, edits, strict=True)]

    def _record(self, row: int, edit: editors.Edit, generality: bool, every: bool) -> CurveRecord:
        (place, wanted), near = self.requests[row], NEAR if generality else NEAR[:0]
        chosen = control_set(self.examples, None if every else self.control_size, seed(*self._axes, row))
        control = self._points if chosen is None else Points(self._points.x[chosen], self._points.y[chosen])
        return CurveRecord(
            edit=row,
            trivial=bool(holding(self.model, place, wanted)),
            succeeded=edit.succeeded,
            steps=edit.steps,
            rmse_before=rmse(self.model, control),
            rmse_after=rmse(edit.predict, control),
            near=len(near),
            near_before=holding(self.model, place + near, wanted),
            near_after=holding(edit.predict, place + near, wanted),
        )

    def run(self, editor: editors.Editor, order: int) -> list[CurveRowRecord]:
        model, asked, records = self.model, [], []
        for number, row in enumerate(turn(self.count, order, *self._axes), start=1):
            edit, before = editor.edit(model, *self.requests[row], layers=self.layers), self._wrong(model)
            model = edit.apply(model) if edit.succeeded else model
            asked.append(self.requests[row])
            held = [bool(holding(model, *request)) for request in asked]
            counts = (self.examples, before, self._wrong(model), sum(held[:-1]), held[-1])
            records.append(CurveRowRecord(order, number, edit.succeeded, *counts))
        return records

    def _wrong(self, model: nn.Module) -> int:
        return sum(not holding(model, x[None], Height(float(y))) for x, y in zip(*self._points, strict=True))

    def statistics(self, editor: editors.Editor):
        return editor.statistics(self.model, self._train.x, None, self.layers)

    def described(self) -> dict[str, float]:
        return {"test_points": self.examples, "rmse": rmse(self.model, self._points)}

    def columns(self) -> dict:
        return {}


# The adapter: one module in pipelines/tasks/.


class PlainTraining(Training):
    recipe: Literal["plain"]
    epochs: int = Field(ge=1)
    lr: float = Field(gt=0)


class CurveBenchmark(Benchmark):
    trainings: dict[Name, PlainTraining] = Field(min_length=1)


@dataclass(frozen=True)
class CurveDescription:
    training: str
    epoch: int
    epochs: int
    rmse: float
    data: str
    fingerprint: str = ""


class CurveTask(Task):
    name = "curve"
    settings = CurveBenchmark
    data_file = "points.json"
    presentation = Presentation(
        measures=CURVES,
        quality=lambda cell, description: Rmse(description["rmse"], description["test_points"]),
        leaderboard=Table(
            name="leaderboard",
            title="Leaderboard of {benchmark}",
            caption="Smallest drawdown first. {edits} of test points.",
            columns=tuple(CURVES.columns),
            rows=partial(leaderboard, tables=()),
        ),
        headline=("rmse", "rmse_drawdown", "success_rate"),
        axes={"rmse_drawdown": "Drawdown (RMSE)", "rmse": "RMSE after training"},
        histories={"Error": ("train_loss", "rmse")},
        judged=("rmse", ""),
        sequences={"error": "Points off by more than 0.05 (%)", "in_force": "Edits so far in force (%)"},
    )

    def prepare(self, chosen: CurveBenchmark, folder: Path) -> str:
        counts = chosen.data.options
        places = {split: torch.rand(counts[split], generator=generator("sine", split)).tolist() for split in counts}
        known = {"source": "sin(3x) at random places", "fingerprint": str(seed(json.dumps(places))), "places": places}
        write_atomically(folder / self.data_file, json.dumps(counts | known))
        return f"{sum(counts.values())} points"

    def data_code(self, chosen: CurveBenchmark) -> list[str]:
        return [__file__]

    def load(self, folder: Path) -> CurveData:
        known = json.loads((folder / self.data_file).read_text())
        places = {split: torch.tensor(found)[:, None] * 2 - 1 for split, found in known["places"].items()}
        return CurveData(known["fingerprint"], **{split: Points(x, torch.sin(3 * x)) for split, x in places.items()})

    def make(self, settings, key, data: CurveData, on_epoch) -> Made:
        chosen, began = settings.benchmark(key.benchmark).training(key.training), time.perf_counter()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed(settings.seed, key.benchmark, key.training, key.seed))
            model = network()
        optimizer, history = torch.optim.Adam(model.parameters(), chosen.lr), []
        for epoch in range(1, chosen.epochs + 1):
            loss = (model(data.train.x) - data.train.y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append({"epoch": epoch, "train_loss": loss.item(), "rmse": rmse(model, data.tuning)})
            on_epoch(history[-1])
        error = history[-1]["rmse"]
        description = CurveDescription(key.training, chosen.epochs, chosen.epochs, error, data.fingerprint)
        return Made(model, description, f"rmse {error:.3f}", history, time.perf_counter() - began)

    def made_from(self, settings, key) -> tuple[list, list[str]]:
        return [], [__file__]

    def scorer(self, settings, cell, data: CurveData, edits: EditSet, control_size, **demand) -> CurveScorer:
        if any(demand.values()):
            raise InputError(f"{cell}: a curve is edited without views and without a margin")
        model, axes = network(), (settings.seed, cell.benchmark, edits.split, edits.seed)
        load_weights(model, cell.model.folder / WEIGHTS)
        return CurveScorer(model, cell.layers, data, getattr(data, edits.split), axes, edits.count, control_size)

    def scoring_code(self, settings, cell) -> list[str]:
        return [__file__]

    def row_scorer(self, settings, cell, data: CurveData, asked, **demand) -> CurveScorer:
        return self.scorer(settings, cell, data, EditSet(asked.split, asked.edits), asked.control_size, **demand)


# Its configuration: one file in benchmarks/configs/.

SINE = {
    "task": "curve",
    "note": "A sine, and a network of three layers.",
    "data": {"dataset": "sine", "options": {"train": 200, "tuning": 60, "test": 80}},
    "trainings": {"plain": {"recipe": "plain", "epochs": 60, "lr": 0.02}},
    "editors": {
        "gd": {"trials": 1, "max_steps": 30, "ranges": {"lr": [1e-3, 0.1]}, "layers": {"plain": ["all", "4"]}},
        "covariance": {"trials": 4, "layers": {"plain": ["4"]}},
    },
    "tuning": {"edits": 12, "control_size": 20, "min_success": 60.0},
    "evaluation": {"edits": 14, "shard": 5},
    "analysis": {"cells": [["plain", "gd", "all"]]},
    "sequences": {"edits": 5, "orders": 2, "cells": [["plain", "gd", "all"]]},
}
