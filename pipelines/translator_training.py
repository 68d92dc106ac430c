"""Training the translators that Table 6 edits: each one once, side by side where they do not need each other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from baselines.editable_translation import EditableTranslation
from baselines.model_files import DESCRIPTION, WEIGHTS, save_model
from baselines.translation import TranslationEpoch, train
from baselines.translation_objectives import LabelSmoothed, TranslationObjective
from baselines.translators import TranslatorDescription, load_translator
from benchmarks.errors import InputError
from benchmarks.files import write_atomically
from benchmarks.translation import corpus
from benchmarks.translation.corpus import Corpus
from benchmarks.translation.model import Architecture, Translator
from benchmarks.translation.randomness import drawn_from
from benchmarks.translation.requests import draw_requests, load_requests, save_requests
from pipelines.jobs.parallel_map import share_out
from pipelines.jobs.progress import Progress
from pipelines.store.csv_files import write_csv
from pipelines.store.fingerprint import drop_unless_made_of, is_made_of
from pipelines.store.layout import HISTORY, TIMING
from pipelines.tracking.sync import live_training
from pipelines.translation_job import Job, Model, counted, identity, training_code
from pipelines.translation_settings import TranslationSettings


def train_all(job: Job) -> None:
    """Make every model of the benchmark that is not there yet."""
    settings = job.settings
    # Threads of its own for each training are for those that run alone: they must not be forked from.
    processes = settings.processes if settings.threads == 1 else 1
    for names in _waves(job.chosen):
        models = [model for model in job.models if model.training in names]
        share_out(partial(_train, job), models, processes, settings.torch_device())


def _waves(chosen: TranslationSettings) -> Iterator[list[str]]:
    """Names of trainings that can be made side by side: what needs another's model comes after it."""
    waiting = list(chosen.trainings)
    while waiting:
        ready = [name for name in waiting if not chosen.trainings[name].made_of & set(waiting)]
        if not ready:
            raise InputError(f"trainings {', '.join(waiting)} start from each other")
        yield ready
        waiting = [name for name in waiting if name not in ready]


def _train(job: Job, model: Model) -> None:
    """Make one model unless it is there already."""
    chosen, settings = job.chosen.trainings[model.training], job.settings
    data, folder = corpus.load(job.layout.data), job.layout.model(model.training, model.seed)
    progress = Progress(f"train {job.benchmark} {model.name}", chosen.epochs, "epochs")
    fingerprint = _fingerprint(job, model, data)
    if is_made_of(folder / DESCRIPTION, fingerprint, folder / WEIGHTS):
        progress.finish("unchanged")
        return
    torch.set_num_threads(settings.threads)
    checkpoints = job.layout.checkpoints(model.training, model.seed)
    axes = (*job.axes, model.training, model.seed)
    drop_unless_made_of(checkpoints, fingerprint)
    pool = checkpoints / "pool.jsonl"
    started, objective = _start(job, model, data), _objective(job, model, data, pool)
    tags = {"benchmark": job.benchmark, "training": model.training, "seed": str(model.seed)}
    with live_training(job.benchmark, model.name, chosen.model_dump(), tags) as log:

        def on_epoch(epoch: TranslationEpoch) -> None:
            progress.advance(detail=f"validation loss {epoch.valid_loss:.3f} nats a token")
            log(_numbers(epoch), epoch.epoch)

        trained = train(started, objective, data, chosen.plan, checkpoints, axes, on_epoch)
    (folder / DESCRIPTION).unlink(missing_ok=True)  # it is written last: without it there is no model here
    write_csv(folder / HISTORY, pd.DataFrame([_numbers(epoch) for epoch in trained.history]), digits=7)
    write_atomically(folder / TIMING, json.dumps({"seconds": round(trained.seconds, 1)}) + "\n")
    described = TranslatorDescription(
        architecture=asdict(trained.model.architecture),
        training=model.training,
        epoch=trained.kept.epoch,
        epochs=len(trained.history),
        valid_loss=trained.kept.valid_loss,
        corpus=data.fingerprint,
    )
    save_model(folder, trained.model, replace(described, fingerprint=fingerprint))
    shutil.rmtree(checkpoints, ignore_errors=True)
    progress.finish(f"kept epoch {described.epoch} of {described.epochs}, {described.valid_loss:.3f} nats a token")


def _fingerprint(job: Job, model: Model, data: Corpus) -> str:
    """A hash of all that a model follows from."""
    chosen, settings = job.chosen.trainings[model.training], job.settings
    asked = [data.fingerprint, chosen.model_dump(), job.chosen.model.model_dump(), *job.axes, model.name]
    if chosen.editing is not None:
        asked += [job.chosen.edits.score, job.chosen.edits.temperature]
    sources = [job.layout.model(one, model.seed) / WEIGHTS for one in sorted(chosen.made_of)]
    code = training_code(chosen.editing.editor if chosen.editing else None)
    return identity([*asked, settings.threads], code, sources)


def _start(job: Job, model: Model, data: Corpus) -> Translator:
    """The model as it is before training: at random, or as another training left it."""
    device, axes = job.settings.torch_device(), (*job.axes, model.training, model.seed)
    with drawn_from(*axes, "initial weights", device=device):
        made = Translator(Architecture(**job.chosen.model.model_dump()), data.source, data.target).to(device)
    start = job.chosen.trainings[model.training].start
    if start is not None:
        made.load_state_dict(load_translator(job.layout.model(start, model.seed), data, device).state_dict())
    return made


def _objective(job: Job, model: Model, data: Corpus, pool: Path) -> TranslationObjective:
    editing = job.chosen.trainings[model.training].editing
    if editing is None:
        return LabelSmoothed()
    if not pool.exists():
        plain = load_translator(job.layout.model("plain", model.seed), data, job.settings.torch_device())
        settings = {"temperature": job.chosen.edits.temperature, "alternatives": editing.alternatives}
        drawn = draw_requests(plain, data, "train", editing.pool, *job.axes, "pool", model.seed, **settings)
        progress = Progress(f"draw edits for {job.benchmark} {model.name}", editing.pool, "edits")
        save_requests(pool, data, list(counted(drawn, progress)))
    return EditableTranslation(editing.terms(job.chosen.edits.score), load_requests(pool, data))


def _numbers(epoch: TranslationEpoch) -> dict[str, float]:
    values = asdict(epoch)
    return values | values.pop("parts")
