"""Figure 2: what its panels show of the tables behind it."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from pipelines.reporting.figures.classes import class_colour, figure2

NAMES = ["cat", "dog", "ship"]


def tables(*trainings: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    confusion, tsne, variance = [], [], []
    source = np.random.default_rng(0)
    for training in trainings:
        cell = {"training": training, "editor": "rmsprop", "layers": "chain3"}
        for row, edited in enumerate(NAMES):
            for column, name in enumerate(NAMES):
                value = 30.0 if row == column else -2.0 * column
                confusion.append({**cell, "edited_class": edited, "class": name, "drawdown_signed": value})
            for target in NAMES:
                x, y = source.normal(size=2) + 9 * row
                tsne.append({**cell, "edited_class": edited, "target": target, "x": x, "y": y})
        for components, explained in ((1, 40.0), (2, 75.0), (3, 100.0)):
            variance.append({**cell, "components": components, "explained": explained})
    return pd.DataFrame(confusion), pd.DataFrame(tsne), pd.DataFrame(variance)


def panels(figure) -> list:
    """Matrix and edits of each model, then the curves of all."""
    curves, *others = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    return [*others, curves]


def test_one_model_has_three_panels():
    confusion, tsne, variance = tables("plain")
    matrix, edits, curve = panels(figure2(confusion, tsne, variance))
    expected = confusion["drawdown_signed"].to_numpy().reshape(3, 3)
    np.testing.assert_array_equal(matrix.images[0].get_array(), expected)
    assert [label.get_text() for label in matrix.get_xticklabels()] == NAMES
    assert [text.get_text() for text in matrix.texts] == ["30", "−2", "−4", "0", "30", "−4", "0", "−2", "30"]
    assert matrix.images[0].get_clim() == (-30, 30)
    (points,) = [found for found in edits.collections if isinstance(found, PathCollection)]
    np.testing.assert_array_equal(points.get_offsets(), tsne[["x", "y"]])
    wanted = [class_colour(row, target, 3) for row in range(3) for target in range(3)]
    np.testing.assert_allclose(points.get_facecolors()[:, :3], wanted)
    assert [text.get_text() for text in edits.texts] == NAMES
    (line,) = curve.lines
    assert line.get_xydata().tolist() == [[1, 40], [2, 75], [3, 100]]
    assert line.get_label() == "plain"


def test_every_model_has_a_row_and_a_curve():
    figure = figure2(*tables("plain", "editable-0.01-rmsprop-chain3"))
    first, _, second, _, curves = panels(figure)
    assert first.get_title(loc="left").endswith("\nplain")
    assert second.get_title(loc="left").endswith("\neditable-0.01-rmsprop-chain3")
    assert [line.get_label() for line in curves.lines] == ["plain", "editable-0.01-rmsprop-chain3"]
    assert first.images[0].get_clim() == second.images[0].get_clim()


def test_editors_are_named_where_they_tell_models_apart():
    doubled = [pd.concat([frame, frame.assign(layers="all")]) for frame in tables("plain")]
    labels = [line.get_label() for line in panels(figure2(*doubled))[-1].lines]
    assert labels == ["plain, RMSProp, chain 3", "plain, RMSProp, all layers"]


def test_brightness_follows_the_target_and_classes_differ():
    for label in range(10):
        lightness = [sum(class_colour(label, target, 10)) for target in range(10)]
        assert np.all(np.diff(lightness) > 0.05)
    assert len({class_colour(label, 5, 10) for label in range(10)}) == 10


@pytest.mark.parametrize("spread", [0.0, 0.01, 1.0])
def test_names_of_groups_cover_neither_each_other_nor_the_frame(spread):
    long = dict(zip(NAMES, ("a long name", "automobile", "an even longer one"), strict=True))
    confusion, tsne, variance = (frame.replace(long) for frame in tables("plain"))
    close = tsne.assign(x=spread * (tsne.index % 2), y=0.01 * spread * tsne.index)
    _, edits, _ = panels(figure2(confusion, close, variance))
    frame, boxes = edits.get_window_extent(), [text.get_window_extent() for text in edits.texts]
    assert [text.get_text() for text in edits.texts] == list(long.values())
    for box in boxes:
        assert frame.x0 < box.x0 < box.x1 < frame.x1
        assert frame.y0 < box.y0 < box.y1 < frame.y1
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_classes_named_by_numbers_and_many_classes():
    numbers = {name: number for number, name in enumerate(NAMES)}
    columns = ["edited_class", "class", "target"]
    confusion, tsne, variance = (
        frame.assign(**{name: frame[name].map(numbers) for name in columns if name in frame})
        for frame in tables("plain")
    )
    _, edits, _ = panels(figure2(confusion, tsne, variance))
    assert [text.get_text() for text in edits.texts] == ["0", "1", "2"]
    grid = pd.MultiIndex.from_product([range(12), range(12)], names=["edited_class", "class"]).to_frame(index=False)
    many = grid.assign(training="plain", editor="rmsprop", layers="chain3", drawdown_signed=1.0)
    matrix, edits, _ = panels(figure2(many, tsne, variance))
    assert not [*matrix.texts, *edits.texts]


def test_names_of_many_classes_do_not_stand_on_each_other():
    """Two hundred names, some of them whole sentences, were one black bar, and pressed the matrix flat."""
    names = [f"class {number} of a data set with long names" for number in range(200)]
    grid = pd.MultiIndex.from_product([names, names], names=["edited_class", "class"]).to_frame(index=False)
    many = grid.assign(training="plain", editor="rmsprop", layers="chain3", drawdown_signed=1.0)
    _, tsne, variance = tables("plain")
    figure = figure2(many, tsne.assign(edited_class=names[0], target=names[1]), variance)
    figure.canvas.draw()
    matrix = panels(figure)[0]
    assert matrix.bbox.width > 0.1 * figure.bbox.width
    for labels in (matrix.get_xticklabels(), matrix.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        assert len(boxes) > 10
        assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
