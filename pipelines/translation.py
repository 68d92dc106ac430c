"""Table 6, in one stage: prepare a corpus, train translators, edit them and write what came of it.

Every step looks first whether its result is there already, made of the same things; an interrupted one goes on.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

import editors
from baselines import editable_translation
from baselines import translation as training_of_translators
from baselines.checkpoints import DESCRIPTION, WEIGHTS, save_model
from baselines.editable_translation import EditableTranslation
from baselines.translation import LabelSmoothed, TranslationEpoch, TranslationObjective, train
from baselines.translators import TranslatorDescription, load_translator, read_description
from benchmarks import translation as room
from benchmarks.errors import InputError
from benchmarks.files import file_hash, write_atomically
from benchmarks.translation import bleu, corpora, corpus
from benchmarks.translation.corpus import Corpus
from benchmarks.translation.model import Architecture, Translator
from benchmarks.translation.randomness import drawn_from
from benchmarks.translation.requests import TranslationRequest, draw_requests, load_requests, save_requests
from benchmarks.translation.scoring import TranslationScorer
from pipelines import command
from pipelines import settings as parameters
from pipelines.cells import method_files
from pipelines.layout import HISTORY, Layout
from pipelines.progress import Progress
from pipelines.record_files import in_shards, write_records
from pipelines.settings import Settings
from pipelines.table6 import report
from pipelines.translation_settings import RowSettings, TranslationSettings, read
from pipelines.workers import share_out

PROTOCOL = 1
"""Version of how edits are drawn and scored; results of different versions are not comparable."""
REQUESTS = "requests.jsonl"
_MADE_OF = "made_of.json"


@dataclass(frozen=True)
class Job:
    """What every step needs to know: all settings, which benchmark this is, and its block of params.yaml."""

    settings: Settings
    benchmark: str
    chosen: TranslationSettings

    @property
    def layout(self) -> Layout:
        """Where its files lie."""
        return Layout(self.benchmark)

    @property
    def axes(self) -> tuple[str | int, ...]:
        """What everything random depends on."""
        return (self.settings.seed, self.benchmark)

    @property
    def requests(self) -> Path:
        """The edits that every model is asked for."""
        return self.layout.results / "edits" / REQUESTS


def translation(
    benchmark: Annotated[str, typer.Argument(help="A name under `translation` in the parameter file.")],
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Make Table 6 on one corpus: data, models, edits, records, table and a page of examples."""
    settings = parameters.load(params)
    job = Job(settings, benchmark, read(settings, benchmark))
    _prepare(job)
    for names in _waves(job.chosen):
        share_out(partial(_train, job), names, settings.processes, settings.torch_device())
    share_out(_draw, [job], settings.processes, settings.torch_device())
    share_out(partial(_evaluate, job), job.chosen.rows, settings.processes, settings.torch_device())
    wanted = {f"{row.file}{suffix}" for row in job.chosen.rows for suffix in (".json", ".csv", ".timing.csv")}
    for stale in [path for path in job.requests.parent.iterdir() if path.name not in {*wanted, *_files_of_requests()}]:
        stale.unlink()
    shutil.rmtree(job.layout.root / "unfinished" / benchmark, ignore_errors=True)
    report(settings, benchmark, job.chosen)


def _prepare(job: Job) -> None:
    """Bring the corpus into the form that all other steps read, unless it is there."""
    chosen, folder = job.chosen.data, job.layout.data
    code = _code(room, "text.py", "corpus.py", "vocabulary.py") + _code(corpora)
    identity = _hash([chosen.model_dump()], code + _files(chosen.options))
    if _is_made_of(folder / _MADE_OF, identity) and (folder / corpus.DESCRIPTION).exists():
        print(f"prepare {job.benchmark}: unchanged")
        return
    made = corpus.prepare(corpora.make(chosen.corpus, **chosen.options))
    corpus.save(made, folder)
    _write_made_of(folder / _MADE_OF, identity)
    counts = f"{len(made.train)} training, {len(made.valid)} validation and {len(made.test)} test pairs"
    print(f"prepare {job.benchmark}: {counts}, {len(made.source)} and {len(made.target)} units")


def _waves(chosen: TranslationSettings) -> Iterator[list[str]]:
    """Names of trainings that can be made side by side: what needs another's model comes after it."""
    waiting = list(chosen.trainings)
    made: set[str] = set()
    while waiting:
        needs = {name: {chosen.trainings[name].start} | ({"plain"} & _edited(chosen, name)) for name in waiting}
        ready = [name for name in waiting if needs[name] - {None} <= made]
        if not ready:
            raise InputError(f"trainings {', '.join(waiting)} start from each other")
        yield ready
        made |= set(ready)
        waiting = [name for name in waiting if name not in made]


