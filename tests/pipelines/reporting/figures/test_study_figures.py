"""Figures of tuning studies and training, and how figures are written."""

import os

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.text import Text

from pipelines.reporting.figures import catalogue


@pytest.fixture
def trials() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "number": range(6),
            "success_rate": [99.0, 96.0, 95.0, 90.0, 80.0, 20.0],
            "drawdown": [6.0, 3.0, 2.0, 1.5, 1.2, 0.1],
            "lr": [1e-1, 1e-2, 5e-3, 2e-3, 1e-3, 1e-4],
            "feasible": [True, True, True, False, False, False],
            "chosen": [False, False, True, False, False, False],
        }
    )


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


def points(axes) -> list[np.ndarray]:
    return [np.asarray(c.get_offsets()) for c in axes.collections if isinstance(c, PathCollection)]


def words(figure) -> str:
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    return " ".join(found + [text.get_text() for legend in figure.legends for text in legend.get_texts()])


def tradeoff(trials, *more, **options):
    return catalogue.tradeoffs({"plain, chain3": trials}, *more, **options)


def test_tradeoffs_separate_feasible_infeasible_and_chosen(trials):
    figure = tradeoff(trials)
    feasible, infeasible, ring = points(figure.axes[0])
    assert feasible.tolist() == [[99.0, 6.0], [96.0, 3.0], [95.0, 2.0]]
    assert infeasible.tolist() == [[90.0, 1.5], [80.0, 1.2]]
    assert ring.tolist() == [[95.0, 2.0]]
    for text in (
        "feasible: success ≥ 95 %",
        "← 1 more",
        "infeasible trial",
        "chosen",
        "2.00",
    ):
        assert text in words(figure)


def test_studies_share_a_logarithmic_scale_of_the_learning_rate(trials):
    figure = catalogue.tradeoffs({"plain, all": trials, "plain, chain3": trials.assign(lr=trials["lr"] / 10)})
    left, right, bar = figure.axes
    assert [axes.get_title(loc="left") for axes in (left, right)] == ["plain, all", "plain, chain3"]
    for axes, largest in ((left, 1e-1), (right, 1e-2)):
        first = next(c for c in axes.collections if isinstance(c, PathCollection))
        assert isinstance(first.norm, matplotlib.colors.LogNorm)
        assert (first.norm.vmin, first.norm.vmax) == (1e-5, 1e-1)
        assert first.get_array().tolist() == pytest.approx([largest, largest / 10, largest / 20])
    assert bar.get_ylabel() == "Learning rate"
    assert len(tradeoff(trials.drop(columns="lr")).axes) == 1


def test_tradeoffs_move_with_the_threshold(trials):
    (line,) = [line for line in tradeoff(trials, 90).axes[0].lines if line.get_linestyle() == "--"]
    assert list(line.get_xdata()) == [90, 90]


def test_a_study_of_trials_that_hardly_ever_succeed_says_so(trials):
    nothing = trials.assign(success_rate=trials["success_rate"] / 2, feasible=False)
    figure = tradeoff(nothing)
    figure.canvas.draw()
    assert "no trial succeeded" in words(figure)
    assert all(len(offsets) == 0 for offsets in points(figure.axes[0]))


def test_importances_are_bars_sorted_from_the_top():
    studies = {"RMSProp": pd.Series({"beta": 0.1, "lr": 0.7, "eps": 0.2}), "GD": pd.Series({"lr": 1.0})}
    figure = catalogue.importances(studies)
    first, second = (axes for axes in figure.axes if axes.get_visible())
    from_top = sorted(first.patches, key=lambda bar: -bar.get_y())
    assert [bar.get_width() for bar in from_top] == [0.7, 0.2, 0.1]
    assert [text.get_text() for text in first.get_yticklabels()][::-1] == ["lr", "eps", "beta"]
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == ("RMSProp", "GD")
    assert len(catalogue.importances({str(i): studies["GD"] for i in range(4)}).axes) == 6


