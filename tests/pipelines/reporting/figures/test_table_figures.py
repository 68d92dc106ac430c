"""Figures of tables: the bars, whiskers, markers and words that must be in them."""

from itertools import pairwise

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.text import Annotation
from pipelines.reporting.figures.scatter import pareto_front

from pipelines.reporting.figures import catalogue


def texts(figure) -> list[str]:
    found = [text.get_text() for axes in figure.axes for text in [*axes.texts, *axes.get_xticklabels()]]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return [text for text in found if text]


def whiskers(axes) -> list[tuple[float, float]]:
    """Lower and upper ends of vertical lines, from left to right."""
    lines = [collection for collection in axes.collections if isinstance(collection, LineCollection)]
    segments = [segment for collection in lines for segment in collection.get_segments() if len(segment)]
    upright = [s for s in segments if s[0, 0] == s[1, 0] and s[0, 1] != s[1, 1] and np.isfinite(s).all()]
    return [(s[0, 1], s[1, 1]) for s in sorted(upright, key=lambda s: s[0, 0])]


def diamonds(axes) -> np.ndarray:
    points = [line.get_ydata() for line in axes.lines if line.get_marker() == "D"]
    return np.concatenate(points) if points else np.array([])


def test_table_1_has_a_bar_with_whiskers_per_editor(table1):
    figure = catalogue.table1_bars(table1)
    above, below = figure.axes
    assert [bar.get_height() for bar in above.patches] == table1["drawdown"].tolist()
    expected = table1[["drawdown_low", "drawdown_high"]].to_numpy()
    np.testing.assert_allclose(whiskers(above), expected)
    np.testing.assert_allclose(whiskers(below), table1[["success_rate_low", "success_rate_high"]].to_numpy())
    assert [bar.get_hatch() is not None for bar in above.patches] == [False, False, True, False]
    assert [text.get_text() for text in below.get_xticklabels()] == [
        "GD\nall layers", "RMSProp\nchain 3", "Momentum\nchain 4", "mine\nchain 2",
    ]  # fmt: skip
    assert sorted(diamonds(above)) == [1.77, 2.42, 3.8]
    assert any("success clearly below 95 %" in text for text in texts(figure))


def test_a_published_value_far_above_ours_is_written_at_the_edge(table1):
    frame = table1.assign(published_drawdown=[3.8, 1.77, 2.42, 99.5])
    figure = catalogue.table1_bars(frame)
    assert 99.5 not in diamonds(figure.axes[0])
    assert figure.axes[0].get_ylim()[1] < 15
    assert "99.5" in texts(figure)
    assert any("beyond the axis" in text for text in texts(figure))


@pytest.mark.parametrize(
    ("lowest", "expected"), [(96.0, [95, 100]), (86.0, [85, 90, 95, 100]), (40.0, [40, 60, 80, 100])]
)
def test_the_axis_of_success_has_whole_marks_and_100(lowest, expected, table1):
    frame = table1.assign(success_rate=[lowest, 100, 100, 100]).drop(columns=["success_rate_low", "success_rate_high"])
    below = catalogue.table1_bars(frame).axes[1]
    low, high = below.get_ylim()
    assert [tick for tick in below.get_yticks() if low <= tick <= high] == expected


def test_table_1_without_intervals_and_published_values(table1):
    plain = table1[["editor", "layers", "drawdown", "success_rate"]]
    figure = catalogue.table1_bars(plain)
    assert len(figure.axes[0].patches) == 4
    assert whiskers(figure.axes[0]) == []
    assert diamonds(figure.axes[0]).size == 0
    catalogue.table1_bars(plain.assign(drawdown=[np.nan, 1.0, 2.0, np.nan])).canvas.draw()


def test_table_2_groups_editors_by_layers_in_the_order_of_the_network(table2):
    axes = catalogue.table2_bars(table2).axes[0]
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    assert ticks == ["all layers", "chain 1", "chain 2", "chain 3", "chain 4"]
    assert len(axes.patches) == 10
    in_order = sorted(axes.patches, key=lambda bar: bar.get_x())
    by_hand = [2.0, 7.0, 3.0, 8.0, 4.0, 9.0, 5.0, 10.0, 1.0, 6.0]  # gd and rmsprop for all, chain 1 … 4
    assert [bar.get_height() for bar in in_order] == by_hand
    assert len({to_hex(bar.get_facecolor()) for bar in in_order if bar.get_hatch() is None}) == 2
    assert sorted(diamonds(axes)) == sorted(value for value in table2["published_drawdown"] if value < 22)


def test_scatter_names_every_entry_without_overlap(table2):
    frame = table2.assign(num_steps=3.0 + 0.01 * np.arange(10), drawdown=2.0 + 0.02 * np.arange(10))
    figure = catalogue.scatter(frame.filter(regex="^(?!.*_(low|high)$)"))
    labels = [text for text in figure.axes[0].texts if isinstance(text, Annotation)]
    assert len({text.get_text() for text in labels}) == 10
    figure.canvas.draw()
    boxes = [matplotlib.text.Text.get_window_extent(label) for label in labels]
    overlaps = [a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :]]
    assert not any(overlaps)


