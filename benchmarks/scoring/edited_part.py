"""The part of a network that edits may change, and the way to its inputs from raw images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import editors
from benchmarks.data.dataset import Dataset
from benchmarks.networks.folding import fold
from benchmarks.networks.model_split import activations, layers_of, split
from benchmarks.networks.raw_images import Front
from benchmarks.scoring.requests import Demand
from editors.base import spread


class EditedPart:
    """The base of what makes and scores edits of one classifier: the network folded, and split before its edited part.

    :param layers: name of the editable part, ``all`` for the whole model.
    :param dataset: that the model was trained on.
    :param demand: what is asked of an edit beside its target.
    :ivar layers: as editors take them; ``model`` is the part that is edited.
    """

    _at_once = 500  # images that go through the front together

    def __init__(self, model: nn.Module, layers: str, dataset: Dataset, demand: Demand) -> None:
        self.layers = layers_of(layers)
        with torch.no_grad():
            model = fold(model, self.layers)
        prefix, self.model = split(model, self.layers)
        self._front = Front(dataset, prefix, model)
        self._dataset, self._demand = dataset, demand

    def inputs(self, images: Tensor) -> Tensor:
        """The inputs of ``model`` for raw ``images (N, C, H, W)``: activations at the input of the edited part."""
        return activations(self._front, images, self._at_once)

    def statistics(self, editor: editors.Editor) -> Any:
        """The editor's statistics of the training images; None, at no cost, for an editor that needs none."""
        if not editor.needs_statistics:
            return None
        train = self._dataset.train
        if editor.examples is not None and editor.examples < len(train):
            train = train.select(spread(len(train), editor.examples))
        features = self.inputs(train.images)
        return editor.statistics(self.model, features, train.labels.to(features.device), self.layers)

    def _asked(self, images: Tensor, features: Tensor, target: int | Tensor, seed: int) -> editors.Request:
        """The request to edit raw ``images (N, C, H, W)``, of which ``features (N, ...)`` are the inputs."""
        return self._demand.request(images, features, target, self._dataset.augmentation, seed, self.inputs)
