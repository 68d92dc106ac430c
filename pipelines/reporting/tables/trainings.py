"""What is said of trainings: which models they made, what that took, and in which terms they differ from the paper."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from baselines.model_files import DESCRIPTION
from benchmarks.errors import InputError
from pipelines.config.blocks import Training
from pipelines.config.params import Settings
from pipelines.store.layout import COST, TIMING, Layout, write_csv

TRAININGS = "trainings.csv"
"""The same in every run: ``training, seed, recipe``, the epoch ``kept`` of ``epochs``, and what it was chosen by."""
TIMINGS = "timings-trainings.csv"
"""Wall times: ``seconds`` of a training, and the cost of a step in steps of plain training, where one was measured."""
_COST = ("cost_ratio", "cost_ratio_low", "cost_ratio_high", "edit_steps", "batches")
_WHERE = ("batch_size", "machine", "threads")
_TOLD_ELSEWHERE = {
    *("recipe", "epochs", "batch_size", "lr", "lr_new", "schedule", "optimizer"),
    *("architecture", "options", "start", "teacher", "network", "weights", "k", "editor", "layers"),
    *("c_edit", "c_loc", "hyperparameters", "targets"),
}
"""How long and how fast, what is trained, and what a training's name or a table's caption says."""


def write(settings: Settings, layout: Layout, chosen_by: str) -> None:
    """Write both tables; a training of whose model nothing is known has no row.

    :param chosen_by: the number in descriptions of models by which an epoch was chosen, such as ``tuning_error``.
    :raises InputError: for a file about a model that is broken.
    """
    models = list(_models(settings, layout))
    made = [names | _described(folder / DESCRIPTION, chosen_by) for names, folder in models]
    timed = [names | _seconds(folder / TIMING) | _cost(folder / COST) for names, folder in models]
    columns = ["training", "seed", "recipe", "kept", "epochs", chosen_by]
    write_csv(layout.results / TRAININGS, pd.DataFrame(made, columns=columns), digits=6)
    columns = ["training", "seed", "seconds", *_COST, *_WHERE]
    write_csv(layout.results / TIMINGS, pd.DataFrame(timed, columns=columns), digits=6)


def costs(layout: Layout, trainings: Iterable[str], seed: int) -> dict[str, dict[str, Any]]:
    """What a step cost, by training, of those of which that was measured; see :func:`read_cost`."""
    found = {training: _cost(layout.described(training, seed) / COST) for training in trainings}
    return {training: cost for training, cost in found.items() if cost}


def read_cost(path: Path) -> dict[str, Any]:
    """What a step of a training cost: ``cost_ratio`` in steps of plain training, with ``_low`` and ``_high``, and
    whatever else stands there.

    :raises InputError: for a file that cannot be read.
    """
    try:
        content = dict(json.loads(path.read_text(encoding="utf-8")))
        value = float(content["cost_ratio"])
        low, high = (float(content.get(f"cost_ratio_{end}", math.nan)) for end in ("low", "high"))
        if not math.isfinite(value) or low > high:
            raise ValueError(f"cost_ratio is {value:g} with the interval [{low:g}, {high:g}]")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} does not hold the cost of a training ({error!r}): remove it and train again"
        ) from error
    return content | {"cost_ratio": value, "cost_ratio_low": low, "cost_ratio_high": high}


def note(name: str, training: Training) -> str:
    """Its terms that are not the defaults, such as ``trained with reference_mode train, clip_norm 10``; else nothing.

    :param name: the training's; weights of the terms that it holds are not said again.
    """
    terms = [*_weights(name, training), *_terms(training), *_start(training)]
    return f"trained with {', '.join(terms)}" if terms else ""


def _models(settings: Settings, layout: Layout) -> Iterator[tuple[dict[str, Any], Path]]:
    """Names and folder of every model of the run that is described, in the order of its trainings."""
    for name, block in settings.benchmark(layout.benchmark).trainings.items():
        for seed in settings.training_seeds:
            folder = layout.described(name, seed)
            if (folder / DESCRIPTION).exists():
                yield {"training": name, "seed": seed, "recipe": block.recipe}, folder


def _described(path: Path, chosen_by: str) -> dict[str, Any]:
    try:
        described = json.loads(path.read_text())
        return {"kept": described["epoch"], "epochs": described["epochs"], chosen_by: described[chosen_by]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not describe a model ({error!r}): train it again") from error


def _cost(path: Path) -> dict[str, Any]:
    return read_cost(path) if path.exists() else {}


def _seconds(path: Path) -> dict[str, Any]:
    """Those of a training's epochs: what needs none, as a DkNN, takes none."""
    try:
        return {"seconds": float(json.loads(path.read_text())["seconds"])} if path.exists() else {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is broken ({error!r}): remove it, it holds a wall time only") from error


def _weights(name: str, training: Training) -> Iterator[str]:
    """c_edit and c_loc, which have no default, unless they are the one number in the name."""
    both = [getattr(training, term, None) for term in ("c_edit", "c_loc")]
    if None not in both and (both[0] != both[1] or f"{both[0]:g}" not in name.split("-")):
        yield from (f"{term} {value:g}" for term, value in zip(("c_edit", "c_loc"), both, strict=True))


def _terms(training: Training) -> Iterator[str]:
    for term, field in type(training).model_fields.items():
        value = getattr(training, term)
        if term not in _TOLD_ELSEWHERE and value != field.get_default(call_default_factory=True):
            yield f"{term} {_shown(value)}"


def _start(training: Training) -> Iterator[str]:
    """Where the editor's hyperparameters start, or stay."""
    fixed = ["lr"] if getattr(training, "learning_rate", "") == "fixed" else []
    for name, value in getattr(training, "hyperparameters", {}).items():
        yield f"{name} {'' if name in fixed else 'from '}{value:g}"


def _shown(value: Any) -> str:
    if isinstance(value, bool | str):
        return str(value).lower()
    return " ".join(map(str, value)) if isinstance(value, list) else f"{value:g}"
