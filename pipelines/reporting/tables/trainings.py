"""What became of each training of a run, as tables: the models in one, what making them took in another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from baselines.model_files import DESCRIPTION, read_description
from benchmarks.errors import InputError
from pipelines.config.params import Settings
from pipelines.reporting.claims.measurements import read_cost
from pipelines.store.csv_files import write_csv
from pipelines.store.layout import COST, TIMING, Layout

TRAININGS = "trainings.csv"
"""The same in every run: ``training, seed, recipe``, the epoch ``kept`` of ``epochs``, its ``tuning_error`` in %."""
TIMINGS = "timings-trainings.csv"
"""Wall times: ``seconds`` of a training, and the cost of a step in steps of plain training, where one was measured."""
_MODEL = {"kept": "epoch", "epochs": "epochs", "tuning_error": "tuning_error"}
_COST = ("cost_ratio", "cost_ratio_low", "cost_ratio_high", "edit_steps", "batches")
_WHERE = ("batch_size", "machine", "threads")


def write(settings: Settings, layout: Layout) -> None:
    """Write both tables; a training whose model is not here has no row.

    :raises InputError: for a file beside a model that is broken.
    """
    models = list(_models(settings, layout))
    made = [names | _described(folder) for names, folder in models]
    timed = [{name: names[name] for name in ("training", "seed")} | _timed(folder) for names, folder in models]
    columns = ["training", "seed", "recipe", *_MODEL]
    write_csv(layout.results / TRAININGS, pd.DataFrame(made, columns=columns), digits=6)
    columns = ["training", "seed", "seconds", *_COST, *_WHERE]
    write_csv(layout.results / TIMINGS, pd.DataFrame(timed, columns=columns), digits=6)


def _models(settings: Settings, layout: Layout) -> Iterator[tuple[dict[str, Any], Path]]:
    """Names and folder of every model of the run that is here, in the order of its trainings."""
    for training in settings.run_of(layout.benchmark).trainings:
        recipe = settings.training(layout.benchmark, training).recipe
        for seed in settings.training_seeds:
            folder = layout.model(training, seed)
            if (folder / DESCRIPTION).exists():
                yield {"training": training, "seed": seed, "recipe": recipe}, folder


def _described(folder: Path) -> dict[str, Any]:
    described = read_description(folder)
    return {column: getattr(described, name) for column, name in _MODEL.items()}


def _timed(folder: Path) -> dict[str, Any]:
    return _seconds(folder / TIMING) | (read_cost(folder / COST) if (folder / COST).exists() else {})


def _seconds(path: Path) -> dict[str, Any]:
    """Those of a training's epochs: what needs none, as a DkNN, takes none."""
    try:
        return {"seconds": float(json.loads(path.read_text())["seconds"])} if path.exists() else {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is broken ({error!r}): remove it, it holds a wall time only") from error
