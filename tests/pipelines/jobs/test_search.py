"""Tuning: what comes of a trial, when it stops, and which one is chosen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import optuna
import pandas as pd
import pytest
import torch

import editors
from benchmarks.scoring.measures import IMAGES
from benchmarks.scoring.scorer import Scorer
from pipelines.jobs import search
from pipelines.jobs.cells import Cell
from pipelines.jobs.progress import Progress
from pipelines.jobs.search import Outcome, try_edits
from pipelines.tasks import load_settings
from pipelines.tasks.base import EditSet
from pipelines.tasks.scoring import scorer_of
from tests.pipelines.conftest import Project

EDITS = 60


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As in the stages; it is also much faster for so small a model on a machine that is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def scorer(project: Project, control_size: int | None) -> Scorer:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        cell = Cell("digits", "plain", "gd", "all")
        return scorer_of(load_settings(), cell, EditSet("tuning", EDITS), control_size)


@pytest.fixture(scope="module")
def images(trained_once, one_thread) -> Scorer:
    """60 edits of the test project's model; the whole split is looked at after each."""
    return scorer(trained_once, None)


@dataclass
class Counting:
    """A scorer that also counts the edits that were carried out; everything is passed on to the real one."""

    images: Scorer
    edits: int = 0

    @property
    def requests(self):
        return self.images.requests

    def edit(self, editor, rows):
        self.edits += len(rows)
        return self.images.edit(editor, rows)

    def records(self, *arguments, **options):
        return self.images.records(*arguments, **options)


LEARNING_RATES = (1e-4, 1e-2, 1e-1)


