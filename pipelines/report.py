"""Stage 5: tables, figures, leaderboard and MLflow runs of a benchmark, from the files of the other stages."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from matplotlib.figure import Figure

from baselines.checkpoints import DESCRIPTION
from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from pipelines import (
    claims,
    command,
    finetuned_tables,
    judging,
    leaderboard,
    measurements,
    provenance,
    sequence_pages,
)
from pipelines import settings as parameters
from pipelines.cells import KEYS
from pipelines.csv_files import write_csv
from pipelines.index import write_index
from pipelines.layout import HISTORY, MISTAKES, RANKS, Layout
from pipelines.leaderboard import CellResult
from pipelines.presentation import figures
from pipelines.presentation.claims import claims_markdown
from pipelines.presentation.leaderboard import leaderboard_html
from pipelines.presentation.tables import Column, to_markdown
from pipelines.runs import fill, run_records
from pipelines.settings import Settings
from pipelines.workers import share_out

PAPER_COLUMNS = [
    Column("test_error", "Test error", "%", 2),
    Column("drawdown", "Drawdown", "points", 2),
    Column("success_rate", "Success", "%", 1),
    Column("num_steps", "Steps", "", 2),
]
GENERALITY_COLUMN = Column("generality", "Generality", "%", 1)
FURTHER_COLUMNS = [
    GENERALITY_COLUMN,
    Column("generality_before", "before the edit", "%", 1),
    Column("drawdown_signed", "Signed drawdown", "points", 2),
    Column("flip_rate", "Flips", "%", 2),
]
LEARNED_COLUMNS = [
    Column("drawdown_learned", "Drawdown, learned", "points", 2),
    Column("success_rate_learned", "Success, learned", "%", 1),
]
LEARNED_CAPTION = (
    '"Learned" are the same edits with the hyperparameters that Editable Training ended with, which no tuning held to '
    "the required success. "
)
SPREAD_COLUMN = Column("drawdown_seeds_std", "Drawdown, sd over trainings", "points", 2)
_SCALABLE = (
    "table1",
    "table2",
    "table3",
    "table4",
    "table5",
    "ranks",
    "steps-drawdown",
    "generality-drawdown",
    "error-drawdown",
    "figure2",
    "curves",
    "sequences",
)
"""Figures for papers, which are also written as SVG."""
_INTERVALS = (
    "Brackets hold 95 % intervals over edits of one trained model (bootstrap, Wilson's for shares), those of test "
    "errors over test images; they say nothing of other trainings."
)


def report(
    benchmark: Annotated[str, typer.Argument(help="A name under `benchmarks` in the parameter file.")],
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Write results/<benchmark> and results/README.md, and make MLflow's runs equal to them."""
    settings = parameters.load(params)
    layout = Layout(benchmark)
    results = leaderboard.read(settings, benchmark)
    if not results:
        raise InputError(
            f"there is nothing to report on {benchmark}: no editor of `leaderboard` edits a listed training"
        )
    mistakes = leaderboard.read(settings, benchmark, MISTAKES) if settings.benchmark(benchmark).mistakes else []
    board = leaderboard.leaderboard(results)
    tables = {
        "table1": leaderboard.table1(results),
        "table2": leaderboard.table2(results),
        "table3": leaderboard.table3(results),
        "table4": finetuned_tables.table4(results),
        "table5": finetuned_tables.table5(mistakes),
    }
    _write_ranks(settings, layout, mistakes)
    _write_tables(settings, layout, results, board, tables)
    _write_claims(settings, layout, results, mistakes)
    sequence_pages.write(settings, layout)
    _draw(settings, layout, results, board, tables)
    _write_json(layout.results / "run.json", provenance.describe(settings, benchmark))
    _write_json(layout.results / "metrics.json", _metrics(board))
    warning = fill(benchmark, run_records(settings, benchmark, results, board))
    write_index(layout.root / "results", settings, warning)
    best = board.iloc[0]
    print(f"report {benchmark}: {len(board)} entries; smallest drawdown {best['drawdown']:.2f} points: ", end="")
    print(f"{best['editor']} on {best['layers']} of the {best['training']} model; see {layout.results}/leaderboard.md")


