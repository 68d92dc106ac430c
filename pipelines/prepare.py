"""Stage 1: bring a benchmark's data into the form that all other stages read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks import datasets
from benchmarks.data import dataset, image_files, mistakes
from pipelines import command
from pipelines.store.layout import Layout
from pipelines.store.stage_times import timed


@timed(lambda layout: layout.data.glob("dataset.json"))
def prepare(
    benchmark: Annotated[str, typer.Argument(help="A name under `benchmarks` in the parameter file.")],
    images: Annotated[
        Path | None, typer.Option(help="Also write the test images there, as files in a folder per class.")
    ] = None,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Load, split and check a benchmark's data and write it to data/<benchmark>."""
    chosen = params.load(params).benchmark(benchmark).data
    made = datasets.make(chosen.dataset, **chosen.options)
    folder = Layout(benchmark).data
    (folder / mistakes.CANDIDATES).unlink(missing_ok=True)
    more = ""
    if datasets.has_candidates(chosen.dataset):
        candidates = datasets.make_candidates(chosen.dataset, **chosen.options)
        if candidates is not None:
            mistakes.save_candidates(candidates, folder)
            more = f", {len(candidates)} images for mistakes"
    dataset.save(made, folder)  # last: without its description there is no dataset
    if images is not None:
        image_files.write(made.test, made.classes, images)
    shape = "x".join(str(size) for size in made.train.images.shape[1:])
    counts = f"{len(made.train)} training, {len(made.tuning)} tuning and {len(made.test)} test images"
    print(f"prepare {benchmark}: {counts}, {shape}, {len(made.classes)} classes{more}")


if __name__ == "__main__":
    command.run(prepare)