def _edited(chosen: TranslationSettings, name: str) -> set[str]:
    """Whose edits a training learns from."""
    return {"plain"} if chosen.trainings[name].editing else set()


def _train(job: Job, name: str) -> None:
    """Make one model unless it is there already."""
    chosen, settings = job.chosen.trainings[name], job.settings
    data, folder = corpus.load(job.layout.data), job.layout.model(name)
    progress = Progress(f"train {job.benchmark} {name}", chosen.epochs, "epochs")
    sources = [job.layout.model(one) / WEIGHTS for one in sorted({chosen.start, *_edited(job.chosen, name)} - {None})]
    asked = [data.fingerprint, chosen.model_dump(), job.chosen.model.model_dump(), job.chosen.edits.score]
    code = [*_code(room), *_training_code(chosen.editing.editor if chosen.editing else None)]
    identity = _hash([*asked, settings.seed, settings.threads, name], [*code, *sources])
    if _is_trained(folder, identity):
        progress.finish("unchanged")
        return
    architecture = Architecture(**job.chosen.model.model_dump())
    device, axes = settings.torch_device(), (*job.axes, name)
    with drawn_from(*axes, "initial weights", device=device):
        model = Translator(architecture, data.source, data.target).to(device)
    if chosen.start is not None:
        model.load_state_dict(load_translator(job.layout.model(chosen.start), data, device).state_dict())
    checkpoints = job.layout.checkpoints(name)
    objective = _objective(job, name, data, checkpoints / "pool.jsonl")

    def on_epoch(epoch: TranslationEpoch) -> None:
        progress.advance(detail=f"validation loss {epoch.valid_loss:.3f} nats a token")

    trained = train(model, objective, data, chosen.plan, checkpoints, axes, on_epoch)
    (folder / DESCRIPTION).unlink(missing_ok=True)
    history = pd.DataFrame([{**(values := asdict(epoch)), **values.pop("parts")} for epoch in trained.history])
    write_records(folder / HISTORY, history.drop(columns="parts", errors="ignore"))
    write_atomically(folder / "timing.json", json.dumps({"seconds": round(trained.seconds, 1)}) + "\n")
    described = TranslatorDescription(
        architecture=asdict(architecture),
        training=name,
        epoch=trained.kept.epoch,
        epochs=len(trained.history),
        valid_loss=trained.kept.valid_loss,
        corpus=data.fingerprint,
        fingerprint=identity,
    )
    save_model(folder, trained.model, described)
    shutil.rmtree(checkpoints, ignore_errors=True)
    progress.finish(f"kept epoch {described.epoch} of {described.epochs}, {described.valid_loss:.3f} nats a token")


def _objective(job: Job, name: str, data: Corpus, pool: Path) -> TranslationObjective:
    editing = job.chosen.trainings[name].editing
    if editing is None:
        return LabelSmoothed()
    if not pool.exists():
        plain = load_translator(job.layout.model("plain"), data, job.settings.torch_device())
        settings = {"temperature": job.chosen.edits.temperature, "alternatives": editing.alternatives}
        drawn = draw_requests(plain, data, "train", editing.pool, *job.axes, "pool", **settings)
        progress = Progress(f"draw edits for {job.benchmark} {name}", editing.pool, "edits")
        save_requests(pool, data, list(_counted(drawn, progress)))
    return EditableTranslation(editing.terms(job.chosen.edits.score), load_requests(pool, data))


def _draw(job: Job) -> None:
    """Draw the edits of the test sentences from the plain model, unless they are there."""
    chosen, plain, made_of = job.chosen.edits, job.layout.model("plain"), job.requests.with_name(_MADE_OF)
    settings = {"temperature": chosen.temperature, "alternatives": chosen.alternatives}
    identity = _hash([PROTOCOL, chosen.count, settings, *job.axes], [plain / WEIGHTS, *_code(room)])
    progress = Progress(f"draw edits of {job.benchmark}", chosen.count, "edits")
    if _is_made_of(made_of, identity) and job.requests.exists():
        progress.finish("unchanged")
        return
    data = corpus.load(job.layout.data)
    model = load_translator(plain, data, job.settings.torch_device())
    drawn = draw_requests(model, data, "test", chosen.count, *job.axes, "test", **settings)
    save_requests(job.requests, data, list(_counted(drawn, progress)))
    _write_made_of(made_of, identity)
    progress.finish(f"{chosen.count} edits")


