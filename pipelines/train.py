"""Stage 2: train a model to be edited."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from tqdm import tqdm

from baselines.checkpoints import ModelDescription, save_model
from baselines.cnp import CnpObjective
from baselines.editable import EditableObjective
from baselines.objectives import CrossEntropy, Objective
from baselines.training import Epoch, Trained
from baselines.training import train as run_training
from benchmarks import dataset, models
from benchmarks.files import write_atomically
from benchmarks.seeds import seed
from pipelines import command, settings
from pipelines.layout import Layout
from pipelines.tracking import Unreachable, live_training

RECIPES: Mapping[str, Callable[[Any], Objective]] = {
    "plain": lambda chosen: CrossEntropy(),
    "editable": lambda chosen: EditableObjective(chosen.terms),
    "cnp": lambda chosen: CnpObjective(chosen.terms),
}
"""From a training's block in params.yaml to its objective, by recipe name."""

EDITOR = "editor.json"
"""Beside a model that was trained for one editor: that editor, with the hyperparameters it ended with."""


def train(
    benchmark: Annotated[str, typer.Argument(help="A name under `benchmarks` in the parameter file.")],
    training: Annotated[str, typer.Argument(help="A name under the benchmark's `trainings`.")],
    params: command.Params = command.DEFAULT_PARAMS,
) -> None:
    """Train one model, keep its best epoch on the tuning split, and write it to models/<benchmark>/<training>."""
    everything = settings.load(params)
    chosen = everything.training(benchmark, training)
    architecture = everything.benchmark(benchmark).model_of(training)
    device = everything.torch_device()
    torch.set_num_threads(everything.threads)
    layout = Layout(benchmark)
    data = dataset.load(layout.data)
    axes = (everything.seed, benchmark, training, 0)
    channels, classes = data.train.images.shape[1], len(data.classes)
    with torch.random.fork_rng(devices=[]):  # the only place where torch's global generator is used: initial weights
        torch.manual_seed(seed(*axes, "initial weights"))
        model = models.make(architecture.architecture, channels=channels, classes=classes, **architecture.options)
    plan = chosen.plan
    with (
        _live(benchmark, training, chosen.model_dump()) as log,
        _progress(benchmark, training, plan.epochs) as bar,
    ):

        def on_epoch(epoch: Epoch) -> None:
            bar.update()
            bar.set_postfix_str(f"training error {epoch.train_error:.2f} %, tuning error {epoch.tuning_error:.2f} %")
            log(_numbers(epoch), epoch.epoch)

        objective = RECIPES[chosen.recipe](chosen)
        model = model.to(device)
        trained = run_training(model, objective, data, plan, layout.checkpoints(training), axes, on_epoch)
    description = ModelDescription(
        architecture=architecture.architecture,
        options=architecture.options,
        channels=channels,
        classes=classes,
        training=training,
        epoch=trained.best.epoch,
        epochs=plan.epochs,
        tuning_error=trained.best.tuning_error,
        dataset=data.fingerprint(),
    )
    _write(layout.model(training), trained, description)
    if isinstance(objective, EditableObjective):
        _write_editor(layout.model(training), objective)
    shutil.rmtree(layout.checkpoints(training), ignore_errors=True)
    print(f"train {benchmark} {training}: kept epoch {trained.best.epoch} of {plan.epochs}, ", end="")
    print(f"tuning error {trained.best.tuning_error:.2f} % ({trained.seconds:.0f} s)")


def _write(folder: Path, trained: Trained, description: ModelDescription) -> None:
    history = pd.DataFrame([_numbers(epoch) for epoch in trained.history])
    write_atomically(folder / "history.csv", history.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    write_atomically(folder / "timing.json", json.dumps({"seconds": round(trained.seconds, 1)}) + "\n")
    save_model(folder, trained.model, description)


def _write_editor(folder: Path, objective: EditableObjective) -> None:
    terms = objective.terms
    content = {"editor": terms.editor, "layers": terms.layers, "hyperparameters": objective.editor_parameters()}
    write_atomically(folder / EDITOR, json.dumps(content | {"max_steps": terms.max_steps}, indent=2) + "\n")


def _numbers(epoch: Epoch) -> dict[str, float]:
    values = asdict(epoch)
    return values | values.pop("parts")


def _progress(benchmark: str, training: str, epochs: int) -> tqdm:
    return tqdm(total=epochs, desc=f"train {benchmark} {training}", unit="epoch", mininterval=1.0)


@contextlib.contextmanager
def _live(
    benchmark: str, training: str, parameters: Mapping[str, object]
) -> Iterator[Callable[[Mapping[str, float], int], None]]:
    """Where epochs are logged while they happen; a server that does not answer costs a warning, not the training."""
    with contextlib.ExitStack() as stack:
        try:
            log = stack.enter_context(
                live_training(
                    benchmark,
                    f"training/{training}",
                    parameters,
                    {"benchmark": benchmark, "training": training},
                )
            )
        except Unreachable as error:
            typer.echo(f"warning: {str(error).rstrip('.')}; training goes on without live metrics", err=True)
            log = _nowhere
        yield log


def _nowhere(metrics: Mapping[str, float], step: int) -> None:
    """Drop the metrics: they are in history.csv as well, from which the report fills MLflow."""


if __name__ == "__main__":
    command.run(train)
