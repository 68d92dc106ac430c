"""Lines: trade-offs over the learning rate, edits in a row, epochs of a training, ranks of true classes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipelines.reporting.figures.bars import rank_bars
from pipelines.reporting.figures.curves import sequence_curves, tradeoff_curves, training_curves

PANELS = {"Objective (nats)": ("train_loss",), "Error (%)": ("train_error", "tuning_error")}
JUDGED = ("tuning_error", "%")
IN_A_ROW = {"error": "Error (%)", "in_force": "In force (%)"}


@pytest.fixture
def history() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "epoch": [1, 2, 3, 4],
            "train_loss": [2.0, 1.0, 0.5, 0.4],
            "train_error": [60.0, 30.0, 10.0, 8.0],
            "tuning_error": [61.0, 33.0, 15.0, 17.0],
        }
    )


def sequences(count: int) -> pd.DataFrame:
    """Cells of two trainings and as many editors; in two of them nothing is ever lost."""
    tables = []
    for place in range(count):
        edits = np.arange(21)
        held = np.full(21, 100.0) if place in (3, 4) else (100.0 - place * edits / 2).clip(0)
        cell = {"training": "plain" if place < 6 else "editable", "editor": f"editor{place}", "layers": "chain3"}
        values = {"error": 2.0 + place * edits / 4, "error_std": 1.5, "in_force": held, "in_force_std": 4.0}
        tables.append(pd.DataFrame({**cell, "edits": edits, **values}))
    return pd.concat(tables, ignore_index=True)


def key(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_curve_per_model_with_the_tuned_point_ringed():
    rows = [
        {"training": training, "editor": "rmsprop", "layers": "chain3", "factor": factor}
        | {"success_rate": success, "drawdown": worse * success / 20, "drawdown_low": 0.1, "drawdown_high": 9.0}
        for training, worse in (("plain", 2.0), ("mine", 1.0))
        for factor, success in ((1.6, 99.0), (0.4, 40.0), (1.0, 96.0))
    ]
    figure = tradeoff_curves(pd.DataFrame(rows))
    (axes,) = figure.axes
    curves = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert [list(line.get_xdata()) for line in curves] == [[40.0, 96.0, 99.0]] * 2  # in the order of the factor
    assert len({line.get_color() for line in curves}) == 2  # the same editor: the colour tells the training
    rings = [line.get_xydata().tolist() for line in axes.lines if line.get_markerfacecolor() == "none"]
    assert rings == [[[96.0, 9.6]], [[96.0, 4.8]]]
    assert key(figure) == ["plain · RMSProp · chain 3", "mine · RMSProp · chain 3", "tuned learning rate"]


def test_there_is_a_curve_and_a_band_for_every_cell_and_all_look_different():
    rows = sequences(9)
    figure = sequence_curves(rows, IN_A_ROW)
    for axes, (name, title) in zip(figure.axes, IN_A_ROW.items(), strict=True):
        assert axes.get_title(loc="left") == title
        assert len(axes.lines) == len(axes.collections) == 9
        for line, (_, expected) in zip(axes.lines, rows.groupby("editor"), strict=True):
            np.testing.assert_array_equal(line.get_ydata(), expected[name])
        assert len({(line.get_color(), str(line._dash_pattern)) for line in axes.lines}) == 9
    marked = [set(range(start, 21, step)) for start, step in (li.get_markevery() for li in figure.axes[1].lines[3:5])]
    assert marked[0].isdisjoint(marked[1])  # so that curves at the same height both show
    assert figure.axes[1].get_ylim()[1] >= 100
    assert key(figure) == [f"{'plain' if place < 6 else 'editable'} · editor{place} · chain 3" for place in range(9)]


def test_the_key_of_many_curves_has_at_most_twelve_entries():
    figure = sequence_curves(sequences(15), IN_A_ROW)
    assert len(key(figure)) == 11
    assert key(figure)[-1] == "5 more"
    assert len({line.get_color() for line in figure.axes[0].lines[10:]}) == 1


def test_an_editor_has_one_colour_in_every_figure_and_dashes_tell_its_trainings():
    rows = sequences(3).replace({"editor0": "rmsprop", "editor1": "rmsprop", "editor2": "gd"})
    lines = sequence_curves(rows.replace({"training": {}}).assign(training=np.repeat(["a", "b", "a"], 21)), IN_A_ROW)
    first, second, third = lines.axes[0].lines
    assert first.get_color() == second.get_color() != third.get_color()
    assert first.get_marker() == second.get_marker() != third.get_marker()
    assert first._dash_pattern != second._dash_pattern


def test_training_curves_mark_the_epoch_that_was_kept(history):
    figure = training_curves(history, 3, PANELS, JUDGED, "plain training")
    loss, error = figure.axes
    assert loss.lines[0].get_ydata().tolist() == history["train_loss"].tolist()
    assert error.lines[1].get_ydata().tolist() == history["tuning_error"].tolist()
    assert [axes.get_ylabel() for axes in figure.axes] == list(PANELS)
    assert key(figure) == ["training", "tuning"]
    assert [text.get_text() for text in error.texts] == ["chosen: epoch 3\ntuning error 15.00 %"]
    assert not loss.texts


def test_a_training_of_another_task_has_its_own_panels(history):
    translators = history.rename(columns={"tuning_error": "valid_loss"})
    figure = training_curves(translators, 2, {"Loss": ("train_loss", "valid_loss")}, ("valid_loss", "nats"), "")
    assert len(figure.axes) == 1
    assert key(figure) == ["training", "validation"]
    assert figure.axes[0].texts[0].get_text() == "chosen: epoch 2\nvalidation loss 33.00 nats"


@pytest.mark.parametrize("classes", [10, 1000])
def test_ranks_are_shown_as_shares_with_the_targets_drawn_by_them(classes):
    ranks = np.arange(classes)
    shares = np.exp(-ranks / 3.0) * (ranks > 0)
    frame = pd.DataFrame({"rank": ranks, "training": shares / shares.sum(), "evaluation": shares[::-1] / shares.sum()})
    frame = frame.assign(drawn=frame["training"], random=1 / classes)
    axes = rank_bars(frame).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines["targets with matched ranks"].get_ydata(), 100 * frame["drawn"])
    if classes == 10:
        heights = [bar.get_height() for bar in axes.patches]
        np.testing.assert_allclose(heights, 100 * np.concatenate([frame["training"], frame["evaluation"]]))
        assert lines["random targets"].get_ydata().tolist() == [10.0] * 10
    else:
        assert axes.get_xscale() == "log"
        np.testing.assert_allclose(lines["mistakes that are evaluated"].get_ydata(), 100 * frame["evaluation"])
