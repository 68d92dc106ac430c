"""Table 6, in one stage: prepare a corpus, train translators, edit them and write what came of it.

Every step looks first whether its result is there already, made of the same things; an interrupted one goes on.
"""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from benchmarks.errors import InputError
from benchmarks.translation import corpora, corpus
from pipelines import command
from pipelines.config import params as parameters
from pipelines.store.fingerprint import MADE_OF, is_made_of, write_made_of
from pipelines.translation_job import Job, data_code, files_named, identity
from pipelines.translation_settings import read
from pipelines.translator_edits import edit_all
from pipelines.translator_training import train_all


def translation(
    benchmark: Annotated[str, typer.Argument(help="A name under `translation` in the parameter file.")],
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Make Table 6 on one corpus: data, models, edits, records, table and a page of examples."""
    settings = parameters.load(params)
    job = Job(settings, benchmark, read(settings, benchmark))
    _prepare(job)
    train_all(job)
    edit_all(job)
    shutil.rmtree(job.layout.root / "unfinished" / benchmark, ignore_errors=True)


def _prepare(job: Job) -> None:
    """Bring the corpus into the form that all other steps read, unless it is there."""
    chosen, folder = job.chosen.data, job.layout.data
    files = files_named(chosen.options)
    if any(folder.resolve() in file.resolve().parents for file in files):
        raise InputError(f"translation.{job.benchmark}.data.options: {folder} is where prepared data go, not raw files")
    fingerprint = identity([chosen.model_dump()], data_code(), files)
    if is_made_of(folder / MADE_OF, fingerprint, folder / corpus.DESCRIPTION):
        print(f"prepare {job.benchmark}: unchanged")
        return
    made = corpus.prepare(corpora.make(chosen.corpus, **chosen.options))
    corpus.save(made, folder)
    write_made_of(folder / MADE_OF, fingerprint)
    counts = f"{len(made.train)} training, {len(made.valid)} validation and {len(made.test)} test pairs"
    print(f"prepare {job.benchmark}: {counts}, {len(made.source)} and {len(made.target)} units")


if __name__ == "__main__":
    command.run(translation)
