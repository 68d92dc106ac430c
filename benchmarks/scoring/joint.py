"""Many edits of one model together: as one request, or one after the other."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

import editors
from benchmarks.data.corruptions import taken_again
from benchmarks.data.dataset import Dataset, Split
from benchmarks.errors import InputError
from benchmarks.networks.model_split import activations
from benchmarks.scoring.edited_part import EditedPart
from benchmarks.scoring.requests import NOTHING_MORE, Demand
from benchmarks.scoring.scorer import GENERALITY_COPIES, answers
from benchmarks.seeds import generator, seed
from editors.devices import finish

JOINTLY, IN_A_ROW = "jointly", "in_a_row"
MANNERS = (JOINTLY, IN_A_ROW)
"""One request for all images, or one request after the other, each starting where the one before left the model."""


@dataclass(frozen=True)
class JointRecord:
    """The effects of editing ``count`` images of a split together.

    :ivar draw: which draw of images this is.
    :ivar manner: one of :data:`MANNERS`.
    :ivar fixed: images of the request that get their targets in the end; ``succeeded`` if all do.
    :ivar steps: gradient steps; in a row, the sum over the requests.
    :ivar control_size: images of the split that are not edited; ``wrong_before`` and ``wrong_after`` of them
        misclassified, ``flips`` of them with another answer than before.
    :ivar alike: control images of the kind of the edited ones: of the same class, with the same wrong answer before;
        ``alike_after`` of them are right after the edit.
    :ivar views: other pictures of the edited images; ``views_before`` and ``views_after`` of them get the targets.
    """

    draw: int
    count: int
    manner: str
    fixed: int
    succeeded: bool
    steps: int
    control_size: int
    wrong_before: int
    wrong_after: int
    flips: int
    alike: int
    alike_after: int
    views: int
    views_before: int
    views_after: int


@dataclass(frozen=True)
class Draw:
    """Images that are edited together.

    :ivar places: int64 ``(N,)``, positions in the split; ``targets`` the wanted labels ``(N,)``.
    :ivar seed: decides the augmentations.
    """

    number: int
    places: Tensor
    targets: Tensor
    seed: int


class JointScorer(EditedPart):
    """Edits many images of a split together and looks at the rest of it; every request starts from the same weights.

    Activations before the edited layers, which no edit changes, are computed once.

    :param layers: name of the editable part, ``all`` for the whole model.
    :param images: some are edited, the others are for control.
    :param demand: asked of each edit beside its target.
    """

    def __init__(
        self, model: nn.Module, layers: str, dataset: Dataset, images: Split, demand: Demand = NOTHING_MORE
    ) -> None:
        super().__init__(model, layers, dataset, demand)
        device = next(model.parameters()).device
        self._images, self._labels = images.images, images.labels.to(device)
        self._features = self.inputs(images.images)
        self._before = answers(activations(self.model, self._features)).labels

    @property
    def mistakes(self) -> Tensor:
        """Positions of the images that the unedited model gets wrong, in order."""
        return (self._before != self._labels).nonzero().flatten().cpu()

    def draw_mistakes(self, count: int, number: int, *axes: str | int) -> Draw:
        """Draw ``count`` images that the unedited model gets wrong; the targets are their true classes.

        :param axes: what the draw depends on, besides its ``number``.
        :raises InputError: if there are not so many.
        """
        found = self.mistakes
        if count > len(found):
            raise InputError(f"{count} mistakes cannot be edited together: the model makes {len(found)}")
        order = torch.randperm(len(found), generator=generator(*axes, "mistakes together", number))
        places = found[order[:count]]
        return Draw(number, places, self._labels[places].cpu(), seed(*axes, "mistakes together", number, count))

    def draw_random(self, count: int, number: int, *axes: str | int) -> Draw:
        """Draw ``count`` images, and labels uniform over all classes (section 4.1).

        :raises InputError: if that leaves no image for control.
        """
        if count >= len(self._images):
            raise InputError(f"{count} edits together leave none of {len(self._images)} images to look at")
        source = generator(*axes, "images together", number)
        places = torch.randperm(len(self._images), generator=source)[:count]
        targets = torch.randint(len(self._dataset.classes), (len(self._images),), generator=source)[:count]
        return Draw(number, places, targets, seed(*axes, "images together", number, count))

    def record(self, editor: editors.Editor, draw: Draw, manner: str = JOINTLY) -> tuple[JointRecord, float]:
        """Edit the images of ``draw`` and look at all others; also returns the seconds that the edits took.

        :raises editors.EditError: for edits that cannot follow each other.
        """
        finish(self._labels.device)
        began = time.perf_counter()
        edited, steps = (self._jointly if manner == JOINTLY else self._in_a_row)(editor, draw)
        finish(self._labels.device)
        seconds = time.perf_counter() - began
        places, targets = draw.places.to(self._labels.device), draw.targets.to(self._labels.device)
        copies = self._copies(draw)
        after, viewed = self._answers(edited, self._features), self._answers(edited, copies)
        control = torch.ones_like(self._labels, dtype=torch.bool).index_fill(0, places, False)
        before, labels = self._before, self._labels
        classes = len(self._dataset.classes)
        kinds = labels * classes + before
        mended = kinds[places].where(targets == labels[places], -1)
        alike = control & (before != labels) & torch.isin(kinds, mended)
        wanted = targets.repeat_interleave(GENERALITY_COPIES)
        counted = {
            "fixed": after[places] == targets,
            "control_size": control,
            "wrong_before": control & (before != labels),
            "wrong_after": control & (after != labels),
            "flips": control & (after != before),
            "alike": alike,
            "alike_after": alike & (after == labels),
            "views_before": self._answers(self.model, copies) == wanted,
            "views_after": viewed == wanted,
        }
        # All come from the device at once, which the host waits for.
        counts = dict(zip(counted, torch.stack([which.sum() for which in counted.values()]).tolist(), strict=True))
        record = JointRecord(
            draw=draw.number,
            count=len(places),
            manner=manner,
            succeeded=counts["fixed"] == len(places),
            steps=steps,
            views=len(wanted),
            **counts,
        )
        return record, seconds

    def _jointly(self, editor: editors.Editor, draw: Draw) -> tuple[editors.Edit, int]:
        request = self._request(draw.places, draw.targets, draw.seed)
        edit = editor.edit(self.model, *request, layers=self.layers)
        return edit, edit.steps

    def _in_a_row(self, editor: editors.Editor, draw: Draw) -> tuple[nn.Module, int]:
        """As :meth:`benchmarks.scoring.sequential.SequentialScorer.run`: what fails is not put in place."""
        model, steps = self.model, 0
        for number in range(len(draw.places)):
            one = slice(number, number + 1)
            request = self._request(draw.places[one], draw.targets[one], draw.seed + number)
            edit = editor.edit(model, *request, layers=self.layers)
            edit = self._demand.judged(edit, self._features[draw.places[one]], int(draw.targets[number]))
            steps += edit.steps
            if edit.succeeded:
                model = model if edit.unchanged else edit.apply(model)
                editor = editor.remember(model, request.inputs, self.layers)
        return model, steps

    def _request(self, places: Tensor, targets: Tensor, request_seed: int) -> editors.Request:
        images = self._images[places].to(self._labels.device)
        target = int(targets) if len(targets) == 1 else targets
        return self._asked(images, self._features[places], target, request_seed)

    def _copies(self, draw: Draw) -> Tensor:
        source = generator(draw.seed, "views")
        images = self._images[draw.places].repeat_interleave(GENERALITY_COPIES, dim=0)
        return self.inputs(taken_again(images, self._dataset.augmentation, source))

    @staticmethod
    def _answers(edited: nn.Module | editors.Edit, inputs: Tensor) -> Tensor:
        if isinstance(edited, nn.Module):
            return answers(activations(edited, inputs)).labels
        with torch.no_grad():
            return torch.cat([answers(edited.predict(part)).labels for part in inputs.split(256)])


def measured(records: pd.DataFrame) -> pd.DataFrame:
    """What each request did ``(R,)``.

    Columns: in percent ``fixed``, ``generality`` and ``generality_before``, and ``alike``, the share of the unedited
    mistakes of the same kind that the edit mends; in points ``drawdown``, |error after − before|, and
    ``drawdown_signed``, and ``at_own_error``, which is at most what that would be on images that err as often as all
    of the split; ``steps``. What cannot be had is nan.

    Where mistakes are edited, what is left to look at errs less than the network does: few of its images can be mended,
    and many can be lost. ``at_own_error`` weights both shares as all of the split would (direct standardization). Of
    the images that were mended only those of the edited kind were counted, so it is a bound from above.

    :param records: columns as in :class:`JointRecord`, and ``source``, what was edited.
    """
    lost = records["wrong_after"] - records["wrong_before"]
    signed = 100.0 * lost / records["control_size"]
    mended = records["alike_after"].clip(lower=(-lost).clip(lower=0))
    right = records["control_size"] - records["wrong_before"]
    error = (records["wrong_before"] + records["count"]) / (records["control_size"] + records["count"])
    weighted = 100.0 * ((1 - error) * (lost + mended) / right - error * mended / records["wrong_before"])
    return pd.DataFrame(
        {
            "fixed": 100.0 * records["fixed"] / records["count"],
            "drawdown": signed.abs(),
            "drawdown_signed": signed,
            "at_own_error": weighted.where(records["source"] == "mistakes", signed),
            "generality_before": 100.0 * records["views_before"] / records["views"],
            "generality": 100.0 * records["views_after"] / records["views"],
            "alike": 100.0 * records["alike_after"] / records["alike"].where(records["alike"] > 0),
            "steps": records["steps"].astype(float),
        }
    )


def by_count(records: pd.DataFrame) -> pd.DataFrame:
    """Means over draws against the number of images that are edited together, one row for each count and manner.

    Columns: ``count``, ``manner``, ``draws``, and those of :func:`measured`, each with its standard deviation over
    draws in a column with ``_std``; what cannot be had is nan.

    :param records: as for :func:`measured`.
    """
    of_each = measured(records)
    groups = of_each.groupby([records["count"], records["manner"]])
    columns = {"draws": groups.size()}
    for name in of_each:
        columns |= {name: groups[name].mean(), f"{name}_std": groups[name].std()}
    return pd.DataFrame(columns).reset_index()
