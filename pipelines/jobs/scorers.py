"""A cell's model with its requests, ready to be edited and scored, and what its editor must know of the training data.

Cells of the same part of a model differ in their editors only. So the activations of thousands of control images and
the statistics of the training data are computed once for all such cells that a process works on one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

import editors
from baselines.model_files import WEIGHTS, load_model
from benchmarks.data import dataset
from benchmarks.data.dataset import Dataset, Split
from benchmarks.errors import InputError
from benchmarks.files import file_hash
from benchmarks.scoring.requests import corrections, draw_requests
from benchmarks.scoring.scorer import Scorer
from pipelines.config.params import Settings
from pipelines.jobs import realistic_mistakes
from pipelines.jobs.cells import Cell

_Value = TypeVar("_Value")


class _Latest(Generic[_Value]):
    """The last value that was asked for: the one before is let go first, as both may be large."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._value: _Value | None = None

    def of(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        if self._value is None or key != self._key:
            self._key = self._value = None
            self._key, self._value = key, make()
        return self._value


_scorers: _Latest[tuple[Scorer, Dataset]] = _Latest()
_statistics: _Latest[dict[str, Any]] = _Latest()


def scorer(settings: Settings, cell: Cell, split: str, edits: int, control_size: int | None) -> tuple[Scorer, Dataset]:
    """The cell's model with ``edits`` requests on the ``tuning`` or ``test`` split.

    The requests depend on the suite's seed, the benchmark and the split alone: every editor and every training meets
    the same ones.

    :raises InputError: for missing or broken files, or a model that was trained on other data.
    """

    def made() -> tuple[Scorer, Dataset]:
        data, model = loaded(settings, cell)
        images: Split = getattr(data, split)
        requests = draw_requests(images, len(data.classes), edits, settings.seed, cell.benchmark, split)
        return Scorer(model, cell.layers, data, images, requests, control_size=control_size, **demand), data

    demand = _demand(settings, cell)
    asked = (*_part(settings, cell), split, edits, control_size, *demand.values())
    return _scorers.of(asked, made)


def mistakes_scorer(settings: Settings, cell: Cell, edits: int, control_size: int | None) -> tuple[Scorer, Dataset]:
    """The cell's model with requests to correct ``edits`` of the mistakes kept for evaluation; test images are control.

    The mistakes are those of the benchmark's pre-trained model, so every row of Table 5 meets the same ones.

    :raises InputError: as :func:`scorer`, and for a benchmark without mistakes.
    """

    def made() -> tuple[Scorer, Dataset]:
        data, model = loaded(settings, cell)
        found = realistic_mistakes.divide(settings, cell.benchmark, data, cell.seed).evaluation.images
        requests = corrections(found.select(torch.arange(min(edits, len(found)))), settings.seed, cell.benchmark)
        wanted = {"edited": found, "control_size": control_size, **demand}
        return Scorer(model, cell.layers, data, data.test, requests, **wanted), data

    demand = _demand(settings, cell)
    mistakes = realistic_mistakes.identity(settings, cell.benchmark, cell.seed)
    return _scorers.of((*_part(settings, cell), mistakes, edits, control_size, *demand.values()), made)


def loaded(settings: Settings, cell: Cell) -> tuple[Dataset, nn.Module]:
    """The benchmark's data and the cell's model.

    :raises InputError: for missing or broken files, or a model that was trained on other data.
    """
    data = dataset.load(cell.layout.data)
    model, description = load_model(cell.model, settings.torch_device())
    if description.dataset != data.fingerprint():
        raise InputError(f"{cell.model} was trained on other data than {cell.layout.data} holds: train it again")
    return data, model


class Prepared(Protocol):
    """A scorer: the part of a model that an edit may change, and what reaches it."""

    model: nn.Module
    layers: editors.base.Layers

    def inputs(self, images: Tensor) -> Tensor:
        """What ``model`` takes for raw images."""


def statistics(settings: Settings, cell: Cell, images: Prepared, train: Split) -> Any:
    """What the cell's editor must know of the training data; None, at no cost, for an editor that needs nothing."""
    editor = settings.build(cell.editor)
    if not editor.needs_statistics:
        return None
    known = _statistics.of(_part(settings, cell), dict)
    name = settings.method(cell.editor)
    if name not in known:
        if editor.examples is not None and editor.examples < len(train):
            train = train.select(editors.base.spread(len(train), editor.examples))
        inputs = images.inputs(train.images)
        known[name] = editor.statistics(images.model, inputs, train.labels.to(inputs.device), images.layers)
    return known[name]


def _part(settings: Settings, cell: Cell) -> tuple[Hashable, ...]:
    """What cells have in common whose editors change the same part of the same model."""
    try:
        files = [file_hash(path) for path in (cell.model / WEIGHTS, cell.layout.data / "dataset.json")]
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing: run the stage that makes it first") from error
    return (*files, cell.benchmark, cell.training, cell.seed, cell.layers, settings.seed, str(settings.torch_device()))


def _demand(settings: Settings, cell: Cell) -> dict[str, Any]:
    asked = settings.editor(cell.editor)
    return {"views": asked.views, "margin": asked.margin, "cache_bytes": int(settings.cache_gib * 2**30)}
