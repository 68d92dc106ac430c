"""results/leaderboard.html: the rows of all benchmarks in one page that sorts, filters and compares, without a network.

Like the index it is made from the files of the benchmarks' folders alone. The page holds its data as JSON; its script
shows text as text only, so nothing that stands in a file is ever read as HTML.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from benchmarks import metrics
from benchmarks.files import write_atomically
from benchmarks.metrics import Measures
from pipelines.reporting.index import Found, broken_results
from pipelines.reporting.ranking import BELOW, MISSES, NO_FURTHER, READING, STANDINGS
from pipelines.reporting.tables.presentation import Presentation
from pipelines.reporting.tables.results import read_records
from pipelines.reporting.tables.sheet import Sheet, hyperparameters, name_of
from pipelines.store.layout import KEYS, cell
from pipelines.store.schemas import Measured

SITE = "leaderboard.html"
_PAGE = Path(__file__).with_name("site.html")
"""Its frame, style and script; the data take the place of ``_DATA``."""
_DATA = "{{data}}"
_FIGURES = {"generality-drawdown": "drawdown against generality", "figure2": "Figure 2", "sequences": "edits in a row"}


def write_site(results: Path, told: Sequence[Presentation]) -> None:
    """Write the page of all benchmarks whose leaderboards lie in ``results``.

    :param told: how each kind of task is told that there is.
    :raises InputError: naming what is broken, if it is not what a report writes.
    """
    found = []
    for one in Found.all(results, told):
        with broken_results(one.folder):
            found.append(_benchmark(one))
    rules = {"reading": READING, "standings": STANDINGS, "hollow": [NO_FURTHER, BELOW], "misses": MISSES}
    data = json.dumps({**rules, "benchmarks": found}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    data = data.replace("<", "\\u003c")  # no text can end the script that holds it
    write_atomically(results / SITE, _PAGE.read_text(encoding="utf-8").replace(_DATA, data))


def _benchmark(found: Found) -> dict[str, Any]:
    """All that the page shows of a benchmark."""
    board, measures = found.board, found.told.measures
    columns = found.told.columns(found.told.leaderboard.columns, board)
    first = (measures.drawdown, "generality", "success_rate", "num_steps")
    columns |= {name: measures.columns[name] for name in first[:3]}
    sheet = Sheet(found.name, board, columns, measures.drawdown, chosen=found.chosen)
    of_training, of_edits = (found.run[name][0] for name in ("training_seeds", "edit_seeds"))
    names = [(name_of(row["training"]), name_of(row["layers"]), of_training) for _, row in board.iterrows()]
    files = [cell(*one, of_edits) for one in names]
    return {
        "name": found.name,
        "note": found.run["parameters"]["benchmark"]["note"],
        "drawdown": measures.drawdown,
        "before": _number(board["generality_before"].median(), 2),
        "columns": [
            {"id": name, "label": one.label, "unit": one.unit, "digits": one.digits, "shown": name in first}
            for name, one in columns.items()
        ],
        "rows": [_row(found, sheet, position, file, cell(*names[position])) for position, file in enumerate(files)],
        "pairs": _pairs(found, files, first[:3]),
    }


def _row(found: Found, sheet: Sheet, position: int, file: str, tuned: str) -> dict[str, Any]:
    """One row of the leaderboard; ``file`` and ``tuned`` begin the names of its records and of its tuning."""
    row = sheet.frame.iloc[position]
    editor, published = name_of(row["editor"]), row.get(f"published_{sheet.drawdown}", math.nan)
    links = {
        f"edits/{editor}/{file}.csv": "a record per edit",
        f"edits/{editor}/{file}.json": "how they were made",
        f"tuned/{editor}/{tuned}.csv": "trials of the tuning",
        f"figures/tuning-{editor}.png": "figure: the tuning",
        **{f"figures/{name}.png": f"figure: {words}" for name, words in _FIGURES.items()},
        "README.md": "the benchmark's page",
    }
    return {
        "keys": [name_of(row[key]) for key in KEYS],
        "standing": sheet.standings[position],
        "misses": bool(sheet.misses[position]),
        "chosen": hyperparameters(row, sheet.chosen),
        "note": sheet.notes[position],
        "paper": _number(published, 4),
        "values": {
            name: [_number(row.get(f"{name}{end}", math.nan), column.digits + 1) for end in ("", "_low", "_high")]
            for name, column in sheet.columns.items()
        },
        "links": [
            [words, quote(f"{found.name}/{path}")] for path, words in links.items() if (found.folder / path).exists()
        ],
    }


def _number(value: float, digits: int) -> float | None:
    """Rounded, as JSON can hold it."""
    return round(float(value), digits) if math.isfinite(value) else None


def _pairs(found: Found, files: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, list[float | None]]]:
    """By metric and ``i-j``: row i minus row j, i before j, with its paired interval, where both met the same edits."""
    measures, groups = found.told.measures, {}
    for position, (editor, file) in enumerate(zip(found.board["editor"], files, strict=True)):
        path = found.folder / "edits" / name_of(editor) / f"{file}.json"
        if path.exists() and path.with_suffix(".csv").exists():
            again = f"run `python -m pipelines.evaluate {found.name} {editor}`"
            records = read_records(path.with_suffix(".csv"), measures, Measured.read(path, again), again)
            records = records.sort_values("edit", kind="stable").reset_index(drop=True)
            asked = records[list(measures.asked)].to_csv(index=False)
            groups.setdefault(asked, {})[position] = records
    pairs: dict[str, dict[str, list[float | None]]] = {name: {} for name in names}
    for group in groups.values():
        for name in names:
            digits = measures.columns[name].digits + 1
            for (first, other), ends in differences(measures, name, group).items():
                pairs[name][f"{first}-{other}"] = [_number(end, digits) for end in ends]
    return pairs


def differences(
    measures: Measures, name: str, records: Mapping[int, pd.DataFrame]
) -> dict[tuple[int, int], np.ndarray]:
    """For all pairs of rows that met the same edits, their difference in a metric with its interval ``(3,)``.

    Where samples of the control set leave a drawdown open, the interval is as wide as that. Rows without values are
    left out, and edits of which not all others have one.
    """
    values = np.stack([measures.per_edit(name, frame).to_numpy(dtype=float) for frame in records.values()])
    there = ~np.isnan(values).all(axis=1)
    edits = ~np.isnan(values[there]).any(axis=0)
    positions, values = np.array(list(records))[there].tolist(), values[there][:, edits]
    found = metrics.mean_differences(values, values, name)
    if name == measures.drawdown and any(measures.misleads(frame) for frame in records.values()):
        least = np.stack([measures.least(frame).to_numpy(dtype=float) for frame in records.values()])[there][:, edits]
        low, high = metrics.mean_differences(least, values, name), metrics.mean_differences(values, least, name)
        found[..., 1], found[..., 2] = np.fmin(found[..., 1], low[..., 1]), np.fmax(found[..., 2], high[..., 2])
    places = combinations(range(len(positions)), 2)
    return {(positions[first], positions[other]): found[first, other] for first, other in places}
