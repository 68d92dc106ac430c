"""Which results stand in which table, in which order, and which numbers of the paper beside them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest

from pipelines.reporting.tables import paper
from pipelines.reporting.tables.paper import in_papers_order, table1, table2, table3, table4, table5
from pipelines.reporting.tables.presentation import write_tables
from pipelines.store.layout import Layout
from pipelines.tasks.images import CLASSIFIERS
from tests.pipelines.reporting.cells import image_cell, translator_cell, write_project

LEADERBOARD = paper.LEADERBOARD.rows
EDITED = "last_decoder_layer"
EDITABLE = "editable-100-rmsprop-last_decoder_layer"


def test_the_best_come_first_and_those_clearly_below_the_required_success_last():
    breaks = {
        "plain/gd/all": (9, 30),
        "plain/rmsprop/all": (0, 6),
        "plain/adam/all": (-9, 30),
        "plain/rprop/all": (-5, 0),
    }
    board = LEADERBOARD([image_cell(name, one, failures=failures) for name, (one, failures) in breaks.items()])
    assert board["editor"].tolist() == ["rprop", "rmsprop", "adam", "gd"]
    assert board["published_drawdown"].tolist()[3] == 3.8


@pytest.mark.parametrize(
    ("everything", "part", "chosen"),
    [
        ({"tuned_to": 1.0, "breaks": 9}, {"tuned_to": 2.0}, "all"),
        ({"tuned_to": 2.0}, {"tuned_to": 1.0, "breaks": 9}, "chain4"),
        ({"tuned_to": 0.1, "feasible": False}, {"tuned_to": 9.0}, "chain4"),
    ],
)
def test_table_1_chooses_by_the_tuning_split_and_never_by_the_test_split(everything, part, chosen):
    cells = [image_cell("plain/gd/all", **everything), image_cell("plain/gd/chain4", **part)]
    assert table1(cells)["layers"].tolist() == [chosen]


def test_without_a_feasible_part_table_1_has_the_one_that_succeeds_most():
    tuned = {"trials": 5, "edits": 80, "required": 95.0, "drawdown": 1.0}
    cells = [
        image_cell(f"plain/gd/{part}", feasible=False, tuning={**tuned, "success_rate": rate})
        for part, rate in (("all", 50.0), ("chain4", 60.0))
    ]
    assert table1(cells)["layers"].tolist() == ["chain4"]


def test_tables_1_and_2_hold_the_cells_of_the_paper_with_its_numbers_beside_ours():
    cells = [image_cell(f"plain/{editor}/{part}") for editor in ("gd", "rmsprop", "adam") for part in ("all", "chain4")]
    cells += [image_cell("plain/gd_ewc/chain3"), image_cell("plain/retrain/chain3"), image_cell("editable/gd/all")]
    assert table1(cells)["editor"].tolist() == ["gd", "rmsprop", "adam"]
    assert table1(cells)["published_drawdown"].tolist() == [3.8, 1.77, 19.4]
    shown = table2(cells)
    assert shown["published_drawdown"].tolist() == [3.8, 4.76, 2.29, 1.99]
    assert table2([]).empty
    assert table1([]).empty


def test_table_3_has_the_papers_rows_in_its_order_and_then_ours():
    ours = ["plain/lookup_cache/all", "plain-longer/rmsprop/chain3", "plain/covariance/chain3"]
    theirs = ["dknn-10/flip_labels/votes", "cnp/condition_vector/condition", "plain/rmsprop/chain3"]
    rows = table3([image_cell(name) for name in (*ours, *theirs)])
    names = (rows["training"] + "/" + rows["editor"] + "/" + rows["layers"]).tolist()
    assert names[1] == "plain/rmsprop/chain3"
    assert names[6] == "cnp/condition_vector/condition"  # as the part is called here
    assert names[9] == "dknn-10/flip_labels/votes"
    assert names[11:] == ["plain/lookup_cache/all", "plain-longer/rmsprop/chain3"]  # no other editor of the plain model
    assert rows["appendix"].tolist() == [False] * 11 + [True] * 2
    assert rows["published_drawdown"].tolist()[:11] == paper.load("table3")["drawdown"].tolist()
    missing = rows[rows["note"] == "not part of this run"]
    assert len(missing) == 8
    assert missing["drawdown"].isna().all()
    assert table3([image_cell(name) for name in ours]).empty


def test_table_4_has_the_rows_of_the_architectures_of_the_run():
    rows = table4([image_cell(f"{name}/rmsprop/extra") for name in ("mine", "editable-rmsprop-extra", "extended")])
    assert next(iter(rows)) == "architecture"
    assert set(rows["architecture"]) == {"resnet18"}
    names = ["pretrained", "extended", "distilled", "editable-rmsprop-chain3", "editable-rmsprop-extra", "mine"]
    assert rows["training"].tolist() == names
    assert rows["published_drawdown"].tolist()[:5] == [3.89, 9.18, 2.80, 3.78, 0.57]
    assert rows["appendix"].tolist() == [False] * 5 + [True]
    both = table4([image_cell(f"{name}/rmsprop/extra") for name in ("distilled", "densenet169-distilled")])
    assert both["architecture"].tolist() == ["resnet18"] * 5 + ["densenet169"] * 5
    assert table4([image_cell("plain/rmsprop/extra")]).empty


def test_table_5_says_which_mistakes_a_model_does_not_make_and_sets_other_parts_apart():
    cells = [
        image_cell(name) for name in ("pretrained/rmsprop/chain3", "editable-rmsprop-extra-match_ranks/rmsprop/extra")
    ]
    rows = table5(cells)
    assert rows["training"].tolist() == ["editable-rmsprop-extra-match_ranks", "pretrained"]
    assert rows["appendix"].tolist() == [False, True]
    assert rows["already_right"].tolist() == [10.0, 10.0]
    assert rows["published_drawdown"].tolist()[0] == pytest.approx(0.14556)
    assert table5([]).empty


def test_table_6_finds_the_papers_rows_by_what_it_calls_the_training_and_by_the_learning_rate():
    table6 = partial(in_papers_order, table="table6")
    cells = [
        translator_cell(f"plain/covariance/{EDITED}", 0.1),
        translator_cell(f"mine/rmsprop_3e-4/{EDITED}", 0.2, published=EDITABLE),
        translator_cell(f"plain/rmsprop_1e-3/{EDITED}", 0.8),
        translator_cell(f"plain/rmsprop/{EDITED}", 0.05),  # tuned: another row than the paper's
    ]
    rows = table6(cells)
    assert rows["training"].tolist() == ["plain", EDITABLE, "mine", "plain", "plain"]
    assert rows["editor"].tolist() == ["rmsprop_1e-3", "rmsprop_1e-3", "rmsprop_3e-4", "rmsprop", "covariance"]
    assert rows["published_bleu_drawdown"].tolist()[:3] == [0.76, 0.35, 0.17]
    assert rows["published_bleu"].isna().tolist() == [False] * 3 + [True] * 2
    assert rows["appendix"].tolist() == [False] * 3 + [True] * 2
    assert rows["note"].tolist()[1] == "not part of this run"
    assert np.isnan(rows["bleu"][1])
    assert rows["bleu_drawdown"][0] == pytest.approx(0.8)
    assert table6(cells[:1]).empty


def test_tables_are_written_with_all_numbers_and_those_of_other_runs_removed(tmp_path):
    cells = [image_cell("plain/gd/all"), image_cell("plain/rmsprop/chain3", -9, lr=1.333e-3)]
    settings, layout = write_project(tmp_path, *cells), Layout("digits", tmp_path)
    (layout.results / "table4.csv").write_text("left from another run")
    board, tables = write_tables(settings, layout, CLASSIFIERS, cells, [])
    assert {path.name for path in layout.results.glob("*.csv")} == {
        *("table1.csv", "table2.csv", "table3.csv", "leaderboard.csv", "timings.csv")
    }
    read = pd.read_csv(layout.results / "leaderboard.csv")
    assert read["lr"].tolist() == board["lr"].tolist() == [1.333e-3, 1e-3]
    np.testing.assert_allclose(read["drawdown"], board["drawdown"], rtol=1e-5)
    assert tables["table4"].empty
    page = (layout.results / "leaderboard.md").read_text()
    assert page.startswith("# Leaderboard of digits\n\nHow to read: a good edit")
    assert "100 edits of test images" in page
    assert "| plain | rmsprop | chain3 | lr 1.3e-3 (5 trials) |" in page
    assert r"Ours, \*not\* \| CIFAR-10." in page
    assert "Steps, paper" not in page  # of the paper's numbers, the leaderboard shows the drawdown
    assert "Steps, paper" in (layout.results / "table3.md").read_text()
