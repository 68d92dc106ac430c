"""Stage 1: bring a benchmark's data into the form that all other stages read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks import dataset, datasets, image_files
from pipelines import command, settings
from pipelines.layout import Layout


def prepare(
    benchmark: Annotated[str, typer.Argument(help="A name under `benchmarks` in the parameter file.")],
    images: Annotated[
        Path | None, typer.Option(help="Also write the test images there, as files in a folder per class.")
    ] = None,
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Load, split and check a benchmark's data and write it to data/<benchmark>."""
    chosen = settings.load(params).benchmark(benchmark).data
    made = datasets.make(chosen.dataset, **chosen.options)
    dataset.save(made, Layout(benchmark).data)
    if images is not None:
        image_files.write(made.test, made.classes, images)
    shape = "x".join(str(size) for size in made.train.images.shape[1:])
    counts = f"{len(made.train)} training, {len(made.tuning)} tuning and {len(made.test)} test images"
    print(f"prepare {benchmark}: {counts}, {shape}, {len(made.classes)} classes")


if __name__ == "__main__":
    command.run(prepare)
