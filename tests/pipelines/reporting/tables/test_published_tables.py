"""The paper's tables as data: numbers copied by hand from its text, and the join beside measured rows."""

import numpy as np
import pandas as pd
import pytest

from pipelines.reporting.tables import paper as published


@pytest.mark.parametrize(("table", "rows"), [("table2", 10), ("table5", 1)])
def test_a_table_has_the_rows_of_the_paper(table, rows):
    """Those that are not compared as a whole below."""
    assert len(published.load(table)) == rows


@pytest.mark.parametrize(
    ("metric", "printed"),
    [
        ("drawdown", "3.8% 2.81% 1.99% 1.77% 2.42% 19.4%"),
        ("success_rate", "98.8% 99.1% 100% 100% 96.0% 100%"),
        ("num_steps", "3.54 3.91 2.99 3.11 5.60 3.86"),
    ],
)
def test_table_1_is_what_the_paper_prints(metric, printed):
    frame = published.load("table1")
    assert list(frame["editor"]) == ["gd", "scaled_gd", "rprop", "rmsprop", "momentum", "adam"]
    assert list(frame[metric]) == [float(cell.rstrip("%")) for cell in printed.split()]


@pytest.mark.parametrize(
    ("editor", "printed"), [("gd", "3.8 18.3 7.7 5.3 4.76"), ("rmsprop", "2.29 22.8 1.85 1.77 1.99")]
)
def test_table_2_is_what_the_paper_prints(editor, printed):
    frame = published.load("table2").query("editor == @editor").set_index("layers")
    in_paper_order = frame.loc[["all", "chain1", "chain2", "chain3", "chain4"], "drawdown"]
    assert list(in_paper_order) == [float(cell) for cell in printed.split()]


def test_table_3_is_what_the_paper_prints():
    printed = """
        plain/gd/all                                  6.3   3.8   98.8  3.54
        plain/rmsprop/chain3                          6.3   1.77  100   3.11
        editable-0.01-gd-all/gd/all                   6.34  1.42  100   3.39
        editable-0.01-gd-chain3/gd/chain3             6.28  1.44  100   2.82
        editable-0.01-rmsprop-chain3/rmsprop/chain3   6.31  0.86  100   4.13
        editable-0.1-rmsprop-chain3/rmsprop/chain3    7.19  0.65  100   4.76
        cnp/condition_vector/chain3                   6.33  1.06  98.9  nan
        plain/gd_ewc/chain3                           6.3   1.92  100   3.88
        plain/rmsprop_ewc/chain3                      6.3   1.24  98.1  4.03
        dknn-10/flip_labels/                          6.36  1.76  100   nan
        dknn-100/flip_labels/                         7.04  1.05  100   nan
    """
    frame = published.load("table3")
    rows = [line.split() for line in printed.strip().splitlines()]
    assert list(frame["training"] + "/" + frame["editor"] + "/" + frame["layers"]) == [row[0] for row in rows]
    measured = frame[["test_error", "drawdown", "success_rate", "num_steps"]].to_numpy()
    np.testing.assert_array_equal(measured, np.array([row[1:] for row in rows], dtype=float))


def test_table_4_is_what_the_paper_prints():
    printed = """
        30.95 3.89 99.8 3.582   30.95 9.18 100 4.272   30.75 2.80 100 2.63
        30.53 3.78 99.8 3.616   30.61 0.57 100 3.388
        25.49 5.20 100 2.551    25.47 9.05 100 3.874   24.33 1.67 100 2.822
        24.32 4.47 100 2.556    24.38 0.96 100 2.970
    """
    frame = published.load("table4")
    measured = frame[["test_error", "drawdown", "success_rate", "num_steps"]].to_numpy().ravel()
    np.testing.assert_array_equal(measured, np.array(printed.split(), dtype=float))
    assert list(frame["architecture"]) == ["resnet18"] * 5 + ["densenet169"] * 5
    assert list(frame["layers"]) == ["chain3", "extra", "extra", "chain3", "extra"] * 2


