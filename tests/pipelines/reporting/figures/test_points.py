"""Rows as points: who is on the front, who has a name, and that names cover neither each other nor the points."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.text import Text

from pipelines.reporting.figures.points import scatter
from pipelines.reporting.figures.style import editor_look
from pipelines.reporting.ranking import pareto_front

WITHOUT_INTERVALS = "^(?!.*_(low|high)$)"


def names(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def key(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def boxes(figure) -> list:
    """Where names stand, in pixels, without the lines that lead to them."""
    figure.canvas.draw()
    return [Text.get_window_extent(text) for text in figure.axes[0].texts]


def front(figure) -> list[tuple[float, float]]:
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "Pareto front"]
    return list(zip(line.get_xdata(), line.get_ydata(), strict=True))


@pytest.fixture
def many() -> pd.DataFrame:
    """Forty rows of twenty editors and four trainings, in a crowd."""
    source = np.random.default_rng(0)
    frame = pd.DataFrame({"editor": [f"editor {place % 20}" for place in range(40)], "layers": "chain3"})
    frame["training"] = ["plain"] * 30 + ["mine", "longer", "other", "plain", "mine"] * 2
    return frame.assign(
        drawdown=1 + source.random(40), num_steps=2 + source.random(40), success_rate=[99.0] * 39 + [10.0]
    )


def test_a_row_is_a_point_in_its_editors_colour_and_marker_with_intervals(table2):
    axes = scatter(table2, "num_steps").axes[0]
    segments = [s for lines in axes.collections if isinstance(lines, LineCollection) for s in lines.get_segments()]
    upright = [(s[0, 1], s[1, 1]) for s in segments if s[0, 0] == s[1, 0]]
    np.testing.assert_allclose(upright, table2[["drawdown_low", "drawdown_high"]])
    points = [line for line in axes.lines if line.get_label() != "Pareto front"]
    assert [line.get_ydata()[0] for line in points] == table2["drawdown"].tolist()
    assert {line.get_color() for line in points} == {editor_look("gd").colour, editor_look("rmsprop").colour}
    assert len({line.get_marker() for line in points}) == 2
    assert [line.get_markerfacecolor() == "white" for line in points] == [False] * 9 + [True]


def test_names_cover_neither_each_other_nor_points_and_stay_inside(table2, many):
    close = table2.assign(num_steps=3.0 + 0.01 * np.arange(10), drawdown=2.0 + 0.02 * np.arange(10))
    for frame in (close.filter(regex=WITHOUT_INTERVALS), table2, many):
        figure = scatter(frame, "num_steps")
        found, axes = boxes(figure), figure.axes[0]
        assert len(found) == min(len(frame), 12)
        assert not any(one.overlaps(other) for one, other in combinations(found, 2))
        inside = axes.get_window_extent()
        assert all(inside.x0 <= box.x0 < box.x1 <= inside.x1 for box in found)
        assert all(inside.y0 <= box.y0 < box.y1 <= inside.y1 for box in found)
        middles = axes.transData.transform(frame[["num_steps", "drawdown"]].to_numpy())
        assert not [box for box in found for middle in middles if box.padded(5).contains(*middle)]


def test_at_most_twelve_names_and_twelve_entries_and_whoever_has_neither_is_counted(many):
    figure = scatter(many, "num_steps")
    entries = key(figure)
    assert len(names(figure)) == 12
    assert len(entries) <= 12
    named = {text.split(",")[0] for text in names(figure)}
    counted = [int(text.split()[0]) for text in entries if text.endswith("other editors")]
    assert len(named | {text for text in entries if text.startswith("editor")}) + sum(counted) == 20
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert legend.height < 0.25 * figure.bbox.height
    assert legend.width <= figure.bbox.width


def test_an_editor_of_many_rows_is_named_by_the_key_the_front_by_its_name(table2):
    more = table2.assign(editor="adam", drawdown=table2["drawdown"] + 0.01)
    frame = pd.concat([table2, more], ignore_index=True)
    frame["num_steps"] = np.linspace(2, 5, 20)
    figure = scatter(frame, "num_steps")
    assert names(figure) == ["GD, chain 4"]
    assert {"RMSProp", "Adam"} <= set(key(figure))
    nobody = scatter(frame.assign(success_rate=50.0, success_rate_high=60.0), "num_steps")
    assert names(nobody) == []
    assert {"GD", "RMSProp", "Adam"} <= set(key(nobody))


def test_front_runs_over_rows_with_enough_success_only(table1):
    frame = table1.assign(generality=[80.0, 60.0, 90.0, 30.0])
    corners = front(scatter(frame, "generality"))
    assert corners == [(60.0, 2.31), (60.0, 4.9), (80.0, 4.9)]  # momentum (90, 2.05) succeeds too rarely


def test_rows_that_do_not_compete_are_never_on_the_front_and_the_key_says_why(table1):
    reach = table1.assign(generality=[60.0, 7.0, 60.0, 60.0], generality_before=7.2)
    figure = scatter(reach, "num_steps")
    (ring,) = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "none"]
    assert ring.get_xydata().tolist() == [[2.5, 3.5]]  # of two that reach as far, the one that breaks less
    assert "on the Pareto front of drawdown and generality" in key(figure)
    assert "success clearly below 95 %\nor not clearly more general than the unedited network" in key(figure)
    hollow = [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert hollow == [2.31, 2.05]


def test_without_generality_no_front_is_claimed(table1):
    assert not [text for text in key(scatter(table1, "num_steps")) if "front" in text]


def test_a_front_has_curves_of_its_editors_beside_it_and_shade_up_to_a_reference(table1):
    frame = table1.assign(generality=[20.0, 60.0, 90.0, 30.0])
    curve = pd.DataFrame({"editor": "rmsprop", "generality": [40.0, 60.0, 70.0], "drawdown": [2.0, 2.31, 6.0]})
    figure = scatter(frame, "generality", curves=[curve], reference=(25.0, "before the edit"))
    axes = figure.axes[0]
    assert (60.0, 2.31) in front(figure)
    (line,) = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert line.get_color() == editor_look("rmsprop").colour
    assert line.get_xydata().tolist() == [[40.0, 2.0], [60.0, 2.31], [70.0, 6.0]]
    (shade,) = axes.patches
    assert shade.get_x() + shade.get_width() == 25.0
    assert "before the edit" in names(figure)


def test_a_reference_that_lies_beyond_every_point_is_inside_the_figure(table1):
    frame = table1.assign(generality=[60.0, 65.0, 90.0, 70.0])
    axes = scatter(frame, "generality", reference=(0.0, "before the edit")).axes[0]
    (shade,) = axes.patches
    left, right = axes.get_xlim()
    assert left == shade.get_x() < 0.0 == shade.get_x() + shade.get_width()
    assert right > 90.0


def test_names_tell_the_training_where_it_differs_and_no_leader_crosses_another_name(table2):
    models = ["plain"] * 4 + ["mine", "longer", "other", "plain", "mine", "longer"]
    spread = {"test_error": 2.0 + 0.03 * np.arange(10), "drawdown": 2.0 + 0.02 * np.arange(10)}
    frame = table2.assign(training=models, layers="chain3", **spread).filter(regex=WITHOUT_INTERVALS)
    figure = scatter(frame, "test_error")
    found, labels = boxes(figure), figure.axes[0].texts
    assert {"GD, chain 3", "GD, chain 3\non mine", "RMSProp, chain 3\non longer"} <= set(names(figure))
    assert "trained otherwise than plain" in key(figure)
    for label in labels:
        if label.arrow_patch is not None:
            along = label.arrow_patch.get_path().interpolated(50).vertices
            line = label.arrow_patch.get_transform().transform(along)
            others = [box for box, other in zip(found, labels, strict=True) if other is not label]
            assert not [box for box in others for point in line if box.contains(*point)]
    alone = scatter(frame.assign(editor="gd"), "test_error")
    assert set(names(alone)) == set(models)
    assert "trained otherwise than plain" not in key(alone)


def test_names_are_not_crossed_by_curves(table1):
    frame = table1.assign(generality=[20.0, 50.0, 80.0, 90.0], drawdown=[1.0, 1.1, 1.2, 1.3])
    frame = frame.filter(regex=WITHOUT_INTERVALS)
    figure = scatter(frame, "generality", curves=[frame])
    found = boxes(figure)
    curve = figure.axes[0].transData.transform(frame[["generality", "drawdown"]].to_numpy())
    along = np.concatenate([np.linspace(a, b, 100) for a, b in pairwise(curve)])
    assert len(found) == 4
    assert not [box for box in found for point in along if box.contains(*point)]


def test_editors_that_have_no_such_value_are_named_below(table1):
    steps = {"logarithmic": True, "missing": "take no gradient steps"}
    frame = table1.assign(editor=["flip_labels", "rmsprop", "retrain", "lookup_cache"])
    frame = frame.assign(num_steps=[np.nan, 3.1, 19.0, np.nan])
    figure = scatter(frame, "num_steps", **steps)
    below = figure.axes[0].get_xlabel()
    assert below.endswith("\nNot shown, as they take no gradient steps: Flip labels, Lookup cache")
    assert set(names(figure)) == {"RMSProp, chain 3", "Retraining, chain 4"}
    assert figure.axes[0].get_xscale() == "log"  # retraining's steps do not press the others into a line
    everybody = scatter(table1, "num_steps", titles=("Steps", "Drawdown"), **steps).axes[0]
    assert everybody.get_xlabel() == "Steps\nLines through points are 95 % intervals."
    assert everybody.get_xscale() == "linear"


def test_whiskers_down_to_zero_on_a_logarithmic_axis(table1):
    frame = table1.assign(drawdown=[0.1, 1.0, 5.0, 9.0], drawdown_low=0.0, drawdown_high=9.5)
    figure = scatter(frame, "num_steps")
    assert figure.axes[0].get_yscale() == "log"
    assert len(figure.axes[0].texts) == 4


@pytest.mark.parametrize("smallest", [0.9, 0.1, 0.01])
def test_ticks_of_a_logarithmic_axis_stand_apart(smallest, table1):
    frame = table1.assign(drawdown=[smallest, 1.0, 5.0, 10.0]).filter(regex=WITHOUT_INTERVALS)
    figure = scatter(frame, "num_steps")
    figure.canvas.draw()
    axes = figure.axes[0]
    shown = [text.get_window_extent() for text in axes.get_yticklabels() if text.get_text()]
    shown = [box for box in shown if axes.bbox.y0 <= (box.y0 + box.y1) / 2 <= axes.bbox.y1]
    assert len(shown) > 3
    assert not any(a.overlaps(b) for a, b in pairwise(shown))


def test_pareto_front_by_hand():
    points = np.array([[1, 5], [2, 3], [3, 3], [4, 1], [4, 4], [1, 5]], dtype=float)
    assert pareto_front(points).tolist() == [True, True, False, True, False, True]
