"""Edits in a row and similar images for people: numbers are those of the table."""

import numpy as np
import pandas as pd
import pytest

from pipelines.reporting.tables.other_stages import sequences_markdown, similar_markdown


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


def test_the_page_shows_what_is_left_after_the_last_edit(rows: pd.DataFrame) -> None:
    page = sequences_markdown(rows, "digits", "Small.", "labels are drawn")
    lines = [line for line in page.splitlines() if line.startswith("| plain | editor2 ")]
    assert lines == ["| plain | editor2 | chain3 | 20 | 2.0 | 42.0 ± 1.5 | 80.0 ± 4.0 | 95.0 ± 2.0 |"]
    assert "over 10 orders" in page
    single = sequences_markdown(rows.assign(orders=1, error_std=np.nan), "digits", "Small.", "labels are drawn")
    assert "| 42.0 ± – |" in single


def test_the_page_of_similar_images_names_the_embedding_and_has_the_papers_value() -> None:
    shares = ("similar_accuracy", "similar_before", "same_class", "same_class_accuracy", "same_class_before")
    shares += ("own_accuracy", "own_before", "success_rate")
    values = {name: 50.0 + number for number, name in enumerate(shares)}
    ends = {f"{name}_{end}": value + add for name, value in values.items() for end, add in (("low", -1), ("high", 1))}
    cell = {"training": "editable-rmsprop-extra", "editor": "rmsprop", "layers": "extra", "embedding": "pixels"}
    page = similar_markdown(pd.DataFrame([{**cell, "edits": 500, **values, **ends}]), "digits", "Small.")
    assert "their pixels (a substitute for InceptionV3's pooled features)" in page
    assert "| 50.0 % [49.0, 51.0] | 86.7 |" in page
    assert "500 edits" in page