def drawn(figure, found) -> list:
    """Where texts stand, in pixels, once the figure is drawn; without the lines that lead from them."""
    figure.canvas.draw()
    return [Text.get_window_extent(text) for text in found]


def apart(extents) -> bool:
    return not any(a.overlaps(b) for i, a in enumerate(extents) for b in extents[i + 1 :])


def inside(figure, extents) -> bool:
    return all(e.x0 >= 0 and e.x1 <= figure.bbox.x1 and e.y0 >= 0 and e.y1 <= figure.bbox.y1 for e in extents)


@pytest.mark.parametrize(
    ("count", "name"), [(1, "plain, all"), (4, "editable-0.01-rmsprop-extra-match_ranks, chain3"), (3, "x" * 90)]
)
def test_titles_of_panels_stay_above_their_panel(count, name, trials):
    series = pd.Series({"lr": 0.7, "beta": 0.2, "eps": 0.1})
    for figure in (
        catalogue.importances({f"{number}-{name}": series for number in range(count)}),
        catalogue.tradeoffs({f"{number}-{name},\nchain3": trials for number in range(count)}),
    ):
        panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
        assert len(panels) == count
        titles = drawn(figure, [axes._left_title for axes in panels])
        assert apart([*titles, *(axes.bbox for axes in figure.axes if axes.get_visible())])
        assert inside(figure, titles)
        for number, axes in enumerate(panels):
            whole = axes.get_title(loc="left").replace("\n", "").replace(" ", "")
            assert whole.startswith(f"{number}-{name}".replace(" ", ""))


def test_notes_in_a_panel_cover_no_trial():
    """The number of trials further left stood on crosses, the chosen trial's drawdown on others."""
    success = [98.0, 97.0, 96.5, 96.0, 62.0, 64.0, 68.0, 30.0, 20.0]
    trials = pd.DataFrame({"number": range(9), "success_rate": success, "lr": 0.1, "chosen": [True] + [False] * 8})
    trials = trials.assign(drawdown=[0.5, 0.5, 0.5, 0.51, 0.45, 0.42, 0.05, 0.04, 0.03])
    trials = trials.assign(feasible=trials["success_rate"] >= 95)
    figure = catalogue.tradeoffs({f"{name},\nchain3": trials for name in "abc"})
    for axes in figure.axes[:3]:
        assert {text.get_text() for text in axes.texts} == {"← 2 more", "0.50"}
        extents = drawn(figure, axes.texts)
        assert apart(extents)
        seen = trials[trials["success_rate"] > 50]
        places = axes.transData.transform(seen[["success_rate", "drawdown"]].to_numpy())
        assert not [place for extent in extents for place in places if extent.padded(4).contains(*place)]


def test_finalists_are_shown_by_what_decided_between_them(trials):
    """A feasible trial stood below the chosen one, and nothing said why."""
    rescored = trials.assign(rescored=[np.nan, 1.75, 1.9, np.nan, np.nan, np.nan], chosen=trials["number"] == 1)
    figure = tradeoff(rescored)
    axes = figure.axes[0]
    (diamonds,) = [line for line in axes.lines if line.get_marker() == "D"]
    assert list(zip(*diamonds.get_data(), strict=True)) == [(96.0, 1.75), (95.0, 1.9)]
    assert points(axes)[-1].tolist() == [[96.0, 1.75]]
    for text in ("1.75", "finalist on all images", "chosen"):
        assert text in words(figure)
    assert "finalists are decided on all control images" in figure.legends[0].get_title().get_text()
    figure.canvas.draw()
    assert inside(figure, [figure.legends[0].get_window_extent()])
    assert "finalist" not in words(tradeoff(trials.assign(rescored=np.nan)))


def test_the_ring_around_a_trial_without_drawdown_is_whole(trials):
    nothing = trials.assign(drawdown=[0.06, 0.0, 0.0, 0.0, 0.0, 0.0], success_rate=100.0, feasible=True)
    figure = tradeoff(nothing)
    axes = figure.axes[0]
    (label,) = drawn(figure, axes.texts)
    x, y = axes.transData.transform((100.0, 0.0))
    ring = 7.7 * figure.dpi / 72
    assert axes.bbox.y0 < min(y - ring, label.y0)
    assert axes.bbox.x0 < x - ring < x + ring < axes.bbox.x1
    assert all(tick >= 0 for tick in axes.get_yticks() if tick >= axes.get_ylim()[0])


