"""Tuning studies: what a panel shows and says of its trials."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.text import Text

from pipelines.reporting.figures.curves import tuning_panels


@pytest.fixture
def trials() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "number": range(6),
            "success_rate": [99.0, 96.0, 95.0, 90.0, 80.0, 20.0],
            "drawdown": [6.0, 3.0, 2.0, 1.5, 1.2, 0.1],
            "rescored": np.nan,
            "lr": [1e-1, 1e-2, 5e-3, 2e-3, 1e-3, 1e-4],
            "feasible": [True, True, True, False, False, False],
            "chosen": [False, False, True, False, False, False],
        }
    )


def panel(trials: pd.DataFrame, *more, **options):
    return tuning_panels({"plain, chain3": trials}, *more, **options)


def points(axes) -> list[list]:
    return [np.asarray(c.get_offsets()).tolist() for c in axes.collections if isinstance(c, PathCollection)]


def rings(axes) -> list:
    (ring,) = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    return ring.get_xydata().tolist()


def words(figure) -> str:
    found = [axes.get_title(loc="left") for axes in figure.axes] + [t.get_text() for a in figure.axes for t in a.texts]
    legend = figure.legends[0]
    return " ".join([*found, legend.get_title().get_text(), *(text.get_text() for text in legend.get_texts())])


def drawn(figure, found) -> list:
    """Where texts stand, in pixels, once the figure is drawn."""
    figure.canvas.draw()
    return [Text.get_window_extent(text) for text in found]


def inside(figure, extents) -> bool:
    return all(e.x0 >= 0 and e.x1 <= figure.bbox.x1 and e.y0 >= 0 and e.y1 <= figure.bbox.y1 for e in extents)


def test_feasible_infeasible_and_chosen_trials_are_told_apart(trials):
    figure = panel(trials)
    feasible, infeasible = points(figure.axes[0])
    assert feasible == [[99.0, 6.0], [96.0, 3.0], [95.0, 2.0]]
    assert infeasible == [[90.0, 1.5], [80.0, 1.2], [20.0, 0.1]]  # however rarely it succeeds
    assert rings(figure.axes[0]) == [[95.0, 2.0]]
    assert figure.axes[0].get_title(loc="left") == "plain, chain3\nchosen: 2.00"
    assert {"feasible: success ≥ 95 %", "infeasible trial", "chosen"} <= {
        text.get_text() for text in figure.legends[0].get_texts()
    }


def test_a_trial_that_was_stopped_early_is_smaller(trials):
    figure = panel(trials.assign(beaten=[True, False, False, False, False, False]))
    sizes = figure.axes[0].collections[0].get_sizes()
    assert sizes[0] < sizes[1] == sizes[2]
    said = "beaten: stopped after some of the edits"
    assert said in [text.get_text() for text in figure.legends[0].get_texts()]
    assert said not in [text.get_text() for text in panel(trials).legends[0].get_texts()]


def test_studies_share_a_logarithmic_scale_of_the_learning_rate(trials):
    figure = tuning_panels({"plain, all": trials, "plain, chain3": trials.assign(lr=trials["lr"] / 10)})
    left, right, bar = figure.axes
    assert [axes.get_title(loc="left").split("\n")[0] for axes in (left, right)] == ["plain, all", "plain, chain3"]
    for axes, largest in ((left, 1e-1), (right, 1e-2)):
        first = next(c for c in axes.collections if isinstance(c, PathCollection))
        assert isinstance(first.norm, matplotlib.colors.LogNorm)
        assert (first.norm.vmin, first.norm.vmax) == (1e-5, 1e-1)
        assert first.get_array().tolist() == pytest.approx([largest, largest / 10, largest / 20])
    assert bar.get_ylabel() == "Learning rate"
    figure.canvas.draw()
    assert {"0.01", "0.001"} <= {text.get_text() for text in bar.get_yticklabels()}
    assert len(panel(trials.drop(columns="lr")).axes) == 1


def test_panels_move_with_the_threshold(trials):
    (line,) = [line for line in panel(trials, 90).axes[0].lines if line.get_linestyle() == "--"]
    assert list(line.get_xdata()) == [90, 90]


def test_all_trials_stand_within_the_panel_and_close_to_full_success_there_is_most_room(trials):
    figure = panel(trials.assign(success_rate=[100.0, 97.0, 90.0, 40.0, 0.0, 20.0]))
    figure.canvas.draw()
    axes = figure.axes[0]
    places = [axes.transData.transform((success, 1.0))[0] for success in (0, 50, 90, 100)]
    assert axes.bbox.x0 < places[0] < places[-1] < axes.bbox.x1
    assert places[3] - places[2] > places[1] - places[0]


def test_trials_whose_drawdown_was_not_looked_at_are_shown_at_the_bottom(trials):
    figure = panel(trials.assign(drawdown=[6.0, 3.0, 2.0, np.nan, np.nan, np.nan]))
    (unseen,) = [line for line in figure.axes[0].lines if line.get_marker() == "|"]
    assert list(unseen.get_xdata()) == [90.0, 80.0, 20.0]
    assert "drawdown not looked at" in words(figure)
    figure.canvas.draw()
    assert "not looked at" not in words(panel(trials))


@pytest.mark.parametrize(
    ("count", "name"), [(1, "plain, all"), (4, "editable-0.01-rmsprop-extra-match_ranks, chain3"), (3, "x" * 90)]
)
def test_titles_of_panels_stay_above_their_panel(count, name, trials):
    figure = tuning_panels({f"{number}-{name}": trials for number in range(count)})
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert len(panels) == count
    titles = drawn(figure, [axes._left_title for axes in panels])
    everything = [*titles, *(axes.bbox for axes in figure.axes if axes.get_visible())]
    assert not any(a.overlaps(b) for i, a in enumerate(everything) for b in everything[i + 1 :])
    assert inside(figure, titles)
    for number, axes in enumerate(panels):
        whole = axes.get_title(loc="left").replace("\n", "").replace(" ", "")
        assert whole.startswith(f"{number}-{name}".replace(" ", ""))


def test_finalists_are_shown_by_what_decided_between_them(trials):
    """A feasible trial stood below the chosen one, and nothing said why."""
    rescored = trials.assign(rescored=[np.nan, 1.75, 1.9, np.nan, np.nan, np.nan], chosen=trials["number"] == 1)
    figure = panel(rescored, title="Tuning of mine")
    axes = figure.axes[0]
    (diamonds,) = [line for line in axes.lines if line.get_marker() == "D"]
    assert diamonds.get_xydata().tolist() == [[96.0, 1.75], [95.0, 1.9]]
    assert rings(axes) == [[96.0, 1.75]]
    for text in ("chosen: 1.75", "finalist on the whole control set", "Tuning of mine: finalists are decided"):
        assert text in words(figure)
    figure.canvas.draw()
    assert inside(figure, [figure.legends[0].get_window_extent()])
    assert "finalist" not in words(panel(trials))


def test_the_ring_around_a_trial_without_drawdown_is_whole(trials):
    nothing = trials.assign(drawdown=[0.06, 0.0, 0.0, 0.0, 0.0, 0.0], success_rate=100.0, feasible=True)
    figure = panel(nothing)
    figure.canvas.draw()
    axes = figure.axes[0]
    x, y = axes.transData.transform((100.0, 0.0))
    ring = 6.8 * figure.dpi / 72
    assert axes.bbox.y0 < y - ring
    assert axes.bbox.x0 < x - ring < x + ring < axes.bbox.x1
    assert all(tick >= 0 for tick in axes.get_yticks() if tick >= axes.get_ylim()[0])
