"""One look for all figures, names as they are, and files that change only when a picture does."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import matplotlib
import numpy as np
import pandas as pd
import pytest

from pipelines.reporting.figures import bars, curves, points
from pipelines.reporting.figures.classes import figure2
from pipelines.reporting.figures.style import editor_look, save, shown

HOSTILE = ["$\\frac{$", "_hidden_ & $x$", "100 % <b>\n\\", "犬"]


def drawings(names: list[str]) -> dict:
    """One figure of each kind, with these names for trainings, editors, layers and classes."""
    source = np.random.default_rng(0)
    rows = pd.DataFrame({"training": names, "editor": names, "layers": names}).assign(
        drawdown=source.random(4), success_rate=99.0, test_error=2.0, num_steps=source.random(4)
    )
    long = pd.concat([rows.assign(edits=n, factor=n, error=n, error_std=1.0) for n in (1, 2)])
    classes = pd.MultiIndex.from_product([names, names], names=["edited_class", "class"]).to_frame(index=False)
    model = rows.iloc[0][["training", "editor", "layers"]].to_dict()
    edits = pd.DataFrame({"edited_class": names, "target": names, "x": [1, 2, 3, 4], "y": 0.0}).assign(**model)
    variance = pd.DataFrame({"components": [1, 2], "explained": [50.0, 100.0]}).assign(**model)
    trials = pd.DataFrame({"number": [0, 1], "success_rate": [99.0, 90.0], "drawdown": [1.0, 2.0], "lr": [0.1, 0.01]})
    trials = trials.assign(rescored=np.nan, feasible=[True, False], chosen=[True, False])
    history = pd.DataFrame({"epoch": [1, 2], "train_loss": [2.0, 1.0]})
    return {
        "bars": lambda: bars.table_bars(rows),
        "points": lambda: points.scatter(rows, "num_steps", curves=[rows]),
        "curves": lambda: curves.tradeoff_curves(long),
        "sequences": lambda: curves.sequence_curves(long, {"error": "Error"}),
        "classes": lambda: figure2(classes.assign(drawdown_signed=1.0, **model), edits, variance),
        "tuning": lambda: curves.tuning_panels(dict.fromkeys(names, trials), title=names[0]),
        "training": lambda: curves.training_curves(history, 2, {"Loss": ("train_loss",)}, ("train_loss", ""), names[0]),
    }


def texts(figure) -> str:
    found = figure.findobj(matplotlib.text.Text)
    return "\n".join(text.get_text() for text in found)


@pytest.mark.parametrize("kind", list(drawings(HOSTILE)))
def test_names_are_never_markup_and_equal_data_gives_equal_bytes(kind, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of glyphs that the font lacks, of entries that legends leave out
        first = save(drawings(HOSTILE)[kind](), tmp_path / "first")
        figure = drawings(HOSTILE)[kind]()
        second = save(figure, tmp_path / "second")
        again = save(figure, tmp_path / "again")
    for one, two, three in zip(first, second, again, strict=True):
        assert one.read_bytes() == two.read_bytes() == three.read_bytes(), one
    there = texts(figure)
    assert "$\\frac{$" in there
    if kind != "training":
        assert "U+72AC" in there
        assert "$x$" in there


def test_a_name_is_one_line_of_letters_that_the_font_has():
    assert shown("a\n b\t$c$") == "a b $c$"
    assert shown("犬 1") == "U+72AC 1"
    assert shown("a long name", 6) == "a lon…"
    assert not shown("_hidden").startswith("_")


def test_editors_keep_their_colour_and_marker():
    known = ["gd", "scaled_gd", "rprop", "rmsprop", "momentum", "adam", "gd_ewc", "rmsprop_ewc"]
    assert len({editor_look(editor)[1:] for editor in known}) == len(known)
    assert editor_look("mine") == editor_look("mine")
    assert len({editor_look(f"mine {i}").colour for i in range(40)}) > 3
    assert editor_look("mine").colour not in {editor_look(editor).colour for editor in known}


def test_a_row_named_after_its_editor_looks_like_it():
    assert editor_look("rmsprop_1e-3").title == "RMSProp, 1e-3"
    assert editor_look("covariance_views_tuned").title == "Covariance, views, tuned"
    assert editor_look("rmsprop_1e-3").colour == editor_look("rmsprop").colour
    assert editor_look("rmspropeller").title == "rmspropeller"


def test_the_library_knows_no_stage_and_loads_nothing_that_trains():
    code = "import sys; from pipelines.reporting.figures import bars, classes, curves, points\n"
    code += "print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "pydantic", "editors", "optuna", "mlflow", "baselines"} & set(loaded)


def test_files_hold_no_date_or_version(tmp_path):
    png, svg = save(drawings(["a", "b", "c", "d"])["training"](), tmp_path / "curves")
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert b"Software" not in png.read_bytes()
    assert "<svg" in svg.read_text()
    assert "dc:date" not in svg.read_text()
    assert matplotlib.__version__ not in svg.read_text()


def test_names_with_dots_stay_whole_and_nothing_else_is_left(tmp_path):
    paths = save(drawings(["a", "b", "c", "d"])["training"](), tmp_path / "new" / "editable-0.01-gd")
    assert [path.name for path in paths] == ["editable-0.01-gd.png", "editable-0.01-gd.svg"]
    assert sorted(os.listdir(tmp_path / "new")) == ["editable-0.01-gd.png", "editable-0.01-gd.svg"]


def test_a_file_with_the_same_bytes_is_left_alone_and_a_failed_write_leaves_the_old_one(tmp_path, monkeypatch):
    draw = drawings(["a", "b", "c", "d"])
    png, svg = save(draw["training"](), tmp_path / "curves")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in (png, svg)}
    save(draw["training"](), tmp_path / "curves")
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in (png, svg)} == before
    old = png.read_bytes()
    figure = draw["bars"]()

    def half_written(file, **_):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", half_written)
    with pytest.raises(OSError, match="disk full"):
        save(figure, tmp_path / "curves")
    assert png.read_bytes() == old
    assert sorted(os.listdir(tmp_path)) == ["curves.png", "curves.svg"]


def test_drawing_leaves_matplotlibs_settings_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    save(drawings(["a", "b", "c", "d"])["training"](), tmp_path / "curves")
    assert dict(matplotlib.rcParams) == before
