"""Stage 5: tables, figures, leaderboard and MLflow runs of a benchmark, from the files of the other stages."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from pipelines import command
from pipelines.config.params import Settings
from pipelines.jobs.cells import PROTOCOL
from pipelines.reporting import drawing
from pipelines.reporting.claims import definitions, judging
from pipelines.reporting.claims.comparing import Evidence
from pipelines.reporting.claims.page import claims_markdown
from pipelines.reporting.index import write_index
from pipelines.reporting.prose import write_pages
from pipelines.reporting.ranking import FRONT, ON_FRONT
from pipelines.reporting.site import write_site
from pipelines.reporting.tables import other_stages, results
from pipelines.reporting.tables.presentation import Presentation, write_tables
from pipelines.reporting.tables.results import CellResult
from pipelines.store import provenance
from pipelines.store.layout import MISTAKES, TIMING, Layout, write_csv, write_json
from pipelines.store.schemas import Description
from pipelines.tasks import base, kinds, load_settings, task_of
from pipelines.tracking.run_records import fill, run_records

_SURROUNDINGS = ("git_commit", "hardware", "python", "packages")


@provenance.timed(lambda layout: layout.results.glob("leaderboard.csv"))
def report(
    benchmark: command.Benchmark,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Write results/<benchmark>, the pages and the site of all benchmarks, and make MLflow's runs equal to them."""
    settings, layout = load_settings(params), Layout(benchmark)
    task = task_of(settings, benchmark)
    told, block = task.presentation, settings.benchmark(benchmark)
    found = told.read(settings, benchmark)
    if not found:
        raise InputError(f"there is nothing to report on {benchmark}: no editor's block names `layers`")
    mistakes = told.read(settings, benchmark, MISTAKES) if base.MISTAKES in task.sources(block) else []
    board, tables = write_tables(settings, layout, told, found, mistakes)
    other_stages.write_ranks(settings, layout, mistakes)
    _write_claims(settings, layout, told, found, mistakes)
    if told.examples:
        page = told.examples(benchmark, [(", ".join(one.cell.names.values()), one.records) for one in found])
        write_atomically(layout.results / "examples.md", page)
    other_stages.write_pages(settings, layout, found)
    other_stages.write_trainings(settings, layout, told.judged[0])
    print(f"report {benchmark}: tables are written, figures are drawn ...", flush=True)
    drawing.draw(settings, layout, told, found, board, tables)
    write_json(layout.results / "metrics.json", _metrics(told, board), allow_nan=False)
    print(f"report {benchmark}: MLflow's runs are filled ...", flush=True)
    about = _run(settings, layout, found)
    warning = fill(benchmark, run_records(settings, layout, found, board, about["data"]))
    write_json(layout.results / "run.json", about, allow_nan=False)
    folder, all_told = layout.root / "results", [kind.presentation for kind in kinds()]
    for problem in write_pages(folder, all_told):
        print(f"report {benchmark}: {folder.name}/{problem}", flush=True)
    write_index(folder, all_told, warning)
    write_site(folder, all_told)
    count = int((board["standing"] == FRONT).sum())
    print(f"report {benchmark}: {len(board)} entries, {count} of them {ON_FRONT}; see {layout.results}/README.md")


def _write_claims(
    settings: Settings, layout: Layout, told: Presentation, found: list[CellResult], mistakes: list[CellResult]
) -> None:
    block = settings.benchmark(layout.benchmark)
    names = {told.published_training(settings, layout.benchmark, name) for name in block.trainings}
    claims = definitions.about(layout.benchmark, names | {*block.trainings}, told.claims, told.measures)
    measured = judging.measurements(layout, block.trainings, settings.training_seeds[0])
    curves, many = judging.trade_offs(layout), judging.many_edits(layout)
    judged = judging.judge(claims, Evidence(told.measures, found, mistakes, measured, curves, many))
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


def _run(settings: Settings, layout: Layout, found: list[CellResult]) -> dict[str, Any]:
    """Everything needed to say where the numbers come from, and the command that makes them again.

    What is not known here, as where the data or the times of stages are missing, stays as it was.
    """
    name, task = layout.benchmark, task_of(settings, layout.benchmark)
    path, stages = layout.results / "run.json", provenance.read_stages(layout)
    before = Description.read(path, "report again") if path.exists() else {}
    last = stages.get("evaluate", before)
    around = {key: last[key] for key in _SURROUNDINGS if key in last} or provenance.surroundings()
    data = layout.data / task.data_file
    if not data.exists() and "data" not in before:
        raise InputError(
            f"{data} is missing, and there is no earlier {path} that tells of it: {layout.again('prepare')}"
        )
    block = settings.benchmark(name)
    return {
        "benchmark": name,
        "command": f"dvc repro report@{name}",
        "protocol": PROTOCOL,
        "seed": settings.seed,
        "training_seeds": settings.training_seeds,
        "edit_seeds": settings.edit_seeds,
        "data": _about_data(json.loads(data.read_text())) if data.exists() else before["data"],
        "machine": results.machine_of(found),
        "made_elsewhere": results.made_elsewhere(found),
        **around,
        "seconds": _seconds(layout, stages) if stages else before.get("seconds", {}),
        "parameters": {"compile": settings.compile, "benchmark": block.model_dump(mode="json")},
    }


def _about_data(described: dict[str, Any]) -> dict[str, Any]:
    """Source, fingerprint and sizes of prepared data, from their description."""
    splits = {"train": "training", "tuning": "tuning", "valid": "validation", "test": "test"}
    counts = described.get("files") or described
    sizes = {words: counts[name] for name, words in splits.items() if name in counts}
    sizes = {words: size["images"] if isinstance(size, dict) else size for words, size in sizes.items()}
    source = described.get("source") or described.get("origin")
    return {"source": source, "fingerprint": described["fingerprint"], "sizes": sizes}


def _seconds(layout: Layout, stages: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Wall time of stages, but for this one, and of trainings and studies, as they wrote it down."""
    spent = {
        name: {key: one[key] for key in ("seconds", "made", "of")} for name, one in stages.items() if "seconds" in one
    }
    spent.pop("report", None)
    files = {f"train/{path.parent.name}": path for path in sorted(layout.results.glob(f"models/*/{TIMING}"))}
    files |= {f"tune/{path.parent.name}": path for path in sorted(layout.results.glob(f"tuned/*/{TIMING}"))}
    pieces = {name: Description.read(path, "report again, it holds wall times only") for name, path in files.items()}
    return {"stages": spent, "tables_and_figure_2": provenance.of_tables(spent), **pieces}


if __name__ == "__main__":
    command.run(report)