def test_tables_5_and_6_are_what_was_published():
    adversarial = published.load("table5").iloc[0]
    assert adversarial["test_error"] == 30.764
    assert round(adversarial["drawdown"], 3) == 0.146
    assert adversarial["num_steps"] == 2.149
    assert list(published.load("table5_similar")["similar_accuracy"]) == [86.7, 85.9]
    translation = published.load("table6")[["lr", "bleu", "bleu_drawdown", "success_rate", "num_steps"]]
    expected = [[1e-3, 34.77, 0.76, 100, 2.35], [1e-3, 34.80, 0.35, 100, 3.07], [3e-4, 34.81, 0.17, 100, 5.5]]
    np.testing.assert_array_equal(translation.to_numpy(), expected)


def test_tables_that_repeat_a_model_agree():
    keys = ["training", "editor", "layers"]
    third = published.load("table3").set_index(keys)
    for table in ("table1", "table2"):
        frame = published.load(table).set_index(keys)
        shared = frame.index.intersection(third.index)
        assert len(shared) == 2
        for metric in ("test_error", "drawdown", "success_rate", "num_steps"):
            assert (frame.loc[shared, metric] == third.loc[shared, metric]).all()


def test_table_1_is_joined_on_the_editor_alone(table1):
    joined = published.beside(table1.drop(columns="published_drawdown"), published.load("table1"), on=["editor"])
    np.testing.assert_array_equal(joined["published_drawdown"], [3.8, 1.77, 2.42, np.nan])
    np.testing.assert_array_equal(joined["published_num_steps"], [3.54, 3.11, 5.60, np.nan])
    pd.testing.assert_frame_equal(joined[["editor", "drawdown"]], table1[["editor", "drawdown"]])


def test_join_keeps_order_and_index_and_matches_missing_layers():
    measured = pd.DataFrame(
        {"training": ["dknn-100", "none"], "editor": ["flip_labels", "gd"], "layers": [np.nan, "all"]},
        index=[7, 7],
    )
    joined = published.beside(measured, published.load("table3"), on=["training", "editor", "layers"])
    assert list(joined.index) == [7, 7]
    assert joined["published_test_error"].iloc[0] == 7.04
    assert joined.filter(like="published_").iloc[1].isna().all()
    assert joined["layers"].isna().tolist() == [True, False]


def test_joining_twice_changes_nothing(table2):
    keys = ["training", "editor", "layers"]
    once = published.beside(table2, published.load("table2"), on=keys)
    pd.testing.assert_frame_equal(published.beside(once, published.load("table2"), on=keys), once)


def test_join_refuses_ambiguous_rows(table2):
    with pytest.raises(ValueError, match="not a many-to-one merge"):
        published.beside(table2, published.load("table2"), on=["editor"])


def test_rows_are_named_as_they_are_here():
    names = published.named("table4")["training"].tolist()
    assert names[:2] == ["pretrained", "extended"]
    assert names[5:7] == ["densenet169-pretrained", "densenet169-extended"]
    assert published.named("table6")["editor"].tolist() == ["rmsprop_1e-3", "rmsprop_1e-3", "rmsprop_3e-4"]
    for table in ("table2", "table3", "table4", "table6"):
        assert not published.named(table).duplicated(["training", "editor", "layers"]).any()


@pytest.mark.parametrize("path", sorted(published.DIRECTORY.glob("*.csv")), ids=lambda path: path.stem)
def test_every_row_has_names_of_its_own_a_source_and_numbers_that_can_be(path):
    frame = published.load(path.stem)
    names = frame.columns.intersection([*published.NAMES, "lr"]).drop("source")
    assert not frame.duplicated(list(names)).any()
    assert frame["source"].str.strip().all()
    shares = frame.filter(regex="error|drawdown|rate|accuracy")
    assert (shares.isna() | ((shares >= 0) & (shares <= 100))).all(axis=None)
    assert frame.drop(columns=["source", *names]).notna().any(axis=None)
