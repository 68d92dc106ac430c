"""The mistakes of a benchmark's pre-trained model: some to train on, others to evaluate on (section 4.3.1).

They are found anew wherever they are needed, from the candidates beside the data and the model: always the same ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch
from torch import nn

from baselines.model_files import WEIGHTS, load_model
from benchmarks.data import mistakes
from benchmarks.data.dataset import Dataset
from benchmarks.data.mistakes import CANDIDATES, Candidates
from benchmarks.errors import InputError
from benchmarks.files import file_hash
from pipelines.config.benchmarks import MistakesSettings
from pipelines.config.params import Settings
from pipelines.store.layout import Layout


@dataclass(frozen=True)
class Division:
    """The mistakes of ``model`` in two parts that share no original."""

    model: nn.Module
    training: Candidates
    evaluation: Candidates


def divide(settings: Settings, benchmark: str, data: Dataset, seed: int = 0) -> Division:
    """The mistakes of the model that ``mistakes.training`` names, with this training seed.

    :raises InputError: for a benchmark without mistakes, or with too few of them.
    """
    chosen, layout = _chosen(settings, benchmark), Layout(benchmark)
    model, _ = load_model(layout.model(chosen.training, seed), settings.torch_device())
    found = mistakes.mistakes(model, data, mistakes.load_candidates(layout.data))
    try:
        return Division(model, *mistakes.divide(found, chosen.edits, settings.seed, benchmark))
    except InputError as error:
        raise InputError(f"benchmarks.{benchmark}.mistakes.edits: {error}") from error


def distribution_of_ranks(division: Division, data: Dataset) -> torch.Tensor:
    """From which ranks of targets are drawn, ``(classes,)``; the mistakes to evaluate on are not looked at."""
    return mistakes.distribution_of_ranks(division.model, data, division.training)


def identity(settings: Settings, benchmark: str, seed: int = 0) -> str:
    """What decides which mistakes there are, and in which part."""
    chosen, layout = _chosen(settings, benchmark), Layout(benchmark)
    found = [chosen.model_dump(), settings.seed, benchmark]
    for path in (layout.data / CANDIDATES, layout.model(chosen.training, seed) / WEIGHTS):
        try:
            found.append(file_hash(path))
        except FileNotFoundError as error:
            raise InputError(f"{path} is missing: run the stage that makes it first") from error
    return json.dumps(found)


def _chosen(settings: Settings, benchmark: str) -> MistakesSettings:
    chosen = settings.benchmark(benchmark).mistakes
    if chosen is None:
        raise InputError(f"benchmarks.{benchmark} has no block 'mistakes'")
    return chosen
