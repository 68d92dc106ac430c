"""The runs that MLflow shows of a benchmark, made from result files: one per leaderboard row, one per trained network,
and one with the tables and figures of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import typer

from baselines.model_files import DESCRIPTION
from pipelines.config.blocks import Benchmark
from pipelines.config.params import Settings
from pipelines.jobs.cells import KEYS, PROTOCOL, Cell
from pipelines.reporting.tables import other_stages
from pipelines.reporting.tables.results import CellResult, hyperparameters_of
from pipelines.store.layout import COST, EDITOR, HISTORY, MISTAKES, ORIGIN, RANKS, TIMING, Layout, repeated, write_json
from pipelines.store.provenance import git_commit, read_stages
from pipelines.store.schemas import EPOCHS, RECORDS, Description
from pipelines.tracking import rebuild, records, server
from pipelines.tracking.records import LONGEST_DIGEST, DataRecord, NetworkRecord, RunRecord, Span

_EPOCH = "epoch"
_IN_A_ROW = ("error", "in_force")
"""Columns of edits in a row that are shown as curves."""
_DESCRIBING = (DESCRIPTION, EDITOR, COST, RANKS, HISTORY)
_OF_ONE_RUN = ("tuning-", "training-")
"""How the names of figures begin that belong to one editor or network."""


def fill(benchmark: str, runs: Sequence[RunRecord]) -> str:
    """Make the runs of a benchmark's experiment equal to ``runs``, and note it in ``mlflow/<benchmark>.json``.

    :returns: a warning if the server does not answer, else nothing.
    """
    warning, counts = "", {}
    try:
        counts = rebuild(benchmark, runs)
    except server.Unreachable as error:
        warning = f"MLflow was not filled: {error}"
        typer.echo(f"warning: {warning}", err=True)
    told = {"tracking_uri": server.tracking_uri(), "runs": len(runs), **counts, "warning": warning}
    write_json(Path("mlflow") / f"{benchmark}.json", told)
    return warning


def run_records(
    settings: Settings, layout: Layout, results: Sequence[CellResult], board: pd.DataFrame, data: Mapping[str, Any]
) -> list[RunRecord]:
    """The runs of one benchmark's experiment, whatever its task.

    :param board: the leaderboard, which has a row for each of the ``results``; its numbers become metrics.
    :param data: the ``source``, ``fingerprint`` and ``sizes`` of the prepared data, as run.json has them.
    """
    name, block = layout.benchmark, settings.benchmark(layout.benchmark)
    about = (data["fingerprint"][:LONGEST_DIGEST], f"data/{name}", data["source"] or "")
    splits = {split: DataRecord(f"{name} {split}", *about, rows) for split, rows in data["sizes"].items()}
    evaluated = read_stages(layout).get("evaluate", {})
    # Only if one run of the stage made all records is it known when these were made.
    span = _span(evaluated) if evaluated.get("made") == evaluated.get("of") else None
    run = _Benchmark(layout, splits, hyperparameters_of(results), span)
    rows = {tuple(row[key] for key in KEYS): row for row in board.to_dict("records")}
    cells, qualities = [], {}
    for result in results:
        row, quality = rows[tuple(result.cell.names.values())], result.quality.name
        cells.append(_cell_run(run, result, row, block.editors[result.cell.editor].asked))
        qualities[_network(result.cell.training, result.cell.seed)] = {
            records.metric_of_row(f"{quality}{end}", quality): float(row[f"{quality}{end}"])
            for end in ("", "_low", "_high")
        }
    trained = [
        _training_run(run, training, seed, block, qualities.get(_network(training, seed), {}))
        for seed, training in product(settings.training_seeds, block.trainings)
    ]
    return [*trained, *cells, _report_run(run)]


@dataclass(frozen=True)
class _Benchmark:
    """What the runs of a benchmark have in common.

    :ivar splits: of the data, by context.
    :ivar chosen: the columns of the leaderboard that hold hyperparameters.
    :ivar evaluated: when the records were made.
    """

    layout: Layout
    splits: Mapping[str, DataRecord]
    chosen: Sequence[str]
    evaluated: Span | None

    def tags(self, kind: str, stage: str, commit: str, note: str, span: Span | None) -> dict[str, str]:
        """MLflow's standard tags and the suite's own."""
        own = {"mlflow.note.content": note, "benchmark": self.layout.benchmark, "protocol": str(PROTOCOL), "kind": kind}
        unknown = {"suite.times": "of writing: nobody noted when the work was done"} if span is None else {}
        return records.source_tags(stage, commit) | own | unknown


def _network(training: str, seed: int) -> str:
    """The key of the run that made a network."""
    return f"training/{repeated(training, seed)}"


def _cell_run(run: _Benchmark, result: CellResult, row: Mapping[str, Any], asked: Mapping[str, Any]) -> RunRecord:
    """:param asked: of the edits beside their target, see :attr:`pipelines.config.blocks.EditorSettings.asked`."""
    layout, cell, description = run.layout, result.cell, result.description
    metrics = {
        records.metric_of_row(name, result.quality.name): float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and name not in ("edits", *run.chosen)
    }
    in_a_row, similar = (_of(cell, other_stages.table(layout, name)) for name in ("sequences", "similar"))
    if len(similar):
        metrics |= {f"similar/{name}": float(similar[f"similar_{name}"].iloc[0]) for name in ("accuracy", "before")}
    # The cell's names stand at the end, to tell rows of several runs apart.
    tables = {"edits.json": result.records.assign(**cell.names)}
    mistakes = layout.edits(cell.editor) / f"{cell.file}{MISTAKES}.csv"
    if mistakes.exists():
        again = layout.again("evaluate", cell.editor)
        tables["mistakes.json"] = RECORDS.read(mistakes, again).assign(**cell.names)
    commit = description["made"]["commit"]
    return RunRecord(
        key="/".join(cell.names.values()),
        parameters={
            **description["hyperparameters"],
            "max_steps": description["max_steps"],
            **{name: value for name, value in asked.items() if value},
        },
        metrics={**metrics, "speed/milliseconds": float(result.milliseconds.mean())},
        series={f"in_a_row/{name}": _series(in_a_row, "edits", name) for name in _IN_A_ROW if len(in_a_row)},
        tags={
            **run.tags("edits", "evaluate", commit, _about_cell(result, row), run.evaluated),
            **cell.names,
            "feasible": str(description["feasible"]).lower(),
            **{name: row[name] for name in ("note", "standing", "proposed_by") if row.get(name)},
        },
        artifacts=_there(layout.figures / f"tuning-{cell.editor}.png"),
        tables=tables,
        data=dict(reversed([(split, data) for split, data in run.splits.items() if split != "training"])),
        takes=[_network(cell.training, cell.seed)],
        span=run.evaluated,
    )


def _about_cell(result: CellResult, row: Mapping[str, Any]) -> str:
    cell = result.cell
    standing, note = (text[:1].upper() + text[1:] for text in (row.get("standing") or "", row.get("note") or ""))
    said = [f"**{standing}**."] if standing else []
    said += [f"{note}."] if note else []
    made = f"{result.description['edits']} edits by `{cell.editor}` of `{cell.layers}` in the network `{cell.training}`"
    paragraphs = [
        f"{made}, each on its own, by `python -m pipelines.evaluate {cell.benchmark} {cell.editor}`.",
        " ".join(said),
        "Each edit is a row of `edits.json`; `mlflow.load_table` puts those of several runs together. The run `report` "
        "has the tables and figures of all entries.",
    ]
    return "\n\n".join(filter(None, paragraphs))


def _of(cell: Cell, table: pd.DataFrame) -> pd.DataFrame:
    """A cell's rows of a table, which may be empty."""
    return table[(table[KEYS] == list(cell.names.values())).all(axis=1)] if len(table) else table