def test_scatter_draws_intervals_in_both_directions(table2):
    axes = catalogue.scatter(table2).axes[0]
    np.testing.assert_allclose(
        whiskers(axes), table2.sort_values("num_steps")[["drawdown_low", "drawdown_high"]].to_numpy()
    )


def test_error_scatter_falls_back_to_steps_while_there_is_one_model(table2):
    assert "steps" in catalogue.error_drawdown_scatter(table2).axes[0].get_xlabel()
    two_models = table2.assign(test_error=[2.0] * 5 + [3.0] * 5)
    assert "Test error" in catalogue.error_drawdown_scatter(two_models).axes[0].get_xlabel()


def test_front_runs_over_entries_with_enough_success_only(table1):
    axes = catalogue.scatter(table1).axes[0]
    (front,) = [line for line in axes.lines if line.get_label() == "Pareto front"]
    corners = set(zip(front.get_xdata(), front.get_ydata(), strict=True))
    assert {
        (2.5, 3.5),
        (3.1, 2.31),
    } <= corners  # "mine" and rmsprop; momentum (5.2, 2.05) succeeds too rarely
    assert 2.05 not in front.get_ydata()


def test_front_towards_high_success(table1):
    axes = catalogue.scatter(table1, x="success_rate").axes[0]
    (front,) = [line for line in axes.lines if line.get_label() == "Pareto front"]
    corners = list(zip(front.get_xdata(), front.get_ydata(), strict=True))
    assert corners == [(98.8, 2.31), (98.8, 3.5), (99.0, 3.5)]


def test_front_of_generality_has_curves_of_its_editors_beside_it(table1):
    frame = table1.assign(generality=[20.0, 60.0, 90.0, 30.0])
    curve = pd.DataFrame({"editor": "rmsprop", "generality": [40.0, 60.0, 70.0], "drawdown": [2.0, 2.31, 6.0]})
    axes = catalogue.scatter(frame, x="generality", curves=[curve]).axes[0]
    (front,) = [line for line in axes.lines if line.get_label() == "Pareto front"]
    assert (60.0, 2.31) in set(zip(front.get_xdata(), front.get_ydata(), strict=True))
    (line,) = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert line.get_color() == catalogue.editor_colour("rmsprop")
    assert list(zip(line.get_xdata(), line.get_ydata(), strict=True)) == [(40.0, 2.0), (60.0, 2.31), (70.0, 6.0)]


def test_many_entries_are_named_on_the_front_only(table2):
    frame = pd.concat([table2, table2.assign(editor="adam")], ignore_index=True)
    frame["num_steps"] = np.linspace(2, 5, 20)
    figure = catalogue.scatter(frame)
    assert [text.get_text() for text in figure.axes[0].texts] == ["GD, chain 4"]
    assert {"GD", "RMSProp", "Adam"} <= set(texts(figure))
    nobody = catalogue.scatter(frame.assign(success_rate=50.0, success_rate_high=60.0))
    assert list(nobody.axes[0].texts) == []


def test_names_tell_the_training_where_it_differs_and_no_leader_crosses_another_name(table2):
    models = ["plain"] * 4 + ["mine", "longer", "other", "plain", "mine", "longer"]
    spread = {"test_error": 2.0 + 0.03 * np.arange(10), "drawdown": 2.0 + 0.02 * np.arange(10)}
    frame = table2.assign(training=models, layers="chain3", **spread).filter(regex="^(?!.*_(low|high)$)")
    figure = catalogue.scatter(frame, x="test_error")
    figure.canvas.draw()
    labels = figure.axes[0].texts
    assert {"GD, chain 3", "GD, chain 3\non mine", "RMSProp, chain 3\non longer"} <= set(texts(figure))
    for label in labels:
        others = [matplotlib.text.Text.get_window_extent(other) for other in labels if other is not label]
        if label.arrow_patch is not None:
            along = label.arrow_patch.get_path().interpolated(50).vertices
            line = label.arrow_patch.get_transform().transform(along)
            assert not [box for box in others for point in line if box.contains(*point)]
    alone = catalogue.scatter(frame.assign(editor="gd"), x="test_error")
    assert {text.get_text() for text in alone.axes[0].texts} == set(models)


def test_names_are_not_crossed_by_curves(table1):
    frame = table1.assign(generality=[20.0, 50.0, 80.0, 90.0], drawdown=[1.0, 1.1, 1.2, 1.3])
    frame = frame.filter(regex="^(?!.*_(low|high)$)")
    figure = catalogue.scatter(frame, x="generality", curves=[frame])
    figure.canvas.draw()
    curve = figure.axes[0].transData.transform(frame[["generality", "drawdown"]].to_numpy())
    along = np.concatenate([np.linspace(a, b, 100) for a, b in pairwise(curve)])
    boxes = [matplotlib.text.Text.get_window_extent(text) for text in figure.axes[0].texts]
    assert len(boxes) == 4
    assert not [box for box in boxes for point in along if box.contains(*point)]


