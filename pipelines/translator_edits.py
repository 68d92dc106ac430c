"""The edits of Table 6: drawn once, searched for hyperparameters on validation sentences, carried out on test ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import editors
from baselines.model_files import WEIGHTS, read_description
from baselines.translation import TranslatorDescription, load_translator
from benchmarks.files import write_atomically
from benchmarks.translation import bleu, corpus
from benchmarks.translation.corpus import Corpus
from benchmarks.translation.metrics import bleu_drawdown
from benchmarks.translation.requests import draw_requests, load_requests, save_requests
from benchmarks.translation.scoring import TranslationScorer
from pipelines.jobs import search
from pipelines.jobs.parallel_map import share_out
from pipelines.jobs.progress import Progress
from pipelines.jobs.search import Space
from pipelines.store.csv_files import write_csv
from pipelines.store.fingerprint import MADE_OF, is_made_of, write_made_of
from pipelines.store.records import in_shards, write_records
from pipelines.translation_job import (
    REQUESTS,
    Job,
    RowCell,
    counted,
    identity,
    request_code,
    scoring_code,
)

PROTOCOL = 2
"""Version of how edits are drawn and scored; results of different versions are not comparable."""
_RECORDS = (".csv", ".timing.csv")
_STUDY = (".json", ".csv")


def edit_all(job: Job) -> None:
    """Draw, tune and carry out every edit that is not done yet, and remove what belongs to no row any more."""
    processes, device = job.settings.processes, job.settings.torch_device()
    searched = [cell for cell in job.cells if cell.row.search]
    draws = [("test", job.edits, job.chosen.edits.count)]
    if searched and job.chosen.tuning is not None:
        draws.append(("valid", job.tuned, job.chosen.tuning.edits))
    share_out(partial(_draw, job), draws, processes, device)
    share_out(partial(_tune, job), searched, processes, device)
    share_out(partial(_evaluate, job), job.cells, processes, device)
    asked = {REQUESTS, MADE_OF}
    _keep(job.edits, asked | {f"{cell.file}{suffix}" for cell in job.cells for suffix in (".json", *_RECORDS)})
    _keep(job.tuned, (asked if searched else set()) | {f"{c.file}{suffix}" for c in searched for suffix in _STUDY})
    _keep(job.translations, {path.name for cell in job.cells for path in job.translated(cell.model)})


def read_tuned(job: Job, cell: RowCell) -> dict[str, Any]:
    """What the search of a row came to; nothing for a row without one.

    :raises OSError, ValueError: if its file is missing or broken.
    """
    return json.loads((job.tuned / f"{cell.file}.json").read_text()) if cell.row.search else {}


def _keep(folder: Path, wanted: set[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)  # DVC misses an output that is not there, even if nothing was searched
    for stale in [path for path in folder.iterdir() if path.name not in wanted]:
        stale.unlink()


def _draw(job: Job, what: tuple[str, Path, int]) -> None:
    """Draw edits of the sentences of one split from the plain model, unless they are there."""
    split, folder, count = what
    chosen, plain = job.chosen.edits, job.layout.model(job.plain.training, job.plain.seed)
    settings = {"temperature": chosen.temperature, "alternatives": chosen.alternatives}
    fingerprint = identity([PROTOCOL, split, count, settings, *job.axes], request_code(), [plain / WEIGHTS])
    progress = Progress(f"draw {split} edits of {job.benchmark}", count, "edits")
    if is_made_of(folder / MADE_OF, fingerprint, folder / REQUESTS):
        progress.finish("unchanged")
        return
    data = corpus.load(job.layout.data)
    model = load_translator(plain, data, job.settings.torch_device())
    drawn = draw_requests(model, data, split, count, *job.axes, split, **settings)
    save_requests(folder / REQUESTS, data, list(counted(drawn, progress)))
    write_made_of(folder / MADE_OF, fingerprint)
    progress.finish(f"{count} edits")


def _scorer(
    job: Job, cell: RowCell, data: Corpus, folder: Path, control_size: int | None, split: str
) -> TranslationScorer:
    """The row's model with the requests in ``folder``, looked at on ``control_size`` sentences of one split each."""
    model = load_translator(_weights(job, cell).parent, data, job.settings.torch_device())
    requests = load_requests(folder / REQUESTS, data)
    settings = {"control_size": control_size, "score": job.chosen.edits.score, "split_name": split}
    return TranslationScorer(model, cell.row.layers, data, requests, **settings, views=cell.row.views)


def _weights(job: Job, cell: RowCell) -> Path:
    return job.layout.model(cell.model.training, cell.model.seed) / WEIGHTS


