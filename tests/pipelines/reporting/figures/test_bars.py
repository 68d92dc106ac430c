"""Tables as bars: what stands in them, where, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from pipelines.reporting.figures.bars import table_bars
from pipelines.reporting.figures.style import editor_look


@pytest.fixture
def table3() -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "training": ["plain", "editable-0.1-rmsprop-chain3", "dknn-10", "cnp"],
            "editor": ["rmsprop", "rmsprop", "flip_labels", "condition_vector"],
            "layers": ["chain3", "chain3", "votes", "condition"],
            "drawdown": [5.5, 3.75, 0.25, np.nan],
            "success_rate": [99.0, 97.0, 80.0, np.nan],
            "success_rate_high": [99.9, 99.0, 88.0, np.nan],
            "test_error": [2.0, 2.5, 1.75, np.nan],
            "published_drawdown": [1.77, 0.65, 1.76, 1.06],
            "published_test_error": [6.3, 7.19, 6.36, 6.33],
        }
    )
    for metric in ("drawdown", "test_error"):
        frame[f"{metric}_low"], frame[f"{metric}_high"] = frame[metric] - 0.2, frame[metric] + 0.4
    return frame


def successes(frame: pd.DataFrame, **options):
    titles = ("Drawdown (points)", "Success rate (%)")
    return table_bars(frame, quality="success_rate", titles=titles, required=95.0, **options)


def diamonds(axes) -> list[float]:
    (line,) = [line for line in axes.lines if line.get_marker() == "D"]
    return list(line.get_xdata())


def names(figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def key(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_every_measured_row_has_a_bar_an_interval_and_its_models_quality(table3):
    figure = table_bars(table3)
    left, right = figure.axes
    assert [bar.get_width() for bar in left.patches] == [5.5, 3.75, 0.25]
    (whiskers,) = [lines for lines in left.collections if isinstance(lines, LineCollection)]
    ends = [(segment[0, 0], segment[1, 0]) for segment in whiskers.get_segments()]
    np.testing.assert_allclose(ends, table3[["drawdown_low", "drawdown_high"]][:3])
    assert names(figure) == [
        "plain · RMSProp · chain 3",
        "editable-0.1-rmsprop-chain3 · RMSProp · chain 3",
        "dknn-10 · Flip labels · votes",
    ]
    assert [bool(bar.get_hatch()) for bar in left.patches] == [False, False, True]
    assert {"2.00", "2.50", "1.75"} <= {text.get_text() for text in right.texts}
    assert diamonds(right) == [6.3, 7.19, 6.36]  # the paper's errors are comparable, so they are shown
    assert right.get_xlim()[1] > 7.19
    bottom, top = left.get_ylim()
    assert bottom > top  # the first row above
    assert left.get_xlabel() == "Drawdown (points)"


def test_a_published_value_far_above_ours_is_written_at_the_end(table3):
    figure = table_bars(table3.assign(published_drawdown=[99.5, 0.65, 1.76, np.nan]))
    left = figure.axes[0]
    assert diamonds(left) == [0.65, 1.76]
    assert left.get_xlim()[1] < 15
    assert "99.5 →" in [text.get_text() for text in left.texts]


def test_rows_of_one_model_stand_with_their_success_and_the_required_one(table1):
    figure = successes(table1)
    left, right = figure.axes
    assert names(figure) == ["GD · all layers", "RMSProp · chain 3", "Momentum · chain 4", "mine · chain 2"]
    assert [bar.get_width() for bar in left.patches] == table1["drawdown"].tolist()
    assert [bool(bar.get_hatch()) for bar in left.patches] == [False, False, True, False]
    (line,) = [line for line in right.lines if line.get_linestyle() == "--"]
    assert list(line.get_xdata()) == [95, 95]
    assert right.get_xlim()[0] > 80
    assert "success clearly below 95 %" in key(figure)


def test_rows_that_should_not_win_are_striped_and_the_key_says_why(table1):
    figure = successes(table1.assign(generality=[60.0, 7.0, 7.0, 60.0], generality_before=7.2))
    assert [bar.get_hatch() or "" for bar in figure.axes[0].patches] == ["", "----", "////", ""]
    assert {"† not clearly more general than the unedited network", "success clearly below 95 %"} <= set(key(figure))
    assert [text.get_text() for text in figure.axes[0].texts][:3] == ["4.90", "2.31 †", "2.05"]


def test_names_on_the_front_are_bold_and_generality_stands_beside_that_of_the_unedited_network(table1):
    figure = successes(table1.assign(generality=[60.0, 50.0, 90.0, 40.0], generality_before=7.2))
    left, middle, right = figure.axes
    assert [label.get_fontweight() for label in left.get_yticklabels()] == ["bold", "bold", "normal", "normal"]
    assert left.get_xlabel() == "Drawdown (points)\nBold names: on the Pareto front of drawdown and generality"
    assert [line.get_xdata().tolist() for line in middle.lines[1:]] == [[60.0, 50.0, 90.0, 40.0], [7.2] * 4]
    assert [axes.get_xlabel() for axes in (middle, right)] == ["Generality (%)", "Success rate (%)"]
    assert "generality of the unedited network" in key(figure)


def test_groups_stand_apart_in_the_order_of_the_network(table2):
    figure = successes(table2, group="layers")
    axes = figure.axes[0]
    by_hand = [2.0, 7.0, 3.0, 8.0, 4.0, 9.0, 5.0, 10.0, 1.0, 6.0]  # gd and rmsprop for all, chain 1 … 4
    assert [bar.get_width() for bar in axes.patches] == by_hand
    assert names(figure)[:3] == ["GD · all layers", "RMSProp · all layers", "GD · chain 1"]
    steps = np.diff([bar.get_y() for bar in axes.patches])
    assert min(steps[1::2]) > max(steps[::2])
    colours = [to_hex(bar.get_facecolor()).upper() for bar in axes.patches if not bar.get_hatch()]
    assert set(colours) == {editor_look("gd").colour, editor_look("rmsprop").colour}


def test_tables_of_another_task_have_its_columns_titles_and_names():
    frame = pd.DataFrame(
        {"training": ["plain", "mine"], "editor": ["rmsprop_1e-3", "covariance"], "success_rate": 99.0}
        | {"layers": ["last_decoder_layer", "last_feed_forward"], "published_bleu": [34.77, np.nan]}
        | {"bleu_drawdown": [0.8, 0.3], "bleu": [34.5, 34.0]}
    )
    task = {"drawdown": "bleu_drawdown", "quality": "bleu", "titles": ("BLEU drawdown", "Test BLEU")}
    figure = table_bars(frame, **task)
    left, right = figure.axes
    assert [bar.get_width() for bar in left.patches] == [0.8, 0.3]
    assert (left.get_xlabel(), right.get_xlabel()) == ("BLEU drawdown", "Test BLEU")
    assert names(figure) == ["plain · RMSProp, 1e-3 · last decoder layer", "mine · Covariance · last feed forward"]
    assert {"34.50", "34.00"} <= {text.get_text() for text in right.texts}


def test_the_number_beside_a_bar_is_the_bars(table3):
    """It stood right of the published diamond, where that was the nearest thing to read it of."""
    frame = table3.assign(drawdown=[5.5, 0.01, 0.25, np.nan], drawdown_low=np.nan, drawdown_high=np.nan)
    figure = table_bars(frame)
    figure.canvas.draw()
    left = figure.axes[0]
    bars = {f"{bar.get_width():.2f}": bar for bar in left.patches}
    labels = [text for text in left.texts if text.get_text() in bars]
    assert len(labels) == 3
    (published,) = [line for line in left.lines if line.get_marker() == "D"]
    marks = left.transData.transform(np.column_stack(published.get_data()))
    for text in labels:
        bar, extent = bars[text.get_text()], text.get_window_extent()
        end, middle = left.transData.transform((bar.get_width(), bar.get_y() + bar.get_height() / 2))
        assert 0 < extent.x0 - end < 8 * figure.dpi / 72
        assert extent.y0 < middle < extent.y1
        assert not any(extent.y0 <= y <= extent.y1 for _, y in marks)


def test_rows_without_intervals_and_published_values_are_bars(table1):
    figure = successes(table1[["training", "editor", "layers", "drawdown", "success_rate"]])
    figure.canvas.draw()
    assert len(figure.axes[0].patches) == 4
    assert key(figure) == ["success clearly below 95 %"]
