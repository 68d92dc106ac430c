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
from pipelines.reporting import drawing
from pipelines.reporting.claims import definitions, judging
from pipelines.reporting.claims.judging import Evidence
from pipelines.reporting.pages import sequences
from pipelines.reporting.pages.claims import claims_markdown
from pipelines.reporting.pages.index import write_index
from pipelines.reporting.tables import paper, results, trainings
from pipelines.reporting.tables.presentation import Presentation, write_tables
from pipelines.reporting.tables.results import CellResult
from pipelines.store import provenance
from pipelines.store.csv_files import write_csv
from pipelines.store.layout import MISTAKES, RANKS, Layout
from pipelines.tracking.run_records import fill, run_records


def report(
    benchmark: Annotated[str, typer.Argument(help="A name under `benchmarks` in the parameter file.")],
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Write results/<benchmark> and results/README.md, and make MLflow's runs equal to them."""
    began = time.perf_counter()
    settings = parameters.load(params)
    layout, told = Layout(benchmark), paper.CLASSIFIERS
    found = results.read(settings, benchmark, told)
    if not found:
        raise InputError(
            f"there is nothing to report on {benchmark}: no editor of `leaderboard` edits a listed training"
        )
    mistakes = results.read(settings, benchmark, told, MISTAKES) if settings.benchmark(benchmark).mistakes else []
    board, tables = write_tables(settings, layout, told, found, mistakes)
    _write_ranks(settings, layout, mistakes)
    _write_claims(settings, layout, told, found, mistakes)
    if told.examples:
        page = told.examples(benchmark, [(", ".join(one.cell.names.values()), one.records) for one in found])
        write_atomically(layout.results / "examples.md", page)
    sequences.write(settings, layout)
    trainings.write(settings, layout)
    print(f"report {benchmark}: tables are written, figures are drawn ...", flush=True)
    drawing.draw(settings, layout, found, board, tables)
    _write_json(layout.results / "metrics.json", _metrics(told, board))
    print(f"report {benchmark}: MLflow's runs are filled ...", flush=True)
    warning = fill(benchmark, run_records(settings, benchmark, found, board))
    described = provenance.describe(settings, benchmark, time.perf_counter() - began)
    described |= {"made_elsewhere": results.made_elsewhere(found)}
    _write_json(layout.results / "run.json", described)
    write_index(layout.root / "results", settings, [told], warning)
    best, drawdown = board.iloc[0], told.measures.drawdown
    print(f"report {benchmark}: {len(board)} entries; smallest drawdown {best[drawdown]:.2f} points: ", end="")
    print(f"{best['editor']} on {best['layers']} of the {best['training']} model; see {layout.results}/leaderboard.md")


def _write_ranks(settings: Settings, layout: Layout, mistakes: list[CellResult]) -> None:
    """How far mistakes are off, if a training of the run draws targets that are off as far."""
    block, path = settings.benchmark(layout.benchmark), layout.results / RANKS
    path.unlink(missing_ok=True)
    folders = [layout.model(name, settings.training_seeds[0]) for name in settings.run_of(layout.benchmark).trainings]
    drawn = [folder / RANKS for folder in folders if (folder / RANKS).exists()]
    own = [result for result in mistakes if block.mistakes and result.cell.training == block.mistakes.training]
    if drawn and own:
        frame = pd.read_csv(drawn[0])
        write_csv(path, paper.ranks(own, frame, len(frame)), digits=6)


def _write_claims(
    settings: Settings, layout: Layout, told: Presentation, found: list[CellResult], mistakes: list[CellResult]
) -> None:
    block, run = settings.benchmark(layout.benchmark), settings.run_of(layout.benchmark)
    names = {told.published_training(settings, layout.benchmark, one) for one in block.trainings}
    claims = definitions.about(layout.benchmark, names | {*block.trainings}, told.claims, told.measures)
    measured = judging.measurements(layout, run.trainings, settings.training_seeds[0])
    judged = judging.judge(claims, Evidence(told.measures, found, mistakes, measured))
    text = claims_markdown(judged, title=f"The paper's claims on {layout.benchmark}", scale_note=block.note)
    write_atomically(layout.results / "claims.md", text)
    write_csv(layout.results / "claims.csv", judging.table(judged), digits=6)


def _metrics(told: Presentation, board: pd.DataFrame) -> dict:
    """The leaderboard's main numbers, nested as ``dvc metrics show`` likes them."""
    nested: dict = {}
    for row in board.to_dict("records"):
        values = {name: round(float(row[name]), 4) for name in told.headline}
        values = {name: value for name, value in values.items() if math.isfinite(value)}  # JSON has no others
        nested.setdefault(row["training"], {}).setdefault(row["editor"], {})[row["layers"]] = values
    return nested


def _write_json(path: Path, content: dict) -> None:
    write_atomically(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


if __name__ == "__main__":
    command.run(report)
