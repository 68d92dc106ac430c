"""A study by hand of DkNN: whether some training images are neighbours of very many test images (hubs).

An edit flips the labels of a few of the edited image's neighbours. How many other answers change with them depends on
how many test images have them as neighbours too, and on how close their votes are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from baselines import images
from benchmarks.errors import InputError
from pipelines import command
from pipelines.config.params import Settings
from pipelines.jobs.cells import Cell
from pipelines.reporting.tables.results import ends
from pipelines.store.layout import Layout, write_csv
from pipelines.tasks import data_of, load_settings, task_of
from pipelines.tasks.images import edits

RESULTS = Path("results/dknn_hubs")
_CHUNK = 500  # images that go through a network together
_CLOSE = 2  # votes: a single flipped label takes one from the first answer and may give it to the second


def dknn_hubs(benchmark: command.Benchmark, params: command.Params = command.DEFAULT_PARAMS) -> None:
    """Count, for each DkNN of a benchmark, whose neighbours its training images are, beside the drawdown of its edits,
    which `evaluate` found; writes results/dknn_hubs.
    """
    settings, layout = load_settings(params), Layout(benchmark)
    trainings = settings.benchmark(benchmark).trainings
    names = [name for name, training in trainings.items() if training.recipe == "dknn"]
    if not names:
        raise InputError(f"{benchmark}: none of its trainings has the recipe 'dknn'")
    data = data_of(settings, benchmark, layout.data)
    rows = pd.DataFrame([_row(settings, benchmark, name, data) for name in names])
    write_csv(RESULTS / f"{benchmark}.csv", rows, digits=6)
    print(rows.to_string(index=False))


@torch.no_grad()
def _row(settings: Settings, benchmark: str, training: str, data: Any) -> dict[str, Any]:
    """Counts of one DkNN: errors and shares in percent, labels that an edit flips, its drawdown in points."""
    cell = Cell(benchmark, training, "flip_labels", "votes")
    told = task_of(settings, benchmark).presentation
    edited = told.measures.summarise(told.read_cell(settings, cell).records)
    model = edits.load_network(settings, cell, data)
    network = Cell(benchmark, settings.benchmark(benchmark).training(training).network, "flip_labels", "votes")
    search, votes = model.neighbours, model.votes
    found = torch.cat([search(data.inputs(some)) for some in data.test.images.split(_CHUNK)])
    degrees = torch.bincount(found[:, 0].long().flatten(), minlength=len(votes.cast)).double()
    counts = votes.cast[found[:, 0].long()].sum(dim=1)
    first, second = counts.topk(2, dim=1).values.unbind(dim=1)
    return {
        "training": training,
        "k": search.k,
        "training_error": images.evaluate(edits.load_network(settings, network, data), data, data.train)[1],
        "test_error": images.evaluate(model, data, data.test)[1],
        "degree_mean": float(degrees.mean()),
        "degree_99th": float(degrees.quantile(0.99)),
        "degree_max": int(degrees.max()),
        "unanimous": 100 * float((first == search.k).double().mean()),
        "close": 100 * float((first - second <= _CLOSE).double().mean()),
        "flipped": edited["num_steps"].value,
        **ends(told.measures.drawdown, edited[told.measures.drawdown]),
    }


if __name__ == "__main__":
    command.run(dknn_hubs)
