"""The search on a landscape whose best values are known: two hyperparameters, and a constraint that binds."""

from __future__ import annotations

from pathlib import Path

import optuna
import pandas as pd
import pytest

from pipelines.jobs.progress import Progress
from pipelines.jobs.search import BISECTION, SAMPLER, search
from pipelines.jobs.trials import Asked
from tests.pipelines.jobs.landscape import BEST_MU, MEASURES, Landscape, Rule, at_defaults, space

ASKED = Asked(edits=160, allowed=4, scored=80)


def run(landscape: Landscape, folder: Path, trials: int, seed: int = 0) -> pd.DataFrame:
    journal, progress = folder / "a.journal", Progress("test", trials, "trials")
    return search(Rule, space(), landscape, MEASURES, trials, ASKED, journal, (seed, "landscape"), progress, 20)


@pytest.mark.parametrize("seed", range(4))
def test_finds_the_optimum_where_a_bisection_of_the_learning_rate_alone_does_not(tmp_path, seed):
    landscape = Landscape(ASKED.edits)
    optimum, line = landscape.best(ASKED.allowed), at_defaults(landscape, ASKED.allowed)
    trials = run(landscape, tmp_path, 10, seed)
    chosen, first = trials[trials["chosen"]].iloc[0], trials.iloc[0]
    assert line > optimum + 1  # the best that any learning rate gives with the default momentum
    assert line <= first["drawdown"] <= 1.04 * line
    assert optimum <= chosen["drawdown"] <= optimum + 0.3
    assert abs(chosen["mu"] - BEST_MU) < 0.15
    assert chosen["success_rate"] >= ASKED.required
    assert (first["proposed_by"], chosen["proposed_by"]) == (BISECTION, SAMPLER)


def test_the_constraint_binds_where_it_ends(tmp_path):
    landscape = Landscape(ASKED.edits)
    trials = run(landscape, tmp_path, 6)
    chosen = trials[trials["chosen"]].iloc[0]
    failures = {}
    for name, lr in (("found", chosen["lr"]), ("weaker", chosen["lr"] / 1.04)):
        edits = landscape.edit(Rule(lr, chosen["mu"]), landscape.requests)[0]
        failures[name] = sum(not edit.succeeded for edit in edits)
    assert failures["found"] <= ASKED.allowed < failures["weaker"]


def test_makes_far_fewer_edits_than_probing_with_all_of_them(tmp_path):
    landscape = Landscape(ASKED.edits)
    trials = run(landscape, tmp_path, 8)
    assert landscape.edits < 0.5 * ASKED.edits * trials["probes"].sum()


KILLED_IN = {
    "ask": (optuna.Study, (1, 4, 6)),
    "tell": (optuna.Study, (1, 6)),
    "set_user_attr": (optuna.Trial, (1, 8, 17)),
    "edit": (Landscape, (3, 90)),
    "records": (Landscape, (2, 8)),
}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> str:
    return run(Landscape(ASKED.edits), tmp_path_factory.mktemp("unbroken"), 6).to_csv()


@pytest.mark.parametrize(("place", "call"), [(place, call) for place in KILLED_IN for call in KILLED_IN[place][1]])
def test_a_study_killed_anywhere_ends_with_the_bytes_of_an_unbroken_one(tmp_path, monkeypatch, unbroken, place, call):
    owner, calls = KILLED_IN[place][0], []
    real = getattr(owner, place)

    def killed(*arguments, **options):
        calls.append(place)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(owner, place, killed)
    with pytest.raises(KeyboardInterrupt):
        run(Landscape(ASKED.edits), tmp_path, 6)
    monkeypatch.undo()
    assert run(Landscape(ASKED.edits), tmp_path, 6).to_csv() == unbroken