def test_the_key_of_many_entries_leaves_the_plot_room(table2):
    names = [f"editable-0.01-rmsprop-chain{number}" for number in range(9)]
    many = [table2.assign(editor=f"some editor {number}", training=names[number % 9]) for number in range(20)]
    figure = catalogue.scatter(pd.concat(many, ignore_index=True), x="success_rate")
    figure.canvas.draw()
    key = figure.legends[0].get_window_extent()
    assert key.height < 0.25 * figure.bbox.height
    assert key.width <= figure.bbox.width


def test_steps_are_of_editors_that_take_them(table1):
    frame = table1.assign(
        editor=["flip_labels", "rmsprop", "retrain", "lookup_cache"], num_steps=[np.nan, 3.1, 19.0, np.nan]
    )
    axes = catalogue.scatter(frame).axes[0]
    assert axes.get_xlabel().endswith("\nNot shown, as they take no gradient steps: Flip labels, Lookup cache")
    assert {text.get_text() for text in axes.texts} == {"RMSProp, chain 3", "Retraining, chain 4"}
    assert axes.get_xscale() == "log"  # retraining's steps do not press the others into a line
    everybody = catalogue.scatter(table1).axes[0]
    assert everybody.get_xlabel() == "Gradient steps per edit (mean)"
    assert everybody.get_xscale() == "linear"
    assert len(catalogue.scatter(frame, x="success_rate").axes[0].texts) == 4
    with pytest.raises(ValueError, match="no rows"):
        catalogue.scatter(frame.iloc[[0, 3]])


def test_whiskers_down_to_zero_on_a_logarithmic_axis(table1):
    frame = table1.assign(drawdown=[0.1, 1.0, 5.0, 9.0], drawdown_low=0.0, drawdown_high=9.5)
    figure = catalogue.scatter(frame)
    assert figure.axes[0].get_yscale() == "log"
    assert len(figure.axes[0].texts) == 4


@pytest.mark.parametrize("smallest", [0.9, 0.1, 0.01])
def test_ticks_of_a_logarithmic_axis_stand_apart(smallest, table1):
    frame = table1.assign(drawdown=[smallest, 1.0, 5.0, 10.0]).filter(regex="^(?!.*_(low|high)$)")
    figure = catalogue.scatter(frame)
    figure.canvas.draw()
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in axes.get_yticklabels() if text.get_text()]
    shown = [box for box in boxes if axes.bbox.y0 <= (box.y0 + box.y1) / 2 <= axes.bbox.y1]
    assert len(shown) > 3
    assert not any(a.overlaps(b) for a, b in pairwise(shown))


def test_pareto_front_by_hand():
    points = np.array([[1, 5], [2, 3], [3, 3], [4, 1], [4, 4], [1, 5]], dtype=float)
    assert pareto_front(points).tolist() == [True, True, False, True, False, True]


def test_entries_without_numbers_are_left_out(table1):
    frame = table1.assign(num_steps=[np.nan, 3.1, 5.2, 2.5])
    assert len(catalogue.scatter(frame).axes[0].texts) == 3
    with pytest.raises(ValueError, match="no rows"):
        catalogue.scatter(frame.assign(num_steps=np.nan))


def test_editors_keep_their_colour():
    known = ["gd", "scaled_gd", "rprop", "rmsprop", "momentum", "adam", "gd_ewc", "rmsprop_ewc"]
    assert len({catalogue.editor_colour(editor) for editor in known}) == len(known)
    assert catalogue.editor_colour("mine") == catalogue.editor_colour("mine")
    assert len({catalogue.editor_colour(f"mine {i}") for i in range(40)}) > 3
    assert catalogue.editor_colour("mine") not in {catalogue.editor_colour(editor) for editor in known}


@pytest.mark.parametrize("draw", [catalogue.table1_bars, catalogue.table2_bars, catalogue.scatter])
def test_empty_frames_are_refused(draw, table1):
    with pytest.raises(ValueError, match="no rows"):
        draw(table1.iloc[:0])
    with pytest.raises(ValueError, match="no column .*'editor'"):
        draw(pd.DataFrame({"drawdown": [1.0]}))


@pytest.mark.parametrize("classes", [10, 1000])
def test_ranks_are_shown_as_shares_with_the_targets_drawn_by_them(classes):
    ranks = np.arange(classes)
    shares = np.exp(-ranks / 3.0) * (ranks > 0)
    frame = pd.DataFrame({"rank": ranks, "training": shares / shares.sum(), "evaluation": shares[::-1] / shares.sum()})
    frame = frame.assign(drawn=frame["training"], random=1 / classes)
    axes = catalogue.rank_bars(frame).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines["targets with matched ranks"].get_ydata(), 100 * frame["drawn"])
    if classes == 10:
        heights = [bar.get_height() for bar in axes.patches]
        np.testing.assert_allclose(heights, 100 * np.concatenate([frame["training"], frame["evaluation"]]))
        assert lines["random targets"].get_ydata().tolist() == [10.0] * 10
    else:
        assert axes.get_xscale() == "log"
        np.testing.assert_allclose(lines["mistakes that are evaluated"].get_ydata(), 100 * frame["evaluation"])
    with pytest.raises(ValueError, match="no column 'random'"):
        catalogue.rank_bars(frame.drop(columns="random"))