def _tune(job: Job, cell: RowCell) -> None:
    """Search the hyperparameters that a row leaves open, unless that is done already."""
    tuning, row, result = job.chosen.tuning, cell.row, job.tuned / f"{cell.file}.json"
    assert tuning is not None  # settings see to that
    asked = [PROTOCOL, row.model_dump(), tuning.model_dump(), job.chosen.edits.score, *job.axes, cell.seed]
    code = [Path(search.__file__), *scoring_code(row.editor)]
    fingerprint = identity(asked, code, [_weights(job, cell), job.tuned / REQUESTS])
    progress = Progress(f"tune {job.benchmark} {cell.file}", tuning.trials, "trials")
    if is_made_of(result, fingerprint, result.with_suffix(".csv")):
        progress.finish("unchanged")
        return
    known = editors.describe(row.editor).hyperparameters
    others = {one.name: row.hyperparameters.get(one.name, one.default) for one in known if one.name not in row.search}
    scorer = _scorer(job, cell, corpus.load(job.layout.data), job.tuned, tuning.control_size, "valid")
    trials, _ = search.search(
        partial(editors.build, row.editor),
        Space(known, {}, others, row.max_steps),
        scorer,
        tuning.trials,
        tuning.required,
        job.layout.studies("translation") / f"{cell.file}-{fingerprint[:12]}.journal",
        (*job.axes, cell.file),
        progress,
        statistics=scorer.statistics(row.build()),
        measure=bleu_drawdown,
        rescore=False,
    )
    best = trials[trials["chosen"]].iloc[0]
    content = {"benchmark": job.benchmark, "training": row.training, "seed": cell.seed, "editor": row.editor}
    content |= {"hyperparameters": {name: float(best[name]) for name in row.search}, "max_steps": row.max_steps}
    content |= {"feasible": bool(best["feasible"]), "min_success": tuning.min_success, "required": tuning.required}
    content |= {"success_rate": float(best["success_rate"]), "bleu_drawdown": float(best["drawdown"])}
    content |= {"edits": int(best["edits"]), "trials": len(trials), "fingerprint": fingerprint}
    trials = trials.drop(columns="rescored").rename(columns={"drawdown": "bleu_drawdown"})
    write_csv(result.with_suffix(".csv"), trials, digits=7)
    write_atomically(result, json.dumps(content, indent=2) + "\n")
    shown = ", ".join(f"{name} = {value:.2g}" for name, value in content["hyperparameters"].items())
    progress.finish(f"{shown}: {best['drawdown']:.2f} BLEU points, {best['success_rate']:.1f} % succeeded")


def _evaluate(job: Job, cell: RowCell) -> None:
    """Carry out the edits of one row and record what each did, unless that is done already, shard by shard."""
    chosen, row, data = job.chosen.edits, cell.row, corpus.load(job.layout.data)
    tuned = read_tuned(job, cell).get("hyperparameters", {})
    asked = [PROTOCOL, row.model_dump(), tuned, chosen.model_dump(exclude={"shard"}), data.fingerprint, cell.seed]
    fingerprint = identity(asked, scoring_code(row.editor), [_weights(job, cell), job.edits / REQUESTS])
    result = job.edits / f"{cell.file}.json"
    translations, timing = job.translated(cell.model)
    progress = Progress(f"edit {job.benchmark} {cell.file}", chosen.count, "edits")
    others = (translations, timing, *(result.with_name(f"{cell.file}{one}") for one in _RECORDS))
    if is_made_of(result, fingerprint, *others):
        progress.finish("unchanged")
        return
    scorer = _scorer(job, cell, data, job.edits, chosen.control_size, "test")
    editor = row.build(**tuned)
    editor = editor.informed(scorer.statistics(editor))

    def run(rows: range) -> pd.DataFrame:
        edits, milliseconds = scorer.edit(editor, rows)
        records = [asdict(scorer.record(number, edit)) for number, edit in zip(rows, edits, strict=True)]
        return pd.DataFrame(records).assign(milliseconds=round(milliseconds, 3))

    shards = job.layout.shards(cell.file) / f"{fingerprint[:12]}-{chosen.shard}"
    records = in_shards(shards, len(scorer.requests), chosen.shard, run, progress)
    estimate, described = bleu.estimate(scorer.counts_before), row.model_dump() | {"seed": cell.seed}
    described |= {"benchmark": job.benchmark, "edits": len(records), "test_sentences": len(data.test)}
    described |= {"hyperparameters": row.hyperparameters | tuned}
    described |= {"bleu": estimate.value, "bleu_low": estimate.low, "bleu_high": estimate.high}
    described |= {"bleu_signature": bleu.signature(), "score": chosen.score}
    described |= {"epoch": read_description(_weights(job, cell).parent, TranslatorDescription).epoch}
    described |= {"corpus": data.fingerprint, "protocol": PROTOCOL, "fingerprint": fingerprint}
    write_csv(translations, _translated(scorer.translations, scorer.counts_before), digits=7)
    taken = {"seconds": round(scorer.seconds, 3), "sentences": len(data.test)}
    write_atomically(timing, json.dumps(taken) + "\n")
    write_records(result.with_suffix(".csv"), records.drop(columns="milliseconds"))
    write_records(result.with_name(f"{cell.file}.timing.csv"), records[["edit", "milliseconds"]])
    write_atomically(result, json.dumps(described, indent=2) + "\n")
    shutil.rmtree(shards.parent, ignore_errors=True)
    succeeded = 100 * records["succeeded"].mean()
    progress.finish(f"{len(records)} edits, {succeeded:.1f} % succeeded, {records['steps'].mean():.2f} steps")


def _translated(translations: Sequence[str], counts: np.ndarray) -> pd.DataFrame:
    """A line for each test sentence: its translation, and what BLEU counts of it."""
    return pd.DataFrame(counts, columns=list(bleu.COUNTED)).assign(translation=list(translations))
