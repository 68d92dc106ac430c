"""The runs that MLflow shows of a benchmark, made from result files: one per leaderboard row, one per trained network,
and one with the tables and figures of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import typer

from baselines.model_files import DESCRIPTION
from pipelines.jobs.cells import KEYS, PROTOCOL, Cell
from pipelines.reporting.tables.results import CellResult, hyperparameters_of
from pipelines.store.layout import COST, EDITOR, HISTORY, MISTAKES, ORIGIN, RANKS, TIMING, Layout, repeated, write_json
from pipelines.store.provenance import git_commit, read_stages
from pipelines.store.schemas import EPOCHS, RECORDS, ROWS, Description
from pipelines.tracking import DataRecord, NetworkRecord, RunRecord, Unreachable, rebuild, tracking_uri
from pipelines.tracking.records import LONGEST_DIGEST, metric_of_row, metric_of_training, source_tags

_EPOCH = "epoch"
_DESCRIBING = (DESCRIPTION, EDITOR, COST, RANKS, HISTORY)
_OF_ONE_RUN = ("tuning-", "training-")
"""How the names of figures begin that belong to one editor or network."""
_UNKNOWN_TIMES = "of writing: nobody noted when the work was done"


def fill(benchmark: str, records: Sequence[RunRecord]) -> str:
    """Make the runs of a benchmark's experiment equal to ``records``, and note it in ``mlflow/<benchmark>.json``.

    :returns: a warning if the server does not answer, else nothing.
    """
    warning, counts = "", {}
    try:
        counts = asdict(rebuild(benchmark, records))
    except Unreachable as error:
        warning = f"MLflow was not filled: {error}"
        typer.echo(f"warning: {warning}", err=True)
    told = {"tracking_uri": tracking_uri(), "runs": len(records), **counts, "warning": warning}
    write_json(Path("mlflow") / f"{benchmark}.json", told)
    return warning


def run_records(
    layout: Layout,
    results: Sequence[CellResult],
    table: pd.DataFrame,
    trainings: Mapping[str, Mapping[str, Any]],
    sources: Mapping[str, Sequence[str]],
    seeds: Sequence[int],
    asked: Mapping[str, Mapping[str, Any]],
    data: Mapping[str, Any],
) -> list[RunRecord]:
    """The runs of one benchmark's experiment, whatever its task.

    :param results: of the cells, of which ``cell``, ``description``, ``records``, ``quality`` and ``milliseconds`` are
        read.
    :param table: the leaderboard, which has a row per cell; its numbers become metrics.
    :param trainings: the settings of each training by name; each was repeated with all ``seeds``.
    :param sources: by training, those whose networks it starts from.
    :param asked: by editor, what is asked of its edits besides their target.
    :param data: the ``source``, ``fingerprint`` and ``sizes`` of the prepared data, as run.json has them.
    """
    rows = {tuple(row[key] for key in KEYS): row for row in table.to_dict("records")}
    evaluation = read_stages(layout).get("evaluate", {})
    run = _Benchmark(layout, _splits(layout, data), hyperparameters_of(results), evaluation)
    cells, qualities = [], {}
    for result in results:
        row = rows[tuple(result.cell.names.values())]
        cells.append(_cell_run(run, result, row, asked.get(result.cell.editor, {})))
        quality = result.quality.name
        qualities[_network(result.cell.training, result.cell.seed)] = {
            metric_of_row(name, quality): float(row[name]) for name in (quality, f"{quality}_low", f"{quality}_high")
        }
    trained = []
    for seed, name in product(seeds, trainings):
        known, takes = qualities.get(_network(name, seed), {}), [_network(one, seed) for one in sources.get(name, ())]
        trained.append(_training_run(run, name, seed, trainings[name], known, takes))
    return [*trained, *cells, _report_run(run)]


@dataclass(frozen=True)
class _Benchmark:
    """What the runs of a benchmark have in common.

    :ivar splits: of the data, by context.
    :ivar chosen: the columns of the leaderboard that hold hyperparameters.
    :ivar evaluation: when the stage that made the records ran, and how many of them it made.
    """

    layout: Layout
    splits: Mapping[str, DataRecord]
    chosen: Sequence[str]
    evaluation: Mapping[str, Any]

    def tags(self, kind: str, stage: str, commit: str, note: str, span: tuple[datetime, datetime] | None) -> dict:
        """MLflow's standard tags and the suite's own."""
        known = {"suite.times": _UNKNOWN_TIMES} if span is None else {}
        return (
            source_tags(stage, commit)
            | known
            | {
                "mlflow.note.content": note,
                "benchmark": self.layout.benchmark,
                "protocol": str(PROTOCOL),
                "kind": kind,
            }
        )


def _splits(layout: Layout, data: Mapping[str, Any]) -> dict[str, DataRecord]:
    digest = data["fingerprint"][:LONGEST_DIGEST]
    return {
        split: DataRecord(f"{layout.benchmark} {split}", digest, f"data/{layout.benchmark}", data["source"] or "", rows)
        for split, rows in data["sizes"].items()
    }


def _network(training: str, seed: int) -> str:
    """The key of the run that made a network."""
    return f"training/{repeated(training, seed)}"


def _cell_run(run: _Benchmark, result: CellResult, row: Mapping[str, Any], asked: Mapping[str, Any]) -> RunRecord:
    layout, cell, description = run.layout, result.cell, result.description
    left_out = {"edits", *run.chosen}
    metrics = {
        metric_of_row(name, result.quality.name): float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and name not in left_out
    }
    tables = {"edits.json": _named(cell, result.records)}
    mistakes = layout.edits(cell.editor) / f"{cell.file}{MISTAKES}.csv"
    if mistakes.exists():
        tables["mistakes.json"] = _named(cell, RECORDS.read(mistakes, layout.again("evaluate", cell.editor)))
    # Only if one run of the stage made all records is it known when these were made.
    known = "ended" in run.evaluation and run.evaluation["made"] == run.evaluation["of"]
    span = _span(run.evaluation) if known else None
    commit = description.get("made", {}).get("commit", "")
    return RunRecord(
        key="/".join(cell.names.values()),
        parameters={
            **description["hyperparameters"],
            "max_steps": description["max_steps"],
            **{name: value for name, value in asked.items() if value},
        },
        metrics={**metrics, **_similar(layout, cell), "speed/milliseconds": float(result.milliseconds.mean())},
        series=_in_a_row(layout, cell),
        tags={
            **run.tags("edits", "evaluate", commit, _about_cell(result, row), span),
            **cell.names,
            "feasible": str(description["feasible"]).lower(),
            **{name: row[name] for name in ("note", "standing", "proposed_by") if row.get(name)},
        },
        artifacts=_there([layout.figures / f"tuning-{cell.editor}.png"]),
        tables=tables,
        data=dict(reversed([(split, data) for split, data in run.splits.items() if split != "training"])),
        takes=[_network(cell.training, cell.seed)],
        span=span,
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


def _named(cell: Cell, records: pd.DataFrame) -> pd.DataFrame:
    """Records with the cell's names at the end, to tell rows of several runs apart."""
    return records.assign(**cell.names)


