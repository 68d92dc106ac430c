"""Table 6: from the records of a translator's edits to a table, and to a page of edits that is worth reading."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from benchmarks.translation import corpus
from benchmarks.translation.metrics import NAMES, summarise
from pipelines import cells, provenance
from pipelines.index import write_index
from pipelines.layout import Layout
from pipelines.presentation import published
from pipelines.presentation.tables import Column, to_markdown
from pipelines.presentation.translation_page import examples
from pipelines.record_files import write_records
from pipelines.settings import Settings
from pipelines.translation_settings import RowSettings, TranslationSettings

KEYS = (*cells.KEYS, "lr")
_COLUMNS = (
    Column("bleu", "BLEU", "", 2),
    Column("bleu_drawdown", "BLEU drawdown", "points", 2),
    Column("bleu_drawdown_signed", "before − after", "points", 2),
    Column("success_rate", "Success", "%", 1),
    Column("decoded_rate", "Decoded", "%", 1),
    Column("num_steps", "Steps", "", 2),
    Column("changed", "Changed", "%", 1),
    Column("kl", "KL", "nats/token", 4),
)
_CAPTION = (
    "Each edit takes a test sentence and a translation of it that was sampled from the plain model at temperature "
    "{temperature:g}, and changes weights until that translation is preferred to the {alternatives} best of the plain "
    "model's beam search. *BLEU* is that of the whole test set before any edit; *BLEU drawdown* is the mean over edits "
    "of |BLEU before − BLEU after| on {control}; *decoded* is the share of edits after which beam search really "
    "answers so; *changed* the share of sentences that are translated otherwise; *KL* is per token of the references."
)


def report(settings: Settings, benchmark: str, chosen: TranslationSettings) -> None:
    """Write ``table6.csv``, ``table6.md``, ``examples.md`` and ``run.json`` from the records, and the index anew."""
    layout = Layout(benchmark)
    results = [(row, *_read(layout, row)) for row in chosen.rows]
    table = pd.DataFrame([_row(chosen, *one) for one in results])
    paper = published.load("table6").rename(columns={"training": "published_name"})
    on = ["published_name", "editor", "layers", "lr"]
    table = published.beside(table, paper, on=on).drop(columns="published_name")
    write_records(layout.results / "table6.csv", table)
    shown = table.assign(lr=[f"{value:g}" for value in table["lr"]])
    edits = chosen.edits
    control = (
        "a fresh sample of " + f"{edits.control_size} test sentences for each" if edits.control_size else "all of it"
    )
    caption = _CAPTION.format(temperature=edits.temperature, alternatives=edits.alternatives, control=control)
    page = to_markdown(
        shown,
        title=f"Table 6: editing a translator ({benchmark})",
        caption=caption,
        scale_note=f"{chosen.note}\n\nBLEU: `{results[0][1]['bleu_signature']}`. {len(results[0][2])} edits a row; "
        "[examples](examples.md).",
        metrics=_COLUMNS,
        keys=KEYS,
    )
    write_atomically(layout.results / "table6.md", page)
    write_atomically(layout.results / "examples.md", examples(benchmark, [(row, one) for row, _, one in results]))
    write_atomically(layout.results / "run.json", json.dumps(_run(settings, benchmark, chosen), indent=2) + "\n")
    write_index(layout.results.parent, settings)
    for (row, _, _), line in zip(results, table.to_dict("records"), strict=True):
        print(
            f"table6 {benchmark} {row.file}: BLEU {line['bleu']:.2f}, drawdown {line['bleu_drawdown']:.2f} points, "
            f"success {line['success_rate']:.1f} %, {line['num_steps']:.2f} steps"
        )


def _row(
    chosen: TranslationSettings, row: RowSettings, described: dict[str, Any], records: pd.DataFrame
) -> dict[str, Any]:
    summary = summarise(records)
    line: dict[str, Any] = {"training": row.training, "editor": row.editor, "layers": row.layers}
    line |= {"lr": row.hyperparameters.get("lr"), "published_name": _published_name(chosen, row.training)}
    line |= {name: described[name] for name in ("bleu", "bleu_low", "bleu_high")}
    for name in (*NAMES, *(f"{name}_nontrivial" for name in NAMES)):
        estimate = summary[name]
        line |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return line | {"edits": len(records), "note": _note(chosen, row.training)}


def _published_name(chosen: TranslationSettings, training: str) -> str:
    """What the published table calls a training."""
    editing = chosen.trainings[training].editing
    return training if editing is None else f"editable-{editing.c_loc:g}-{editing.editor}-{editing.layers}"


def _note(chosen: TranslationSettings, training: str) -> str:
    editing, source = chosen.trainings[training].editing, chosen.trainings[training].start
    if editing is None:
        return (
            "" if source is None else f"goes on from {source} without edits, to tell what longer training alone brings"
        )
    rate = editing.hyperparameters.get("lr")
    trained = f"with learning rate {rate:g} of the editor" if rate is not None else "with the editor's defaults"
    return f"trained {trained}" + ("" if source is None else f", going on from {source}")


def _read(layout: Layout, row: RowSettings) -> tuple[dict[str, Any], pd.DataFrame]:
    path = layout.results / "edits" / f"{row.file}.json"
    try:
        records = pd.read_csv(path.with_suffix(".csv"), keep_default_na=False)
        described = json.loads(path.read_text())
        if len(records) != described["edits"]:
            raise ValueError(f"{len(records)} records of {described['edits']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        again = f"run `python -m pipelines.translation {layout.benchmark}`"
        raise InputError(f"{path} or its records are missing or broken ({error}): remove them and {again}") from error
    return described, records


def _run(settings: Settings, benchmark: str, chosen: TranslationSettings) -> dict[str, Any]:
    layout = Layout(benchmark)
    data = json.loads((layout.data / corpus.DESCRIPTION).read_text())
    timings = {name: layout.model(name) / "timing.json" for name in chosen.trainings}
    return {
        "benchmark": benchmark,
        "command": f"python -m pipelines.translation {benchmark}",
        "seed": settings.seed,
        "data": {"source": data["origin"], "fingerprint": data["fingerprint"]},
        **provenance.surroundings(settings, "fairseq-fixed", "sacrebleu", "sacremoses", "subword-nmt"),
        "seconds": {f"train/{name}": json.loads(path.read_text())["seconds"] for name, path in timings.items()},
    }