def test_training_curves_mark_the_epoch_with_the_smallest_tuning_error(history):
    figure = catalogue.training_curves(history)
    loss, error = figure.axes
    assert loss.lines[0].get_ydata().tolist() == history["train_loss"].tolist()
    assert error.lines[1].get_ydata().tolist() == history["tuning_error"].tolist()
    assert "chosen: epoch 3\ntuning error 15.00 %" in words(figure)
    assert "chosen: epoch 4\ntuning error 17.00 %" in words(catalogue.training_curves(history, chosen_epoch=4))
    with pytest.raises(ValueError, match="epoch 9 is not among the epochs 1 to 4"):
        catalogue.training_curves(history, chosen_epoch=9)


def test_nothing_to_show_is_refused(trials, history):
    with pytest.raises(ValueError, match="no rows"):
        tradeoff(trials.iloc[:0])
    with pytest.raises(ValueError, match="no studies"):
        catalogue.tradeoffs({})
    with pytest.raises(ValueError, match="no rows"):
        catalogue.training_curves(history.iloc[:0])
    with pytest.raises(ValueError, match="no epoch has a tuning error"):
        catalogue.training_curves(history.assign(tuning_error=np.nan))
    with pytest.raises(ValueError, match="no studies"):
        catalogue.importances({})
    with pytest.raises(ValueError, match="'GD' has no hyperparameters"):
        catalogue.importances({"GD": pd.Series(dtype=float)})


def test_the_same_data_gives_the_same_bytes(tmp_path, table1, trials, history):
    drawn = {
        "bars": lambda: catalogue.table1_bars(table1),
        "points": lambda: catalogue.scatter(table1),
        "trials": lambda: tradeoff(trials),
        "curves": lambda: catalogue.training_curves(history),
    }
    for name, draw in drawn.items():
        first = catalogue.save(draw(), tmp_path / "first" / name)
        figure = draw()
        second = catalogue.save(figure, tmp_path / "second" / name)
        again = catalogue.save(figure, tmp_path / "again" / name)
        for one, two, three in zip(first, second, again, strict=True):
            assert one.read_bytes() == two.read_bytes() == three.read_bytes(), one


def test_files_hold_no_date_or_version(tmp_path, history):
    png, svg = catalogue.save(catalogue.training_curves(history), tmp_path / "curves")
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert b"Software" not in png.read_bytes()
    assert "<svg" in svg.read_text()
    assert "dc:date" not in svg.read_text()
    assert matplotlib.__version__ not in svg.read_text()


def test_names_with_dots_stay_whole_and_nothing_else_is_left(tmp_path, history):
    paths = catalogue.save(catalogue.training_curves(history), tmp_path / "new" / "editable-0.01-gd")
    assert [path.name for path in paths] == ["editable-0.01-gd.png", "editable-0.01-gd.svg"]
    assert sorted(os.listdir(tmp_path / "new")) == ["editable-0.01-gd.png", "editable-0.01-gd.svg"]


def test_a_failed_write_leaves_the_old_file(tmp_path, history, monkeypatch):
    png, _ = catalogue.save(catalogue.training_curves(history), tmp_path / "curves")
    before = png.read_bytes()
    figure = catalogue.training_curves(history.assign(train_loss=3.0))

    def half_written(path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", half_written)
    with pytest.raises(OSError, match="disk full"):
        catalogue.save(figure, tmp_path / "curves")
    assert png.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["curves.png", "curves.svg"]


def test_drawing_leaves_matplotlibs_settings_alone(tmp_path, history):
    before = dict(matplotlib.rcParams)
    catalogue.save(catalogue.training_curves(history), tmp_path / "curves")
    assert dict(matplotlib.rcParams) == before