def _in_a_row(layout: Layout, cell: Cell) -> dict[str, list[tuple[int, float]]]:
    """Curves over the number of edits in a row, for the cells that were edited so."""
    rows = _of(cell, layout.results / "sequences.csv")
    return {
        f"in_a_row/{name}": list(zip(rows["edits"].tolist(), rows[name].tolist(), strict=True))
        for name in ("error", "in_force")
        if len(rows)
    }


def _similar(layout: Layout, cell: Cell) -> dict[str, float]:
    """The share of the images most like the edited ones that follow the edit, for the cells that were asked."""
    rows = _of(cell, layout.results / "similar.csv")
    columns = {"similar/accuracy": "similar_accuracy", "similar/before": "similar_before"}
    return {name: float(rows[column].iloc[0]) for name, column in columns.items() if len(rows)}


def _of(cell: Cell, path: Path) -> pd.DataFrame:
    """A cell's rows of a table, none where there is no such table."""
    table = ROWS.read(path, "run the stage that makes it again") if path.exists() else pd.DataFrame(columns=KEYS)
    return table[(table[KEYS] == list(cell.names.values())).all(axis=1)]


def _training_run(
    run: _Benchmark,
    training: str,
    seed: int,
    settings: Mapping[str, Any],
    quality: Mapping[str, float],
    takes: Sequence[str],
) -> RunRecord:
    """:param quality: how good the network is before any edit, as metrics."""
    layout = run.layout
    folder = layout.described(training, seed)
    model = folder.name
    path = folder / HISTORY  # a model made without training has none
    history = EPOCHS.read(path, "train again") if path.exists() else pd.DataFrame({_EPOCH: []})
    cost, made, described, timing = (_small(folder / name) for name in (COST, ORIGIN, DESCRIPTION, TIMING))
    span = _span(timing) if "ended" in timing else None
    weights = f"models/{layout.benchmark}/{model}"
    made_by = f"python -m pipelines.train {layout.benchmark} {training}"
    note = f"The network `{model}`, by `{made_by}`; its weights are in `{weights}`."
    commit = made.get("commit", "")
    return RunRecord(
        key=_network(training, seed),
        parameters=settings,
        metrics={
            **{metric_of_training(name): value for name, value in cost.items() if name.startswith("cost_ratio")},
            **quality,
        },
        series={
            metric_of_training(name): list(zip(history[_EPOCH].tolist(), history[name].tolist(), strict=True))
            for name in history.columns.drop(_EPOCH)
        },
        tags={
            **run.tags("training", "train", commit, note, span),
            "training": training,
            "seed": str(seed),
        },
        artifacts=_there([layout.figures / f"training-{model}.png", *(folder / name for name in _DESCRIBING)]),
        data=run.splits,
        network=NetworkRecord(
            # MLflow allows no dots in names of models
            name=model.replace(".", "_"),
            kind=str(described.get("architecture", "network")),
            epoch=int(described.get("epoch", 0)),
            parameters={name: settings[name] for name in ("recipe", "epochs", "lr", "batch_size") if name in settings},
            tags=source_tags("train", commit)
            | {
                "mlflow.model.isExternal": "true",
                "weights": weights,
                "fingerprint": str(described.get("fingerprint", "")),
                "mlflow.note.content": note,
                "benchmark": layout.benchmark,
                "training": training,
                "seed": str(seed),
            },
        ),
        takes=takes,
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


def _small(path: Path) -> dict[str, Any]:
    return Description.read(path, "train again") if path.exists() else {}


def _span(timed: Mapping[str, Any]) -> tuple[datetime, datetime]:
    ended = datetime.fromisoformat(timed["ended"])
    return ended - timedelta(seconds=timed["seconds"]), ended


def _there(paths: Sequence[Path]) -> list[Path]:
    return [path for path in paths if path.exists()]
