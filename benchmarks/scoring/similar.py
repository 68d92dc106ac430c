"""How far edits carry over to other pictures of the edited image, and of the image most like it (section 4.3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

import editors
from benchmarks.data.corruptions import taken_again
from benchmarks.data.dataset import Dataset, Split
from benchmarks.metrics import Estimate, mean
from benchmarks.networks.model_split import activations
from benchmarks.scoring.edited_part import EditedPart
from benchmarks.scoring.requests import NOTHING_MORE, Demand
from benchmarks.scoring.scorer import answers
from benchmarks.seeds import generator


@dataclass(frozen=True)
class SimilarRecord:
    """The effects of an edit of one augmentation of an image on other pictures of it and of the image most like it.

    :ivar image: position of the edited image; ``augmentation`` which of its augmentations was edited.
    :ivar neighbour: position of the image most like it; ``same_class`` whether the wanted label is its true one.
    :ivar views: other pictures that were looked at, of each of the two.
    :ivar own_before, own_after: those of the edited image that are assigned to the wanted label; ``similar_before``,
        ``similar_after`` those of its neighbour.
    """

    image: int
    augmentation: int
    neighbour: int
    target: int
    same_class: bool
    succeeded: bool
    steps: int
    views: int
    own_before: int
    own_after: int
    similar_before: int
    similar_after: int


class SimilarScorer(EditedPart):
    """Edits augmentations of images, one at a time, and looks at other pictures of each and of its neighbour.

    :param layers: name of the editable part, ``all`` for the whole model.
    :param images: with the wanted labels, which must be right for what an image shows: else nothing should carry over.
    :param others: where the neighbours are; ``neighbours`` their positions, one for each of ``images``.
    :param augmentations: how many of an image are edited, and of each of the two how many are looked at.
    :param seeds: decide the augmentations, one for each of ``images``.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: str,
        dataset: Dataset,
        images: Split,
        others: Split,
        neighbours: Sequence[int],
        seeds: Sequence[int],
        augmentations: int = 5,
        demand: Demand = NOTHING_MORE,
    ) -> None:
        super().__init__(model, layers, dataset, demand)
        self._images, self._others = images, others
        self._neighbours, self._seeds = neighbours, seeds
        self._count = augmentations

    def run(self, editor: editors.Editor, place: int) -> list[SimilarRecord]:
        """Edit each augmentation of the image at ``place``, every time from the original weights."""
        target, neighbour = int(self._images.labels[place]), int(self._neighbours[place])
        image, other = self._images.images[place], self._others.images[neighbour]
        raw = self._dataset.augmentation.apply(self._copies(image), generator(self._seeds[place], "edited"))
        looked_at = torch.cat([self._taken_again(image, place, "own"), self._taken_again(other, place, "similar")])
        features, looked_at = self.inputs(raw), self.inputs(looked_at)
        each = range(self._count)
        rows = list(zip(raw.split(1), features.split(1), strict=True))
        requests = [self._asked(one, its_features, target, self._seeds[place]) for one, its_features in rows]
        before = self._hits(activations(self.model, looked_at), target)
        records = []
        for number, edit in zip(each, editor.edit_many(self.model, requests, layers=self.layers), strict=True):
            edit = self._demand.judged(edit, features[number : number + 1], target)
            with torch.no_grad():
                after = before if edit.unchanged else self._hits(edit.predict(looked_at), target)
            records.append(
                SimilarRecord(
                    image=place,
                    augmentation=number,
                    neighbour=neighbour,
                    target=target,
                    same_class=int(self._others.labels[neighbour]) == target,
                    succeeded=edit.succeeded,
                    steps=edit.steps,
                    views=self._count,
                    own_before=before[0],
                    own_after=after[0],
                    similar_before=before[1],
                    similar_after=after[1],
                )
            )
        return records

    def _copies(self, image: Tensor) -> Tensor:
        return image.expand(self._count, *image.shape)

    def _taken_again(self, image: Tensor, place: int, name: str) -> Tensor:
        return taken_again(self._copies(image), self._dataset.augmentation, generator(self._seeds[place], name))

    def _hits(self, logits: Tensor, target: int) -> tuple[int, int]:
        """The numbers of pictures of the edited image, and of its neighbour, that are assigned to ``target``."""
        own, similar = (answers(logits).labels == target).split(self._count)
        return int(own.sum()), int(similar.sum())


def accuracies(records: pd.DataFrame) -> dict[str, Estimate]:
    """Shares of the looked-at augmentations that are assigned to the wanted label, in percent.

    ``similar_accuracy`` of the images most like the edited ones (the paper's figure), ``similar_before`` of them before
    the edits, ``same_class_accuracy`` and ``same_class_before`` of those whose true class is the wanted label, and
    ``same_class``, how many those are; ``own_accuracy`` and ``own_before`` of the edited images. Intervals: bootstrap
    over edited images.

    :param records: columns as in :class:`SimilarRecord`.
    """
    by_image = records.groupby("image", sort=True).sum(numeric_only=True)
    same = records.groupby("image", sort=True)["same_class"].first().astype(bool)

    def accuracy(column: str, name: str, chosen: pd.Series | None = None) -> Estimate:
        rows = by_image if chosen is None else by_image[chosen]
        return mean((100.0 * rows[column] / rows["views"]).to_numpy(dtype=float), name)

    return {
        "similar_accuracy": accuracy("similar_after", "similar_accuracy"),
        "similar_before": accuracy("similar_before", "similar_before"),
        "same_class_accuracy": accuracy("similar_after", "same_class_accuracy", same),
        "same_class_before": accuracy("similar_before", "same_class_before", same),
        "same_class": mean(100.0 * same.to_numpy(dtype=float), "same_class"),
        "own_accuracy": accuracy("own_after", "own_accuracy"),
        "own_before": accuracy("own_before", "own_before"),
        "success_rate": mean(
            (100.0 * records.groupby("image")["succeeded"].mean()).to_numpy(dtype=float), "success_rate"
        ),
    }