def _write_tables(
    settings: Settings,
    layout: Layout,
    results: list[CellResult],
    board: pd.DataFrame,
    tables: dict[str, pd.DataFrame],
) -> None:
    scale_note = settings.benchmark(layout.benchmark).note
    fewer = "" if board["edits"].nunique() == 1 else " (of an editor whose steps are slow, fewer)"
    edits = f"{board['edits'].max()} edits{fewer} of test images, targets drawn from all classes. {_INTERVALS}"
    learned = LEARNED_COLUMNS if LEARNED_COLUMNS[0].metric in board else []
    seeds = [SPREAD_COLUMN] if SPREAD_COLUMN.metric in board else []
    titles = {
        "table1": (
            f"Table 1 on {layout.benchmark}: editors on the plain model",
            f"Each editor on the part of the network where it had the smallest drawdown on the tuning split. {edits}",
            [*PAPER_COLUMNS, GENERALITY_COLUMN, *seeds],
        ),
        "table2": (
            f"Table 2 on {layout.benchmark}: which layers to edit",
            edits,
            [*PAPER_COLUMNS, GENERALITY_COLUMN, *seeds],
        ),
        "table3": (
            f"Table 3 on {layout.benchmark}: Editable Training and its baselines",
            f"Every row's editor is tuned by the same rule. {LEARNED_CAPTION if learned else ''}{edits} "
            f"The last rows are not in the paper's table: other trainings of this run, and workarounds that the paper "
            f"names and does not measure.",
            [*PAPER_COLUMNS, GENERALITY_COLUMN, *learned, *seeds],
        ),
        "leaderboard": (
            f"Leaderboard of {layout.benchmark}",
            f"Smallest drawdown first; rows whose success is clearly below the required rate last. {edits} "
            '"Signed drawdown" is the mean of error after − error before, "flips" the share of test images whose '
            'answer changes, "before the edit" the generality of the network that is not edited yet.',
            [*PAPER_COLUMNS, *FURTHER_COLUMNS, *seeds],
        ),
        **finetuned_tables.pages(
            layout.benchmark,
            edits,
            f"{tables['table5']['edits'].max()} mistakes. {_INTERVALS}" if len(tables["table5"]) else "",
            PAPER_COLUMNS,
            [GENERALITY_COLUMN, *learned, *seeds],
        ),
    }
    for name, frame in (tables | {"leaderboard": board}).items():
        title, caption, columns = titles[name]
        shown = _brief(frame) if name == "leaderboard" else frame
        if frame.empty:  # none of this table's rows is part of this run
            for suffix in (".md", ".csv"):
                (layout.results / f"{name}{suffix}").unlink(missing_ok=True)
            continue
        keys = [key for key in ("architecture", *KEYS) if key in frame]
        columns = [column for column in columns if column.metric in frame]
        text = to_markdown(shown, title=title, caption=caption, scale_note=scale_note, metrics=columns, keys=keys)
        write_atomically(layout.results / f"{name}.md", text)
        write_csv(layout.results / f"{name}.csv", frame, digits=6)
    title, caption, columns = titles["leaderboard"]
    page = leaderboard_html(_brief(board), title=title, caption=caption, scale_note=scale_note, metrics=columns)
    write_atomically(layout.results / "leaderboard.html", page)
    write_csv(layout.results / "timings.csv", leaderboard.timings(results), digits=6)


def _write_ranks(settings: Settings, layout: Layout, mistakes: list[CellResult]) -> None:
    """How far mistakes are off, if a training of the run draws targets that are off as far."""
    block, path = settings.benchmark(layout.benchmark), layout.results / RANKS
    path.unlink(missing_ok=True)
    folders = [layout.model(name, settings.training_seeds[0]) for name in settings.run_of(layout.benchmark).trainings]
    drawn = [folder / RANKS for folder in folders if (folder / RANKS).exists()]
    own = [result for result in mistakes if block.mistakes and result.cell.training == block.mistakes.training]
    if drawn and own:
        frame = pd.read_csv(drawn[0])
        write_csv(path, finetuned_tables.ranks(own, frame, len(frame)), digits=6)


def _write_claims(settings: Settings, layout: Layout, results: list[CellResult], mistakes: list[CellResult]) -> None:
    block, run = settings.benchmark(layout.benchmark), settings.run_of(layout.benchmark)
    everything = claims.load()
    speak = {name: claim for name, claim in everything.items() if claim.trainings.intersection(block.trainings)}
    measured = measurements.read(layout, run.trainings, settings.training_seeds[0])
    judged = judging.judge(speak or everything, results, measured, mistakes)
    title, scale_note = f"The paper's claims on {layout.benchmark}", block.note
    write_atomically(layout.results / "claims.md", claims_markdown(judged, title=title, scale_note=scale_note))
    write_csv(layout.results / "claims.csv", judging.table(judged), digits=6)


