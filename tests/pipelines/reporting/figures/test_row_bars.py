"""Tables 3 and 6 as pictures, and the trade-off curves: what stands in them, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from pipelines.reporting.figures import catalogue


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


def test_table_3_has_a_bar_for_every_measured_row(table3):
    left, right = catalogue.table3_bars(table3).axes
    assert [bar.get_width() for bar in left.patches] == [5.5, 3.75, 0.25]
    assert [label.get_text() for label in left.get_yticklabels()] == [
        "plain · RMSProp · chain 3",
        "editable-0.1-rmsprop-chain3 · RMSProp · chain 3",
        "dknn-10 · Flip labels · votes",
    ]
    assert [bool(bar.get_hatch()) for bar in left.patches] == [False, False, True]
    assert {"2.00", "2.50", "1.75"} <= {text.get_text() for text in right.texts}
    assert right.get_xlim()[1] > 7.19  # the paper's errors are comparable, so they are shown
    bottom, top = left.get_ylim()
    assert bottom > top  # the first row above


def test_the_number_beside_a_bar_is_the_bars(table3):
    """It stood right of the published diamond, where that was the nearest thing to read it of."""
    frame = table3.assign(drawdown=[5.5, 0.01, 0.25, np.nan], drawdown_low=np.nan, drawdown_high=np.nan)
    figure = catalogue.table3_bars(frame)
    figure.canvas.draw()
    left = figure.axes[0]
    bars = {f"{bar.get_width():.2f}": bar for bar in left.patches}
    labels = [text for text in left.texts if text.get_text() in bars]
    assert len(labels) == 3
    (published,) = [line for line in left.lines if line.get_marker() == "D"]
    diamonds = left.transData.transform(np.column_stack(published.get_data()))
    for text in labels:
        bar, extent = bars[text.get_text()], text.get_window_extent()
        end, middle = left.transData.transform((bar.get_width(), bar.get_y() + bar.get_height() / 2))
        assert 0 < extent.x0 - end < 8 * figure.dpi / 72
        assert extent.y0 < middle < extent.y1
        assert not any(extent.y0 <= y <= extent.y1 for _, y in diamonds)


def test_a_table_without_measured_rows_is_refused(table3):
    with pytest.raises(ValueError, match="figure of Table 3"):
        catalogue.table3_bars(table3.iloc[[3]])
    with pytest.raises(ValueError, match="drawdown"):
        catalogue.table3_bars(table3.drop(columns="drawdown"))


def test_table_6_names_learning_rates_and_says_which_were_tuned():
    frame = pd.DataFrame(
        {"training": ["plain", "mine", "mine"], "editor": ["rmsprop", "rmsprop", "covariance"], "success_rate": 99.0}
        | {"layers": ["last_decoder_layer"] * 2 + ["last_feed_forward"], "lr": [1e-3, 2.13e-4, np.nan]}
        | {"views": [0, 0, 4], "tuned": [False, True, True], "published_bleu": [34.77, np.nan, np.nan]}
        | {"bleu_drawdown": [0.8, 0.3, 0.2], "bleu": [34.5, 34.0, 34.0]}
    )
    left, right = catalogue.table6_bars(frame).axes
    assert [bar.get_width() for bar in left.patches] == [0.8, 0.3, 0.2]
    names = [
        "plain · RMSProp · α = 0.001",
        "mine · RMSProp · α = 0.00021, tuned",
        "mine · Covariance, 4 views · last feed forward · tuned",
    ]
    assert [label.get_text() for label in left.get_yticklabels()] == names
    assert {"34.50", "34.00"} <= {text.get_text() for text in right.texts}
    with pytest.raises(ValueError, match="figure of Table 6"):
        catalogue.table6_bars(frame.drop(columns="tuned"))


def test_a_curve_per_model_with_the_tuned_point_ringed():
    rows = [
        {"training": training, "editor": "rmsprop", "layers": "chain3", "factor": factor}
        | {"success_rate": success, "drawdown": worse * success / 20, "drawdown_low": 0.1, "drawdown_high": 9.0}
        for training, worse in (("plain", 2.0), ("mine", 1.0))
        for factor, success in ((1.6, 99.0), (0.4, 40.0), (1.0, 96.0))
    ]
    (axes,) = catalogue.tradeoff_curves(pd.DataFrame(rows)).axes
    curves = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert [list(line.get_xdata()) for line in curves] == [[40.0, 96.0, 99.0]] * 2  # in the order of the factor
    scattered = [points for points in axes.collections if isinstance(points, PathCollection)]
    rings = [tuple(map(float, points.get_offsets()[0])) for points in scattered]
    assert rings == [(96.0, 9.6), (96.0, 4.8)]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["plain · RMSProp · chain 3", "mine · RMSProp · chain 3", "tuned learning rate"]
    with pytest.raises(ValueError, match="trade-off curves"):
        catalogue.tradeoff_curves(pd.DataFrame(rows).iloc[:0])
