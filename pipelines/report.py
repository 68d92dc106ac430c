"""Stage 5: tables, figures, leaderboard and MLflow runs of a benchmark, from the files of the other stages."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from pipelines import command
from pipelines.config import params as parameters
from pipelines.config.params import Settings
from pipelines.jobs.cells import KEYS
from pipelines.reporting import drawing
from pipelines.reporting.claims import definitions, judging, measurements
from pipelines.reporting.pages import sequences
from pipelines.reporting.pages.claims import claims_markdown
from pipelines.reporting.pages.index import write_index
from pipelines.reporting.pages.leaderboard import leaderboard_html
from pipelines.reporting.tables import columns, finetuned, leaderboard, trainings
from pipelines.reporting.tables.leaderboard import CellResult
from pipelines.reporting.tables.markdown import Column, to_markdown
from pipelines.store import provenance
from pipelines.store.csv_files import write_csv
from pipelines.store.layout import MISTAKES, RANKS, Layout
from pipelines.tracking.run_records import fill, run_records

PAPER_COLUMNS = [columns.TEST_ERROR, columns.DRAWDOWN, columns.SUCCESS, columns.STEPS]
FURTHER_COLUMNS = [
    columns.GENERALITY,
    columns.GENERALITY_BEFORE,
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
_TERMS = (
    "*Generality* is the share of five other pictures of the edited thing (augmented as in training, then turned by up "
    "to 10 degrees and scaled by up to 10 %) that get the target after the edit. Brackets hold 95 % intervals over "
    "edits of one trained model (bootstrap, Wilson's for shares), those of test errors over test images; they say "
    "nothing of other trainings."
)


def report(
    benchmark: Annotated[str, typer.Argument(help="A name under `benchmarks` in the parameter file.")],
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Write results/<benchmark> and results/README.md, and make MLflow's runs equal to them."""
    began = time.perf_counter()
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
        "table4": finetuned.table4(results),
        "table5": finetuned.table5(mistakes),
    }
    _write_ranks(settings, layout, mistakes)
    _write_tables(settings, layout, results, board, tables)
    _write_claims(settings, layout, results, mistakes)
    sequences.write(settings, layout)
    trainings.write(settings, layout)
    print(f"report {benchmark}: tables are written, figures are drawn ...", flush=True)
    drawing.draw(settings, layout, results, board, tables)
    _write_json(layout.results / "metrics.json", _metrics(board))
    print(f"report {benchmark}: MLflow's runs are filled ...", flush=True)
    run = settings.run_of(benchmark)
    chosen = {name: settings.training(benchmark, name).model_dump() for name in run.trainings}
    asked = {name: settings.editor(name).asked for name in run.leaderboard}
    warning = fill(benchmark, run_records(layout, results, board, chosen, settings.training_seeds, asked))
    described = provenance.describe(settings, benchmark, time.perf_counter() - began)
    _write_json(layout.results / "run.json", described)
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
    edits = f"{board['edits'].max()} edits{fewer} of test images, targets drawn from all classes. {_TERMS}"
    learned = LEARNED_COLUMNS if LEARNED_COLUMNS[0].metric in board else []
    seeds = [SPREAD_COLUMN] if SPREAD_COLUMN.metric in board else []
    titles = {
        "table1": (
            f"Table 1 on {layout.benchmark}: editors on the plain model",
            f"Each editor on the part of the network where it had the smallest drawdown on the tuning split. {edits}",
            [*PAPER_COLUMNS, columns.GENERALITY, *seeds],
        ),
        "table2": (
            f"Table 2 on {layout.benchmark}: which layers to edit",
            edits,
            [*PAPER_COLUMNS, columns.GENERALITY, *seeds],
        ),
        "table3": (
            f"Table 3 on {layout.benchmark}: Editable Training and its baselines",
            f"Every row's editor is tuned by the same rule. {LEARNED_CAPTION if learned else ''}{edits} "
            f"The last rows are not in the paper's table: other trainings of this run, and workarounds that the paper "
            f"names and does not measure.",
            [*PAPER_COLUMNS, columns.GENERALITY, *learned, *seeds],
        ),
        "leaderboard": (
            f"Leaderboard of {layout.benchmark}",
            f"Smallest drawdown first; rows whose success is clearly below the required rate last. {edits} "
            '"Signed drawdown" is the mean of error after − error before, "flips" the share of test images whose '
            'answer changes, "before the edit" the generality of the network that is not edited yet.',
            [*PAPER_COLUMNS, *FURTHER_COLUMNS, *seeds],
        ),
        **finetuned.pages(
            layout.benchmark,
            edits,
            f"{tables['table5']['edits'].max()} mistakes. {_TERMS}" if len(tables["table5"]) else "",
            PAPER_COLUMNS,
            [columns.GENERALITY, *learned, *seeds],
        ),
    }
    for name, frame in (tables | {"leaderboard": board}).items():
        title, caption, metrics = titles[name]
        shown = _brief(frame) if name == "leaderboard" else frame
        if frame.empty:  # none of this table's rows is part of this run
            for suffix in (".md", ".csv"):
                (layout.results / f"{name}{suffix}").unlink(missing_ok=True)
            continue
        keys = [key for key in ("architecture", *KEYS) if key in frame]
        metrics = [column for column in metrics if column.metric in frame]
        text = to_markdown(shown, title=title, caption=caption, scale_note=scale_note, metrics=metrics, keys=keys)
        write_atomically(layout.results / f"{name}.md", text)
        write_csv(layout.results / f"{name}.csv", frame, digits=6)
    title, caption, metrics = titles["leaderboard"]
    page = leaderboard_html(_brief(board), title=title, caption=caption, scale_note=scale_note, metrics=metrics)
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
        write_csv(path, finetuned.ranks(own, frame, len(frame)), digits=6)


def _write_claims(settings: Settings, layout: Layout, results: list[CellResult], mistakes: list[CellResult]) -> None:
    block, run = settings.benchmark(layout.benchmark), settings.run_of(layout.benchmark)
    everything = definitions.load()
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


def _metrics(board: pd.DataFrame) -> dict:
    """The leaderboard's main numbers, nested as ``dvc metrics show`` likes them."""
    nested: dict = {}
    for row in board.to_dict("records"):
        values = {column.metric: round(float(row[column.metric]), 4) for column in PAPER_COLUMNS}
        values = {name: value for name, value in values.items() if math.isfinite(value)}  # JSON has no others
        nested.setdefault(row["training"], {}).setdefault(row["editor"], {})[row["layers"]] = values
    return nested


def _write_json(path: Path, content: dict) -> None:
    write_atomically(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


if __name__ == "__main__":
    command.run(report)
