"""The comparison of ways to search: equal cost, and runs that are made once."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

STUDY = Path("results/search_study")


@pytest.mark.slow
def test_ways_are_compared_at_equal_cost_and_a_second_call_adds_what_is_missing(trained):
    trained.change(editors__rmsprop__trials=4)
    asked = ("studies.search_study", "digits", "plain/rmsprop/chain4", "--seeds", "1", "--ways")
    trained.succeed(*asked, "bisection,nested_gp,tpe")
    runs = pd.read_csv(trained.folder / STUDY / "runs.csv").set_index("way")
    assert list(runs.index) == ["bisection", "nested_gp", "tpe"]
    spent = runs["edits"] + runs["looks"]
    assert spent["tpe"] <= spent["nested_gp"] + 24  # a shard of the 12 edits that are made and looked at
    assert spent["bisection"] < spent["nested_gp"]
    assert runs["drawdown"]["nested_gp"] <= runs["drawdown"]["bisection"]
    trials = pd.read_csv(trained.folder / STUDY / "trials.csv")
    assert trials["way"].value_counts().to_dict() == runs["trials"].to_dict()
    before = trained.files(str(STUDY))
    trained.succeed(*asked, "bisection,nested_gp,tpe")
    assert trained.files(str(STUDY)) == before
    trained.succeed(*asked, "nested_random")
    added = pd.read_csv(trained.folder / STUDY / "runs.csv")
    assert added["way"].tolist() == [*runs.index, "nested_random"]
    assert "`nested_random`" in (trained.folder / STUDY / "search.md").read_text()
