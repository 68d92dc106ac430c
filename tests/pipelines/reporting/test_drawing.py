"""Writing figures: none twice, none that is no longer wanted, and none that costs the report."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from matplotlib.figure import Figure

from benchmarks.scoring.measures import IMAGES
from pipelines.reporting import drawing, ranking
from pipelines.reporting.figures import style


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """Names of the figures that are drawn."""
    found: list[str] = []

    def drawn(figure: Figure, path: Path, kinds):
        found.append(path.name)
        return save(figure, path, kinds)

    save = style.save
    monkeypatch.setattr(style, "save", drawn)
    return found


@style.styled
def dot(frame: pd.DataFrame, **looks: str) -> Figure:
    figure = style.new_figure(1, 1)
    figure.text(0.5, 0.5, str(len(frame)), **looks)
    return figure


def broken(reason: str) -> Figure:
    raise RuntimeError(reason)


def write(tmp_path: Path, drawn: dict) -> set[str]:
    drawing.write(drawn, tmp_path / "figures", tmp_path / "unfinished" / "figures.json")
    return {path.name for path in (tmp_path / "figures").iterdir()}


def test_a_figure_is_drawn_again_only_if_its_data_or_files_changed(tmp_path, calls, table1):
    bars, points = partial(dot, table1), partial(dot, table1, color="red")
    files = write(tmp_path, {"table1": bars, "points": points})
    assert files == {"table1.png", "table1.svg", "points.png", "points.svg"}
    assert write(tmp_path, {"table1": bars, "points": points}) == files
    assert calls == ["table1", "points"]
    changed = partial(dot, table1.assign(drawdown=1.0))
    write(tmp_path, {"table1": changed, "points": points})
    assert calls == ["table1", "points", "table1"]
    (tmp_path / "figures" / "points.svg").write_text("another picture")
    write(tmp_path, {"table1": changed, "points": partial(dot, table1, color="blue")})
    write(tmp_path, {"table1": changed, "points": points})
    (tmp_path / "unfinished" / "figures.json").write_text("not JSON")
    write(tmp_path, {"table1": changed, "points": points})
    assert calls[3:] == ["points", "points", "table1", "points"]


def test_code_of_figures_is_part_of_what_they_follow_from(tmp_path, calls, table1, monkeypatch):
    bars = {"table1": partial(dot, table1)}
    write(tmp_path, bars)
    monkeypatch.setattr(drawing, "_code", lambda: ("newer",))
    write(tmp_path, bars)
    assert calls == ["table1", "table1"]


def test_a_picture_that_fails_is_named_in_one_line_and_costs_no_other(tmp_path, table1, capsys):
    bars = partial(dot, table1)
    write(tmp_path, {"curves": bars, "table1": bars})
    files = write(tmp_path, {"curves": partial(broken, "no\nsuch $ glyph"), "table1": bars})
    assert files == {"table1.png", "table1.svg"}  # the old one would show other data
    assert capsys.readouterr().err == "figure curves is left out: RuntimeError: no such $ glyph\n"


def test_what_is_no_longer_wanted_is_removed(tmp_path, table1):
    bars = partial(dot, table1)
    write(tmp_path, {"tuning-gd": bars, "table1": bars})
    assert write(tmp_path, {"tuning-gd": bars}) == {"tuning-gd.png"}


def test_tables_show_what_tells_their_rows_apart(table1, table2):
    told = SimpleNamespace(measures=IMAGES, axes={"drawdown": "Drawdown", "test_error": "Test error"})
    several = table1.assign(training=["plain", "plain", "mine", "mine"])
    tables = {"table1": table1, "table2": table2, "table3": several, "table5": pd.DataFrame(columns=table1.columns)}
    drawn = drawing._tables(tables, told)
    assert list(drawn) == ["table1", "table2", "table3"]
    labels = {name: [axes.get_xlabel() for axes in figure().axes] for name, figure in drawn.items()}
    assert labels["table1"] == labels["table2"] == ["Drawdown", "Success rate (%)"]
    assert labels["table3"] == ["Drawdown", "Test error"]
    assert drawn["table2"].keywords["group"] == "layers"


def test_rows_that_carry_no_further_than_the_unedited_network_are_known():
    board = pd.DataFrame({"generality": [8.0, 60.0, 9.0], "generality_low": [4.0, 50.0, 7.5], "generality_before": 7.2})
    assert ranking.carries_further(board).tolist() == [False, True, True]
    assert ranking.carries_further(board[["generality"]]).all()
