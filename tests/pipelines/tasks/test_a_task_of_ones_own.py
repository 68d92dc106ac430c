"""A kind of task of one's own, as benchmarks/README.md shows it: all stages run it, and none of them knows it.

A small network learns a curve. An edit moves the curve to another height at one place; its drawdown is how far that
changes the error everywhere else.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import pandas as pd
import pytest
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
from pipelines import tasks
from pipelines.analyse import analyse
from pipelines.config.blocks import Benchmark, Name, Training
from pipelines.evaluate import evaluate
from pipelines.prepare import prepare
from pipelines.report import report
from pipelines.reporting.tables.paper import leaderboard
from pipelines.reporting.tables.presentation import Presentation, Quantities, Table
from pipelines.sequences import sequences
from pipelines.tasks import register
from pipelines.tasks.base import EditSet, Made, Task
from pipelines.tasks.curves import FACTORS
from pipelines.train import train
from pipelines.tune import tune
from tests.pipelines.conftest import PARAMS, write_project

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

    def difference(self, other: Rmse, name: str) -> tuple[Estimate, str]:
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
        quantities=Quantities(
            drawdown=("rmse_drawdown", "Drawdown (RMSE)"),
            quality=("rmse", "RMSE after training"),
            more_is_better=False,
            histories={"Error": ("train_loss", "rmse")},
            judged=("rmse", ""),
            sequences={"error": "Points off by more than 0.05 (%)", "in_force": "Edits so far in force (%)"},
        ),
    )

    def prepare(self, chosen: CurveBenchmark, folder: Path) -> str:
        counts = chosen.data.options
        places = {split: torch.rand(counts[split], generator=generator("sine", split)).tolist() for split in counts}
        known = {"source": "sin(3x) at random places", "fingerprint": seed(json.dumps(places)), "places": places}
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
        "gd": {"trials": 6, "max_steps": 30, "ranges": {"lr": [1e-3, 0.1]}, "layers": {"plain": ["all", "4"]}},
        "covariance": {"trials": 2, "layers": {"plain": ["4"]}},
    },
    "tuning": {"edits": 12, "control_size": 20, "min_success": 60.0},
    "evaluation": {"edits": 14, "shard": 5},
    "analysis": {"cells": [["plain", "gd", "all"]]},
    "sequences": {"edits": 5, "orders": 2, "cells": [["plain", "gd", "all"]]},
}
STAGES = (prepare, train, tune, evaluate, analyse, sequences, report)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Path]:
    """The working directory after all stages."""
    register(CurveTask)  # as a decorator above the class, if there were no other tests in this process
    threads, folder = torch.get_num_threads(), tmp_path_factory.mktemp("curve")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(write_project(folder, PARAMS | {"run": ["sine"], "edit_seeds": [0, 1]}, sine=SINE))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        Path("mlflow").mkdir()
        shutil.copy(empty_database, "mlflow/mlflow.db")
        for stage in STAGES:
            stage("sine")
        yield folder
    torch.set_num_threads(threads)
    tasks._registered.pop(CurveTask.name)


def read(path: str) -> pd.DataFrame:
    return pd.read_csv(f"results/sine/{path}.csv")


def test_tuning_chooses_the_smallest_drawdown_of_the_task_among_feasible_trials(project):
    trials = read("tuned/gd/plain-all")
    feasible = trials[trials["feasible"] & (trials["scored"] == trials["edits"])]
    assert 0 < len(feasible) < len(trials)
    by = "rescored" if trials["rescored"].notna().any() else "drawdown"
    chosen = json.loads(Path("results/sine/tuned/gd/plain-all.json").read_text())["hyperparameters"]
    assert chosen == {"lr": pytest.approx(feasible.loc[feasible[by].idxmin(), "lr"])}


@pytest.mark.parametrize("repetition", ["", "@1"])
def test_records_say_what_the_tuned_editor_does_to_the_trained_network(project, repetition):
    described = json.loads(Path(f"results/sine/edits/gd/plain-all{repetition}.json").read_text())
    records, data, model = read(f"edits/gd/plain-all{repetition}"), CurveTask().load(Path("data/sine")), network()
    load_weights(model, Path("models/sine/plain", WEIGHTS))
    assert described["rmse"] == pytest.approx(rmse(model, data.test))
    assert len(records) == described["edits"] == 14
    axes = (0, "sine", "test", 1 if repetition else 0)
    place, height = (torch.rand(14, 2, generator=generator(*axes, "requests")) * 2 - 1)[3]
    editor = editors.build("gd", **described["hyperparameters"], max_steps=30)
    edit = editor.edit(model, place.view(1, 1), lambda found: (found - height).abs().sum() - TOLERANCE)
    assert records["steps"][3] == edit.steps > 0
    assert records["succeeded"][3] == edit.succeeded
    assert records["rmse_after"][3] == pytest.approx(rmse(edit.apply(model), data.test), rel=1e-4)
    assert records["near_after"].between(0, 4).all()


def test_curves_and_rows_of_edits_are_of_the_same_task(project):
    curves, rows = read("curves"), read("sequences")
    summary = CURVES.summarise(read("edits/gd/plain-all"))
    assert curves["factor"].tolist() == list(FACTORS)
    for name in ("rmse_drawdown", "success_rate", "generality", "num_steps"):
        assert curves[curves["factor"] == 1][name].item() == pytest.approx(summary[name].value, rel=1e-4)
    assert rows["edits"].tolist() == [0, 1, 2, 3, 4, 5]
    assert rows["error"].between(0, 100).all()
    records = read("sequences/gd-plain-all")
    assert rows["in_force"][5] == pytest.approx(20 * (records["earlier_in_force"] + records["in_force"])[4::5].mean())


def test_a_report_tells_it_without_a_paper_to_compare_with(project):
    board, folder = read("leaderboard").set_index(["editor", "layers"]), Path("results/sine")
    assert set(board.index) == {("gd", "all"), ("gd", "4"), ("covariance", "4")}
    row = board.loc[("gd", "all")]
    values = [CURVES.summarise(read(f"edits/gd/plain-all{seed}"))["rmse_drawdown"].value for seed in ("", "@1")]
    assert row["rmse_drawdown"] == pytest.approx(values[0], rel=1e-4)
    assert row["rmse_drawdown_edit_seeds_std"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5, rel=1e-4)
    assert "| covariance | 4 |" in (folder / "leaderboard.md").read_text()
    model = json.loads((folder / "models/plain/model.json").read_text())
    assert read("trainings")["rmse"].item() == pytest.approx(model["rmse"], rel=1e-4)
    figures = ("generality-drawdown", "steps-drawdown", "sequences", "curves", "training-plain", "tuning-gd")
    assert {f"{name}.png" for name in figures} <= {path.name for path in (folder / "figures").iterdir()}
    assert "## sine" in Path("results/README.md").read_text()
    metrics = json.loads((folder / "metrics.json").read_text())["plain"]["gd"]["all"]
    assert metrics == {name: pytest.approx(row[name], abs=1e-4) for name in ("rmse", "rmse_drawdown", "success_rate")}
    assert json.loads(Path("mlflow/sine.json").read_text())["created"] == 4  # three rows and a training


def test_a_second_run_finds_nothing_to_do(project, capsys):
    before = {path: path.stat().st_mtime_ns for path in Path("results/sine").rglob("*-all*.*")}
    for stage in STAGES[:4]:
        stage("sine")
    assert capsys.readouterr().out.count("unchanged") == 1 + 1 + 2 * 2
    sequences("sine")
    assert "sequences sine: 1 of 1 unchanged" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_what_it_cannot_do_and_what_is_wrong_in_its_configuration_is_one_sentence(project, tmp_path):
    def complaint(**changes: dict) -> str:
        folder = write_project(tmp_path, PARAMS | {"run": ["sine"]}, sine=SINE | changes)
        with pytest.raises(InputError) as refused:
            tune("sine", params=folder / "params.yaml")
        return str(refused.value)

    slow = SINE["trainings"]["plain"] | {"lr": -1}
    assert "sine.yaml: trainings.plain.lr should be greater than 0, not -1" in complaint(trainings={"plain": slow})
    asked = complaint(editors={"gd": {"views": 2, "layers": {"plain": ["all"]}}})
    assert asked == "sine plain/gd/all: a curve is edited without views and without a margin"
