"""What the configuration of a benchmark of images says: data, network, trainings, realistic mistakes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from torch import Tensor
from torch.overrides import TorchFunctionMode

from baselines.edit_targets import RANDOM
from benchmarks import datasets, models
from benchmarks.errors import InputError
from pipelines.config.blocks import Benchmark, CellNames, DataSettings, Name, Strict, check_options
from pipelines.config.names import check_known
from pipelines.tasks.images.trainings import ImageTraining, targets_of

_FILLS = (Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_)


class ImageData(DataSettings):
    """A dataset of ``benchmarks/datasets``."""

    @model_validator(mode="after")
    def _known(self) -> ImageData:
        check_options("dataset", self.dataset, self.options, datasets.options(self.dataset))
        return self


class ModelSettings(Strict):
    """An architecture of ``benchmarks/models``, with the options that its file takes."""

    architecture: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> ModelSettings:
        for key in ("name", "channels", "classes"):
            if key in self.options:
                raise InputError(f"{key!r} of architecture {self.architecture!r} is no option: the data decide it")
        check_architecture(self.architecture, self.options)
        return self


class MistakesSettings(Strict):
    """Realistic mistakes: images that the model of ``training`` gets wrong; ``edits`` of them are for evaluation."""

    training: Name
    edits: int = Field(ge=1)


class SimilarSettings(Strict):
    """Edits of mistakes whose effect is looked at on the test image most like each (section 4.3.1).

    :ivar edits: the most mistakes to edit, None for all; ``augmentations`` of each, and of the similar image.
    :ivar embedding: what is alike: ``inception_v3`` by torchvision's InceptionV3, ``pooled`` by the pre-trained model's
        own features before its last layer, ``pixels`` by the images themselves, ``auto`` by InceptionV3 if its weights
        are on this machine, else ``pooled``.
    """

    edits: int | None = Field(default=None, ge=1)
    augmentations: int = Field(default=5, ge=1)
    embedding: Literal["auto", "inception_v3", "pooled", "pixels"] = "auto"
    cells: list[CellNames] = Field(min_length=1)


class ImageBenchmark(Benchmark):
    """Everything about one benchmark of images.

    :ivar mistakes: None where edits get random targets only.
    """

    data: ImageData
    model: ModelSettings
    trainings: dict[Name, ImageTraining] = Field(min_length=1)
    mistakes: MistakesSettings | None = None
    similar: SimilarSettings | None = None

    @field_validator("mistakes")
    @classmethod
    def _of_a_training(cls, given: MistakesSettings | None, info: ValidationInfo) -> MistakesSettings | None:
        if given is not None and "trainings" in info.data:
            check_known("training", given.training, info.data["trainings"], "trainings")
        return given

    @model_validator(mode="after")
    def _trainable(self) -> ImageBenchmark:
        for name, training in self.trainings.items():
            try:
                self.model_of(name)
            except ValidationError as error:
                raise InputError(f"trainings.{name}.architecture: {error.errors()[0]['ctx']['error']}") from error
            if self.mistakes is None and targets_of(training) != RANDOM:
                raise InputError(f"trainings.{name}.targets: without a block 'mistakes', targets must be {RANDOM}")
        return self

    @model_validator(mode="after")
    def _with_mistakes(self) -> ImageBenchmark:
        if self.mistakes is not None:
            if not datasets.has_candidates(self.data.dataset):
                raise InputError(f"mistakes: dataset {self.data.dataset!r} has no images for mistakes: write null")
        elif self.similar is not None:
            raise InputError("similar: whether a label is right for another image too can be asked of 'mistakes' only")
        elif self.sequences is not None and self.sequences.source == "mistakes":
            raise InputError("sequences.source: there is no block 'mistakes', so it must be random")
        return self

    def named_cells(self) -> Iterator[tuple[str, CellNames]]:
        yield from super().named_cells()
        yield from (("similar.cells", names) for names in (self.similar.cells if self.similar else ()))

    def sources_of(self, training: str) -> tuple[str, ...]:
        found = super().sources_of(training)
        if self.mistakes is not None and targets_of(self.training(training)) != RANDOM:
            found += (self.mistakes.training,)
        return tuple(dict.fromkeys(found))

    def model_of(self, training: str) -> ModelSettings:
        """The network that a training trains: the benchmark's, but for its own architecture and options."""
        chosen = self.training(training)
        architecture = chosen.architecture or self.model.architecture
        return ModelSettings(architecture=architecture, options=self.model.options | chosen.options)


def check_architecture(name: str, options: Mapping[str, Any]) -> None:
    """Build a network to see that it can be built, without memory, numbers or random draws.

    :raises InputError: as :func:`benchmarks.models.make` does.
    """
    _build(name, json.dumps(options, sort_keys=True, default=str))


@cache  # a configuration names the same few networks in dozens of places
def _build(name: str, options: str) -> None:
    with torch.device("meta"), _NoInitialisation():
        models.make(name, channels=3, classes=2, **json.loads(options))


class _NoInitialisation(TorchFunctionMode):
    """Leaves the values of new parameters alone: drawing them on the meta device takes seconds in large networks."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        fills = getattr(func, "__module__", None) == "torch.nn.init" or func in _FILLS
        return (args[0] if args else kwargs["tensor"]) if fills else func(*args, **kwargs)