def _brief(board: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard with the paper's drawdown only: most of its rows have no published counterpart."""
    published = [name for name in board.columns if name.startswith("published_") and name != "published_drawdown"]
    return board.drop(columns=published)


def _draw(
    settings: Settings,
    layout: Layout,
    results: list[CellResult],
    board: pd.DataFrame,
    tables: dict[str, pd.DataFrame],
) -> None:
    drawn: dict[str, Callable[[], Figure]] = {
        "steps-drawdown": partial(figures.scatter, board, x="num_steps"),
        "generality-drawdown": partial(
            figures.scatter, board, x="generality", curves=_tradeoffs(settings, layout, board)
        ),
    }
    if board["training"].nunique() > 1:
        measured = (tables["table3"] if len(tables["table3"]) else board).dropna(subset="drawdown")
        drawn["error-drawdown"] = partial(figures.error_drawdown_scatter, measured)
    for name in ("table3", "table4", "table5"):
        if not tables[name].empty and board["training"].nunique() > 1:
            drawn[name] = partial(figures.table3_bars, tables[name])
    if (layout.results / RANKS).exists():
        drawn["ranks"] = partial(figures.rank_bars, pd.read_csv(layout.results / RANKS))
    if not tables["table1"].empty:
        drawn["table1"] = partial(figures.table1_bars, tables["table1"])
    if not tables["table2"].empty:
        drawn["table2"] = partial(figures.table2_bars, tables["table2"])
    analysed = [layout.figure2 / f"{name}.csv" for name in ("confusion", "tsne", "variance")]
    if analysed[0].exists() and not pd.read_csv(analysed[0]).empty:
        drawn["figure2"] = partial(figures.figure2, *map(pd.read_csv, analysed))
    curves = layout.results / "curves.csv"
    if curves.exists() and not (frame := pd.read_csv(curves)).empty:
        drawn["curves"] = partial(figures.tradeoff_curves, frame)
    rows = sequence_pages.table(layout, "sequences")
    if not rows.empty:
        drawn["sequences"] = partial(figures.sequence_curves, rows)
    for editor, (studies, threshold) in _studies(layout, results).items():
        drawn[f"tuning-{editor}"] = partial(figures.tradeoffs, studies, threshold, title=f"Tuning of {editor}")
    for editor, series in _importances(layout, results).items():
        drawn[f"importances-{editor}"] = partial(figures.importances, series)
    trainings = settings.run_of(layout.benchmark).trainings
    for folder in [layout.model(name, seed) for seed in settings.training_seeds for name in trainings]:
        if (folder / HISTORY).exists():
            history, kept = _history(folder)
            drawn[f"training-{folder.name}"] = partial(
                figures.training_curves, history, kept, title=f"{folder.name} training"
            )
    pieces = [(layout.figures / name, figure) for name, figure in drawn.items()]
    written = {path for paths in share_out(_save, pieces, settings.processes, torch.device("cpu")) for path in paths}
    for stale in set(layout.figures.iterdir()) - written:
        stale.unlink()


def _tradeoffs(settings: Settings, layout: Layout, board: pd.DataFrame) -> list[pd.DataFrame]:
    """Curves of drawdown against generality: rows that differ in their method's options, and in its learning rate."""
    named = board.assign(editor=[settings.method(editor) for editor in board["editor"]]).sort_values("generality")
    curves = [rows for _, rows in named.groupby(KEYS, sort=False) if len(rows) > 1]
    path = layout.results / "curves.csv"
    if path.exists() and "generality" in (frame := pd.read_csv(path)):
        curves += [rows.sort_values("factor") for _, rows in frame.groupby(KEYS, sort=False)]
    return curves


def _history(folder: Path) -> tuple[pd.DataFrame, int]:
    """A training's epochs and which of them was kept."""
    try:
        return pd.read_csv(folder / HISTORY), int(json.loads((folder / DESCRIPTION).read_text())["epoch"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} does not hold a whole training ({error!r}): train it again") from error


def _save(piece: tuple[Path, Callable[[], Figure]]) -> tuple[Path, ...]:
    path, figure = piece
    return figures.save(figure(), path, ("png", "svg") if path.name in _SCALABLE else ("png",))


def _studies(layout: Layout, results: list[CellResult]) -> dict[str, tuple[dict[str, pd.DataFrame], float]]:
    """By editor: all trials of each study that tuned anything, and the success that was asked of them, in percent."""
    found: dict[str, tuple[dict[str, pd.DataFrame], float]] = {}
    for result in results:
        cell, required = result.cell, result.description["tuning"].get("required", result.description["min_success"])
        trials = pd.read_csv(layout.tuned(cell.editor) / f"{cell.file}.csv")
        if len(trials) > 1:
            found.setdefault(cell.editor, ({}, required))[0][f"{cell.training},\n{cell.layers}"] = trials
    return found


def _importances(layout: Layout, results: list[CellResult]) -> dict[str, dict[str, pd.Series]]:
    """By editor and study, for those that tuned more than one hyperparameter."""
    found: dict[str, dict[str, pd.Series]] = {}
    for result in results:
        cell = result.cell
        tuned = json.loads((layout.tuned(cell.editor) / f"{cell.file}.json").read_text())
        values = pd.Series(tuned["importances"], dtype=float)
        if len(values) > 1 and values.notna().all():
            found.setdefault(cell.editor, {})[f"{cell.training}, {cell.layers}"] = values
    return found


def _metrics(board: pd.DataFrame) -> dict:
    """The leaderboard's main numbers, nested as ``dvc metrics show`` likes them."""
    nested: dict = {}
    for row in board.to_dict("records"):
        values = {column.metric: round(float(row[column.metric]), 4) for column in PAPER_COLUMNS}
        nested.setdefault(row["training"], {}).setdefault(row["editor"], {})[row["layers"]] = values
    return nested


def _write_json(path: Path, content: dict) -> None:
    write_atomically(path, json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    command.run(report)
