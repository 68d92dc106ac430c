"""Tuning: a study from its first trial to the one that is chosen."""

from __future__ import annotations

from functools import partial

import pandas as pd
import pytest

import editors
from benchmarks.scoring.measures import IMAGES
from pipelines.jobs import search, trials
from pipelines.jobs.progress import Progress
from pipelines.jobs.trials import Asked
from tests.pipelines.jobs.conftest import EDITS, scorer
from tests.pipelines.jobs.landscape import Landscape, Rule

ASKED = Asked(EDITS, allowed=3, scored=40)


def space(editor: str, **values) -> search.Space:
    known = editors.describe(editor).hyperparameters
    return search.Space(known, values.get("ranges", {}), values.get("fixed", {}), 10)


def run(edited, folder, editor: str, count: int, **values) -> pd.DataFrame:
    progress = Progress("test", count, "trials")
    axes = (values.pop("seed", 0), "digits", "plain", editor, "all")
    build = by_formula if isinstance(edited, Landscape) else partial(editors.build, editor)
    known, journal = space(editor, **values), folder / "a.journal"
    return search.search(build, known, edited, IMAGES, count, ASKED, journal, axes, progress, 20)


def by_formula(lr: float, beta: float = 0.0, eps: float = 0.0, max_steps: int = 10) -> Rule:
    """RMSProp or GD as the landscape knows them."""
    return Rule(lr, beta, max_steps)


def test_a_study_keeps_to_its_ranges_and_fixed_values_and_starts_from_the_defaults(tmp_path):
    ranges = {"lr": (1e-4, 1e-1), "beta": (0.8, 0.9)}
    table = run(Landscape(EDITS), tmp_path, "rmsprop", 4, ranges=ranges, fixed={"eps": 1e-7})
    assert len(table) == 4
    assert table["lr"].between(1e-4, 1e-1).all()
    assert table["beta"].between(0.8, 0.9).all()
    assert (table["eps"] == 1e-7).all()
    assert table["beta"].nunique() == 4
    assert table["beta"][0] == pytest.approx(0.85)  # the middle: the default 0.5 is below the range
    assert table["proposed_by"].tolist() == [search.BISECTION, search.HYPERCUBE, search.HYPERCUBE, search.SAMPLER]
    assert table["chosen"].sum() == 1


def test_every_free_hyperparameter_leaves_its_default(tmp_path):
    for name in editors.available():
        known = editors.describe(name).hyperparameters
        assert sum(one.stronger is not None for one in known) <= 1
    table = run(Landscape(EDITS), tmp_path, "rmsprop", 4)
    assert table[["beta", "eps", "lr"]].nunique().min() == 4


def test_an_editor_whose_strength_is_all_there_is_to_search_has_one_trial(images, tmp_path):
    table = run(images, tmp_path, "gd", 5)
    assert len(table) == 1
    assert table["proposed_by"].tolist() == [search.BISECTION]
    lr, allowed = table["lr"][0], ASKED.allowed
    for rate, feasible in ((lr, True), (lr / 1.05, False)):
        failed = [not edit.succeeded for edit in images.edit(editors.build("gd", lr=rate), range(EDITS))[0]]
        assert (sum(failed) <= allowed) == feasible


def test_the_designed_trials_have_a_value_in_each_half_of_every_range(tmp_path):
    for seed in range(3):
        (tmp_path / str(seed)).mkdir()
        designed = run(Landscape(EDITS), tmp_path / str(seed), "rmsprop", 3, seed=seed)[["beta", "eps"]].iloc[1:]
        assert sorted(designed["beta"] > 0.495) == sorted(designed["eps"] > 1e-4) == [False, True]


@pytest.mark.parametrize(("lr", "reachable"), [(1e-3, True), (1e-5, False)])
def test_a_study_in_which_nothing_is_feasible_yet_goes_on_up_to_twice_as_long(tmp_path, lr, reachable):
    table = run(Landscape(EDITS), tmp_path, "rmsprop", 3, fixed={"lr": lr, "eps": 1e-7})
    feasible = table["feasible"].tolist()
    assert not any(feasible[:3])  # the default of beta, and two that are drawn
    assert len(table) == (1 + feasible.index(True) if reachable else 6)
    assert any(feasible) == reachable
    assert feasible[table["chosen"].tolist().index(True)] == reachable
    assert len(run(Landscape(EDITS), tmp_path, "rmsprop", 3, fixed={"lr": lr, "eps": 1e-7})) == len(table)


@pytest.mark.slow
def test_a_study_depends_on_its_seed(images, tmp_path):
    tables = []
    for number, seed in enumerate((0, 0, 1)):
        (tmp_path / str(number)).mkdir()
        tables.append(run(images, tmp_path / str(number), "momentum", 4, seed=seed))
    assert tables[0].equals(tables[1])
    assert not tables[0]["mu"].equals(tables[2]["mu"])


@pytest.mark.slow
def test_finalists_are_looked_at_on_the_whole_split_which_decides(trained_once, images, tmp_path):
    few = scorer(trained_once, 10)
    table = run(few, tmp_path, "rmsprop", 8)
    finals = table[table["rescored"].notna()]
    if finals.empty:
        pytest.skip("the best trial beats all others here")
    whole = {
        row: trials.rescored(
            images, editors.build("rmsprop", lr=values.lr, beta=values.beta, eps=values.eps), ASKED, IMAGES
        )
        for row, values in finals.iterrows()
    }
    assert finals["rescored"].tolist() == list(whole.values())
    (chosen,) = table.index[table["chosen"]]
    assert chosen == finals["rescored"].idxmin()
    again = run(few, tmp_path, "rmsprop", 8)
    assert again.equals(table)


def test_a_study_with_nothing_to_search_still_judges(images, tmp_path):
    table = run(images, tmp_path, "gd", 2, fixed={"lr": 0.01})
    assert (table["lr"] == 0.01).all()
    assert table["proposed_by"].tolist() == [search.DEFAULT]


def test_without_a_feasible_strength_the_one_that_comes_closest_is_shown(tmp_path):
    table = run(Landscape(EDITS), tmp_path, "gd", 1, ranges={"lr": (1e-9, 1.3e-2)})
    assert 70 < table["success_rate"][0] < 100 * (1 - ASKED.allowed / EDITS)
    assert not table["feasible"].any()
    assert table["chosen"].tolist() == [True]
    assert table["lr"][0] == pytest.approx(1.3e-2)
