"""What is written about Table 6: the table, the paper's claims, edits to read, figures, MLflow runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from benchmarks.files import write_atomically
from benchmarks.translation import corpus
from pipelines import table6, table6_claims
from pipelines.jobs.records import write_records
from pipelines.reporting.claims import definitions, judging
from pipelines.reporting.figures import save, table_bars
from pipelines.reporting.frames import naming_views
from pipelines.reporting.pages.claims import claims_markdown
from pipelines.reporting.pages.index import write_index
from pipelines.reporting.pages.translations import examples
from pipelines.reporting.tables import columns
from pipelines.reporting.tables.markdown import Column, to_markdown
from pipelines.store import provenance
from pipelines.store.csv_files import write_csv
from pipelines.table6 import KEYS, RowResult
from pipelines.table6_runs import run_records
from pipelines.tracking.run_records import fill
from pipelines.translation_job import Job

_COLUMNS = (
    columns.BLEU,
    columns.BLEU_DRAWDOWN,
    Column("bleu_drawdown_signed", "before − after", "points", 2),
    columns.SUCCESS,
    Column("decoded_rate", "Decoded", "%", 1),
    columns.STEPS,
    columns.GENERALITY,
    columns.GENERALITY_BEFORE,
    Column("changed", "Changed", "%", 1),
    Column("kl", "KL", "nats/token", 4),
)
_SPREAD = (
    Column("bleu_drawdown_seeds_std", "BLEU drawdown, sd over trainings", "points", 2),
    Column("bleu_seeds_std", "BLEU, sd over trainings", "points", 2),
)
_CAPTION = (
    "Each edit takes a test sentence and a translation of it that was sampled from the plain model at temperature "
    "{temperature:g}, and changes weights until that translation is preferred to the {alternatives} best of the plain "
    "model's beam search. *BLEU* is that of the whole test set before any edit; *BLEU drawdown* is the mean over edits "
    "of |BLEU before − BLEU after| on {control}; *decoded* is the share of edits after which beam search really "
    "answers so; *generality* the share of sentences near the edited one (a word left out, or two neighbours "
    "exchanged) for which the same translation is preferred to the same alternatives, after and before the edit; "
    "*changed* the share of sentences that are translated otherwise; *KL* is per token of the references. Intervals "
    "are over edits of one trained model (that of BLEU over test sentences); they say nothing of other trainings."
)


def report(job: Job) -> None:
    """Write everything that is said about Table 6 from the records, fill MLflow and make the index anew."""
    folder, results = job.layout.results, table6.read(job)
    table = table6.table(job.chosen, results)
    judged = table6_claims.judge(definitions.load(table6_claims.FILE), job.chosen, results)
    write_records(folder / "table6.csv", table)
    write_atomically(folder / "table6.md", _page(job, results, table))
    write_atomically(folder / "examples.md", examples(job.benchmark, [(one.heading, one.records) for one in results]))
    title = f"The paper's claims about translation on {job.benchmark}"
    scope = table6_claims.SCOPE
    write_atomically(
        folder / "claims.md", claims_markdown(judged, title=title, scale_note=job.chosen.note, scope=scope)
    )
    write_csv(folder / "claims.csv", judging.table(judged), digits=6)
    write_csv(folder / "timings.csv", table6.timings(results), digits=6)
    axes = {"drawdown": "bleu_drawdown", "quality": "bleu", "titles": ("BLEU drawdown (points)", "Test BLEU")}
    save(table_bars(table, names=[one.heading for one in results], **axes), folder / "figures" / "table6")
    _write_json(folder / "run.json", _run(job, results))
    _write_json(folder / "metrics.json", _metrics(results, table))
    warning = fill(job.benchmark, run_records(job, results, table))
    write_index(folder.parent, job.settings, warning)
    for result, line in zip(results, table.to_dict("records"), strict=True):
        print(
            f"table6 {job.benchmark} {result.name}: BLEU {line['bleu']:.2f}, drawdown {line['bleu_drawdown']:.2f} "
            f"points, success {line['success_rate']:.1f} %, {line['num_steps']:.2f} steps"
        )


def _page(job: Job, results: Sequence[RowResult], table: pd.DataFrame) -> str:
    edits = job.chosen.edits
    size = edits.control_size
    control = f"a fresh sample of {size} test sentences for each" if size else "all of it"
    caption = _CAPTION.format(temperature=edits.temperature, alternatives=edits.alternatives, control=control)
    links = "[examples](examples.md), [claims](definitions.md)"
    signature = results[0].description["bleu_signature"]
    return to_markdown(
        naming_views(table),
        title=f"Table 6: editing a translator ({job.benchmark})",
        caption=caption,
        scale_note=f"{job.chosen.note}\n\nBLEU: `{signature}`. {len(results[0].records)} edits a row; {links}.",
        metrics=[*_COLUMNS, *(column for column in _SPREAD if column.metric in table)],
        keys=KEYS,
    )


def _metrics(results: Sequence[RowResult], table: pd.DataFrame) -> dict[str, Any]:
    """The table's main numbers by row, as ``dvc metrics show`` likes them."""
    names = ("bleu", "bleu_drawdown", "success_rate", "num_steps", "generality")
    lines = zip(results, table.to_dict("records"), strict=True)
    return {one.name: {name: round(float(line[name]), 4) for name in names} for one, line in lines}


def _run(job: Job, results: Sequence[RowResult]) -> dict[str, Any]:
    data = json.loads((job.layout.data / corpus.DESCRIPTION).read_text())
    sizes = {name: data[key] for name, key in (("training", "train"), ("validation", "valid"), ("test", "test"))}
    return {
        "benchmark": job.benchmark,
        "command": f"dvc repro translation@{job.benchmark}",
        "protocol": table6.PROTOCOL,
        "seed": job.settings.seed,
        "training_seeds": job.settings.training_seeds,
        "data": {"source": data["origin"], "fingerprint": data["fingerprint"], "sizes": sizes},
        **provenance.surroundings(job.settings, "fairseq-fixed", "sacrebleu", "sacremoses", "subword-nmt"),
        "seconds": table6.seconds(job, results),
        "parameters": job.chosen.model_dump(mode="json"),
    }


def _write_json(path: Any, content: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=2) + "\n")
