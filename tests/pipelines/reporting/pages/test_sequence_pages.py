"""Edits in a row and similar images for people: every curve shows, numbers are those of the table."""

import numpy as np
import pandas as pd
import pytest

from pipelines.reporting.figures.sequences import sequence_curves
from pipelines.reporting.pages.sequences import sequences_markdown, similar_markdown


@pytest.fixture
def rows() -> pd.DataFrame:
    """Nine cells of two trainings: more than there are colours; in two of them nothing is ever lost."""
    tables = []
    for place in range(9):
        edits = np.arange(21)
        held = np.full(21, 100.0) if place in (3, 4) else 100.0 - place * edits / 2
        cell = {"training": "plain" if place < 6 else "editable", "editor": f"editor{place}", "layers": "chain3"}
        values = {"error": 2.0 + place * edits, "error_std": 1.5, "in_force": held, "in_force_std": 4.0}
        counts = {"edits": edits, "orders": 10, "success_rate": 95.0, "success_rate_std": 2.0}
        tables.append(pd.DataFrame({**cell, **counts, **values}))
    table = pd.concat(tables, ignore_index=True)
    table.loc[table["edits"] == 0, ["in_force", "in_force_std", "success_rate"]] = np.nan
    return table


def test_there_is_a_curve_and_a_band_for_every_cell_and_all_look_different(rows: pd.DataFrame) -> None:
    figure = sequence_curves(rows)
    for axes, name in zip(figure.axes, ("error", "in_force"), strict=True):
        assert len(axes.lines) == len(axes.collections) == 9
        for line, (_, expected) in zip(axes.lines, rows.groupby("editor"), strict=True):
            np.testing.assert_array_equal(line.get_ydata(), expected[name])
        assert len({(line.get_color(), line.get_marker()) for line in axes.lines}) == 9
        styles = [str(line.get_linestyle()) + str(line._dash_pattern) for line in axes.lines]
        assert len(set(styles[:6])) == len(set(styles[6:])) == 1
        assert styles[0] != styles[6]
    together = [axes_line.get_markevery() for axes_line in figure.axes[1].lines[3:5]]
    marked = [set(range(start, 21, step)) for start, step in together]
    assert marked[0].isdisjoint(marked[1])  # so that curves at the same height both show
    assert figure.axes[1].get_ylim()[1] >= 100
    assert len(figure.legends[0].get_texts()) == 9
    assert figure.legends[0].get_texts()[0].get_text() == "plain · editor0 · chain 3"


def test_the_page_shows_what_is_left_after_the_last_edit(rows: pd.DataFrame) -> None:
    page = sequences_markdown(rows, "labels are drawn", title="Rows", scale_note="Small.")
    lines = [line for line in page.splitlines() if line.startswith("| plain | editor2 ")]
    assert lines == ["| plain | editor2 | chain3 | 20 | 2.0 | 42.0 ± 1.5 | 80.0 ± 4.0 | 95.0 ± 2.0 |"]
    assert "over 10 orders" in page
    single = sequences_markdown(
        rows.assign(orders=1, error_std=np.nan), "labels are drawn", title="Rows", scale_note="Small."
    )
    assert "| 42.0 ± – |" in single


def test_the_page_of_similar_images_names_the_embedding_and_has_the_papers_value() -> None:
    shares = ("similar_accuracy", "similar_before", "same_class", "same_class_accuracy", "same_class_before")
    shares += ("own_accuracy", "own_before", "success_rate")
    values = {name: 50.0 + number for number, name in enumerate(shares)}
    ends = {f"{name}_{end}": value + add for name, value in values.items() for end, add in (("low", -1), ("high", 1))}
    cell = {"training": "a", "editor": "rmsprop", "layers": "extra", "embedding": "pixels", "edits": 500}
    frame = pd.DataFrame([{**cell, **values, **ends, "published_similar_accuracy": 86.7}])
    page = similar_markdown(frame, title="Similar", scale_note="Small.")
    assert "their pixels (a substitute for InceptionV3's pooled features)" in page
    assert "| 50.0 % [49.0, 51.0] | 86.7 |" in page
    assert "500 edits" in page


@pytest.mark.parametrize("missing", ["error", "in_force_std", "edits"])
def test_a_table_without_what_is_shown_is_refused(rows: pd.DataFrame, missing: str) -> None:
    with pytest.raises(ValueError, match=f"edits in a row: no column '{missing}'"):
        sequence_curves(rows.drop(columns=missing))
    with pytest.raises(ValueError, match="there are no rows to show"):
        sequence_curves(rows.iloc[:0])