def _evaluate(job: Job, row: RowSettings) -> None:
    """Carry out the edits of one row and record what each did, unless that is done already, shard by shard."""
    chosen, data, folder = job.chosen.edits, corpus.load(job.layout.data), job.layout.model(row.training)
    code = [*_code(room), *_editing_code(row.editor)]
    asked = [PROTOCOL, row.model_dump(), chosen.model_dump(exclude={"shard"}), data.fingerprint]
    identity = _hash(asked, [folder / WEIGHTS, job.requests, *code])
    result = job.requests.with_name(f"{row.file}.json")
    progress = Progress(f"edit {job.benchmark} {row.file}", chosen.count, "edits")
    if _is_evaluated(result, identity):
        progress.finish("unchanged")
        return
    model = load_translator(folder, data, job.settings.torch_device())
    requests = load_requests(job.requests, data)
    scorer = TranslationScorer(model, row.layers, data, requests, control_size=chosen.control_size, score=chosen.score)
    editor = row.build()

    def run(rows: range) -> pd.DataFrame:
        edits, milliseconds = scorer.edit(editor, rows)
        records = [asdict(scorer.record(number, edit)) for number, edit in zip(rows, edits, strict=True)]
        return pd.DataFrame(records).assign(milliseconds=round(milliseconds, 3))

    shards = job.layout.shards(row.file) / identity[:12]
    records = in_shards(shards, len(requests), chosen.shard, run, progress)
    estimate = bleu.estimate(scorer.counts_before)
    described = row.model_dump() | {"benchmark": job.benchmark, "edits": len(records), "test_sentences": len(data.test)}
    described |= {"bleu": estimate.value, "bleu_low": estimate.low, "bleu_high": estimate.high}
    described |= {"bleu_signature": bleu.signature(), "score": chosen.score, "epoch": read_description(folder).epoch}
    described |= {"corpus": data.fingerprint, "protocol": PROTOCOL, "fingerprint": identity}
    write_records(result.with_suffix(".csv"), records.drop(columns="milliseconds"))
    write_records(result.with_name(f"{row.file}.timing.csv"), records[["edit", "milliseconds"]])
    write_atomically(result, json.dumps(described, indent=2) + "\n")
    succeeded = 100 * records["succeeded"].mean()
    progress.finish(f"{len(records)} edits, {succeeded:.1f} % succeeded, {records['steps'].mean():.2f} steps")


def _counted(drawn: Iterator[TranslationRequest], progress: Progress) -> Iterator[TranslationRequest]:
    for one in drawn:
        progress.advance()
        yield one


def _code(package: Any, *names: str) -> list[Path]:
    """The files of a room, or some of them."""
    folder = Path(inspect.getfile(package)).parent
    return [folder / name for name in names] if names else sorted(folder.glob("*.py"))


def _editing_code(editor: str) -> list[Path]:
    return [*_code(editors), *method_files(editor)]


def _training_code(editor: str | None) -> list[Path]:
    files = [Path(inspect.getfile(training_of_translators))]
    return files if editor is None else [*files, Path(inspect.getfile(editable_translation)), *_editing_code(editor)]


def _files(options: dict[str, Any]) -> list[Path]:
    """Files that options name: the corpus is prepared anew when one changes."""
    paths = [Path(value) for value in options.values() if isinstance(value, str)]
    return sorted(file for path in paths for file in (path.glob("*") if path.is_dir() else [path]) if file.is_file())


def _hash(described: Sequence[Any], files: Sequence[Path]) -> str:
    digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode())
    for path in dict.fromkeys(files):
        digest.update(file_hash(path).encode())
    return digest.hexdigest()


def _files_of_requests() -> tuple[str, str]:
    return REQUESTS, _MADE_OF


def _write_made_of(path: Path, identity: str) -> None:
    write_atomically(path, json.dumps({"fingerprint": identity}) + "\n")


def _is_made_of(path: Path, identity: str) -> bool:
    try:
        return json.loads(path.read_text())["fingerprint"] == identity
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _is_trained(folder: Path, identity: str) -> bool:
    return (folder / WEIGHTS).exists() and _is_made_of(folder / DESCRIPTION, identity)


def _is_evaluated(result: Path, identity: str) -> bool:
    there = all(result.with_name(f"{result.stem}{suffix}").exists() for suffix in (".csv", ".timing.csv"))
    return there and _is_made_of(result, identity)


if __name__ == "__main__":
    command.run(translation)