@pytest.mark.parametrize("lr", LEARNING_RATES)
@pytest.mark.parametrize("required", [0.0, 60.0, 95.0, 100.0])
def test_a_trial_stops_with_the_shard_that_decides_and_decides_as_all_edits_would(images, lr, required):
    editor = editors.build("gd", lr=lr)
    every = images.edit(editor, range(EDITS))[0]
    failures = [row for row, edit in enumerate(every) if not edit.succeeded]
    allowed = math.floor(EDITS * (100 - required) / 100 + 1e-9)
    feasible = len(failures) <= allowed
    counting = Counting(images)
    found = try_edits(counting, editor, required, IMAGES)
    assert found.feasible == feasible
    # The failure that is one too many decides; shards hold 25 edits.
    expected = EDITS if feasible else min(EDITS, 25 * (failures[allowed] // 25 + 1))
    assert counting.edits == found.edits == expected
    assert found.success_rate == pytest.approx(100 * (1 - sum(row < expected for row in failures) / expected))
    assert (found.success_rate >= required - 1e-9) == feasible
    looked_at = range(EDITS if feasible else max(25, 25 * (failures[allowed] // 25)))
    damage = [
        100 * abs(record.wrong_after - record.wrong_before) / record.control_size
        for record in (images.record(row, every[row]) for row in looked_at)
    ]
    assert found.drawdown == pytest.approx(sum(damage) / len(damage), abs=1.0)  # batches differ in the last digits


def test_the_cases_above_hold_feasible_and_infeasible_trials(images):
    rates = [try_edits(images, editors.build("gd", lr=lr), 0.0, IMAGES).success_rate for lr in LEARNING_RATES]
    assert min(rates) < 50 < max(rates)


REQUIRED = 10.0
"""Percent: so few that edits with small steps are feasible, and damage far less than those with large ones."""


@pytest.fixture(scope="module")
def exhaustive(images) -> dict[float, Outcome]:
    """What edits with different learning rates come to when all control images are looked at."""
    rates = [10 ** (-3.5 + step / 2) for step in range(7)]
    return {lr: try_edits(images, editors.build("rmsprop", lr=lr), REQUIRED, IMAGES) for lr in rates}


@pytest.mark.parametrize("order", ["weak first", "strong first", "mixed"])
def test_racing_against_the_best_so_far_chooses_as_looking_at_everything_does(images, exhaustive, order):
    rates = sorted(exhaustive, reverse=order == "strong first")
    rates = rates[::2] + rates[1::2] if order == "mixed" else rates
    best: Outcome | None = None
    scored = 0
    for lr in rates:
        found = try_edits(images, editors.build("rmsprop", lr=lr), REQUIRED, IMAGES, best.drawdowns if best else ())
        assert (found.feasible, found.edits) == (exhaustive[lr].feasible, exhaustive[lr].edits)
        assert found.drawdowns == exhaustive[lr].drawdowns[: len(found.drawdowns)]
        scored += len(found.drawdowns)
        if found.complete and (best is None or found.drawdown < best.drawdown):
            best = found
    feasible = [found.drawdown for found in exhaustive.values() if found.feasible]
    assert best.drawdown == min(feasible)
    assert max(feasible) > min(feasible) + 0.5  # there was something to lose
    every = sum(len(found.drawdowns) for found in exhaustive.values())
    assert scored < every if order == "weak first" else scored <= every  # the best comes before those that it beats


def test_a_trial_that_is_as_good_as_the_best_is_looked_at_to_the_end(images, exhaustive):
    best = min((found for found in exhaustive.values() if found.feasible), key=lambda found: found.drawdown)
    again = next(lr for lr, found in exhaustive.items() if found is best)
    found = try_edits(images, editors.build("rmsprop", lr=again), REQUIRED, IMAGES, best.drawdowns)
    assert found == best
    assert found.complete
    better = [value - 1.0 for value in best.drawdowns]
    beaten = try_edits(images, editors.build("rmsprop", lr=again), REQUIRED, IMAGES, better)
    assert beaten.feasible
    assert not beaten.complete
    assert beaten.drawdowns == best.drawdowns[:25]


def trials(*rows: tuple[float, float, bool], scored: int = 80) -> pd.DataFrame:
    known = {"edits": 80, "scored": scored, "rescored": math.nan}
    return pd.DataFrame(rows, columns=["success_rate", "drawdown", "feasible"]).assign(**known)


def test_a_beaten_trial_is_not_chosen_however_small_its_drawdown_looks():
    table = trials((99, 3.0, True), (96, 1.0, True))
    table.loc[1, "scored"] = 25
    assert search.choose(table) == 0


def test_the_whole_split_decides_between_finalists():
    table = trials((99, 3.0, True), (96, 1.0, True), (97, 1.1, True))
    table.loc[1:, "rescored"] = [1.3, 1.2]
    assert search.choose(table) == 2


def outcome(*drawdowns: float, edits: int = 4) -> Outcome:
    return Outcome(100.0, edits, True, drawdowns)


def test_finalists_are_the_best_three_that_the_best_does_not_beat():
    best, close, closer = outcome(1, 2, 3, 4), outcome(2, 1, 4, 4), outcome(1, 2, 3, 4.1)
    far, beaten = outcome(9, 10.5, 11, 12), outcome(0.5, 0.5)
    fourth = outcome(3, 2, 4, 3)
    assert search.finalists([far, close, beaten, best, closer]) == [3, 4, 1]
    assert search.finalists([fourth, close, best, closer]) == [2, 3, 1]
    assert search.finalists([far, best]) == []
    assert search.finalists([beaten]) == []


def test_the_smallest_drawdown_wins_among_the_feasible():
    assert search.choose(trials((99, 3.0, True), (96, 1.0, True), (10, 0.1, False), (100, 2.0, True))) == 1
    assert search.choose(trials((10, 0.1, False), (95, 9.0, True))) == 1


def test_the_first_of_equals_wins():
    assert search.choose(trials((99, 1.0, True), (96, 1.0, True))) == 0


def test_without_a_feasible_trial_the_least_violating_wins():
    assert search.choose(trials((10, 0.1, False), (90, 5.0, False), (80, 0.2, False))) == 1


def space(editor: str, **values) -> search.Space:
    known = editors.describe(editor).hyperparameters
    return search.Space(known, values.get("ranges", {}), values.get("fixed", {}), 10)


def run(images, folder, editor: str, count: int, **values) -> pd.DataFrame:
    progress = Progress("test", count, "trials")
    axes = (values.pop("seed", 0), "digits", "plain", editor, "all")
    return search.search(
        partial(editors.build, editor),
        space(editor, **values),
        images,
        IMAGES,
        count,
        95.0,
        folder / "a.journal",
        axes,
        progress,
        20,
    )


def test_a_study_keeps_to_its_ranges_and_fixed_values_and_starts_from_the_defaults(images, tmp_path):
    ranges = {"lr": (1e-3, 1e-2), "beta": (0.8, 0.9)}
    table = run(images, tmp_path, "rmsprop", 6, ranges=ranges, fixed={"eps": 1e-7})
    assert len(table) == 6
    assert table["lr"].between(1e-3, 1e-2).all()
    assert table["beta"].between(0.8, 0.9).all()
    assert (table["eps"] == 1e-7).all()
    assert table["lr"].nunique() == 6
    first = table.iloc[0]
    assert first["lr"] == 1e-3
    assert first["beta"] == pytest.approx(0.85)  # the middle: the default 0.5 is below the range
    assert table["chosen"].sum() == 1


@pytest.mark.slow
def test_a_study_depends_on_its_seed(images, tmp_path):
    tables = []
    for number, seed in enumerate((0, 0, 1)):
        (tmp_path / str(number)).mkdir()
        tables.append(run(images, tmp_path / str(number), "gd", 9, seed=seed))
    assert tables[0].equals(tables[1])
    assert not tables[0]["lr"].equals(tables[2]["lr"])


def test_a_study_killed_before_a_planned_trial_began_ends_as_an_unbroken_one(images, tmp_path, monkeypatch):
    for name in ("unbroken", "killed"):
        (tmp_path / name).mkdir()
    unbroken = run(images, tmp_path / "unbroken", "gd", 8)
    ask, asked = optuna.Study.ask, []

    def killed(study, *arguments, **options):
        asked.append(study)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return ask(study, *arguments, **options)

    monkeypatch.setattr(optuna.Study, "ask", killed)
    with pytest.raises(KeyboardInterrupt):
        run(images, tmp_path / "killed", "gd", 8)
    monkeypatch.undo()
    resumed = run(images, tmp_path / "killed", "gd", 8)
    assert resumed.equals(unbroken)


@pytest.mark.slow
def test_finalists_are_looked_at_on_the_whole_split_and_the_choice_is_as_good_as_of_all(trained_once, images, tmp_path):
    few = scorer(trained_once, 10)
    table = run(few, tmp_path, "rmsprop", 8, ranges={"lr": (5e-4, 5e-3)})
    finals = table[table["rescored"].notna()]
    assert 2 <= len(finals) <= 3
    exhaustive = {
        row: search.rescored(images, editors.build("rmsprop", lr=values.lr, beta=values.beta, eps=values.eps), IMAGES)
        for row, values in table[table["feasible"]].iterrows()
    }
    assert finals["rescored"].tolist() == [exhaustive[row] for row in finals.index]
    assert (finals["rescored"] - finals["drawdown"]).abs().min() > 0  # ten images had said something else
    (chosen,) = table.index[table["chosen"]]
    assert chosen == finals["rescored"].idxmin()
    assert exhaustive[chosen] - min(exhaustive.values()) <= 0.1  # percentage points
    assert max(exhaustive.values()) > min(exhaustive.values()) + 0.1  # another choice would have been worse
    again = run(few, tmp_path, "rmsprop", 8, ranges={"lr": (5e-4, 5e-3)})
    assert again.equals(table)


def test_a_study_with_nothing_to_search_still_judges(images, tmp_path):
    table = run(images, tmp_path, "gd", 2, fixed={"lr": 0.01})
    assert (table["lr"] == 0.01).all()


def test_a_search_finds_learning_rates_that_work_far_from_where_it_begins(images, tmp_path):
    table = run(images, tmp_path, "gd", 10, ranges={"lr": (1e-9, 9e-3)})
    assert table["lr"][0] < 1e-5
    assert not table["feasible"][0]
    chosen = table[table["chosen"]].iloc[0]
    assert chosen["success_rate"] > table["success_rate"][0] + 20
    assert chosen["lr"] > 1e-4