def _series(table: pd.DataFrame, steps: str, name: str) -> list[tuple[int, float]]:
    return list(zip(table[steps].tolist(), table[name].tolist(), strict=True))


def _training_run(
    run: _Benchmark, training: str, seed: int, block: Benchmark, quality: Mapping[str, float]
) -> RunRecord:
    """:param quality: how good the network is before any edit, as metrics."""
    layout, settings = run.layout, block.trainings[training].model_dump()
    folder = layout.described(training, seed)
    model, path = folder.name, folder / HISTORY  # a model made without training has none
    history = EPOCHS.read(path, "train again") if path.exists() else pd.DataFrame({_EPOCH: []})
    cost, made, described, timing = (
        Description.read(folder / name, "train again") if (folder / name).exists() else {}
        for name in (COST, ORIGIN, DESCRIPTION, TIMING)
    )
    span, weights = _span(timing), f"models/{layout.benchmark}/{model}"
    made_by = f"python -m pipelines.train {layout.benchmark} {training}"
    note = f"The network `{model}`, by `{made_by}`; its weights are in `{weights}`."
    commit, names = made.get("commit", ""), {"training": training, "seed": str(seed)}
    return RunRecord(
        key=_network(training, seed),
        parameters=settings,
        metrics={
            **{
                records.metric_of_training(name): value for name, value in cost.items() if name.startswith("cost_ratio")
            },
            **quality,
        },
        series={
            records.metric_of_training(name): _series(history, _EPOCH, name) for name in history.columns.drop(_EPOCH)
        },
        tags=run.tags("training", "train", commit, note, span) | names,
        artifacts=_there(layout.figures / f"training-{model}.png", *(folder / name for name in _DESCRIBING)),
        data=run.splits,
        network=NetworkRecord(
            # MLflow allows no dots in names of models
            name=model.replace(".", "_"),
            kind=str(described.get("architecture", "network")),
            epoch=int(described.get("epoch", 0)),
            parameters={name: settings[name] for name in ("recipe", "epochs", "lr", "batch_size") if name in settings},
            tags={
                **records.source_tags("train", commit),
                "mlflow.model.isExternal": "true",
                "weights": weights,
                "fingerprint": str(described.get("fingerprint", "")),
                "mlflow.note.content": note,
                "benchmark": layout.benchmark,
                **names,
            },
        ),
        takes=[_network(source, seed) for source in block.sources_of(training)],
        span=span,
    )


def _report_run(run: _Benchmark) -> RunRecord:
    """The run with what is told of all entries together."""
    layout = run.layout
    pages = [path for path in sorted(layout.results.glob("*.md")) if path.name != "README.md"]  # which is made later
    figures = [path for path in sorted(layout.figures.glob("*.png")) if not path.name.startswith(_OF_ONE_RUN)]
    note = f"All tables and figures of `{layout.benchmark}`, by `python -m pipelines.report {layout.benchmark}`."
    return RunRecord(
        key="report",
        parameters={},
        metrics={},
        series={},
        tags=run.tags("report", "report", git_commit(), note, None),
        artifacts=[*pages, *figures],
        data=run.splits,
    )


def _span(timed: Mapping[str, Any]) -> Span | None:
    """When work began and ended, if somebody wrote that down."""
    if "ended" not in timed:
        return None
    ended = datetime.fromisoformat(timed["ended"])
    return ended - timedelta(seconds=timed["seconds"]), ended


def _there(*paths: Path) -> list[Path]:
    return [path for path in paths if path.exists()]
