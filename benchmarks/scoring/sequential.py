"""Edits in a row on one model: its error, and the earlier edits that still hold (section 4.3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import Tensor, nn

import editors
from benchmarks.data.dataset import Dataset, Split
from benchmarks.networks.model_split import activations
from benchmarks.scoring.edited_part import EditedPart
from benchmarks.scoring.requests import NOTHING_MORE, Demand
from benchmarks.scoring.scorer import answers
from benchmarks.seeds import generator


@dataclass(frozen=True)
class SequentialRecord:
    """The effects of one edit in a row, of the model as the edits before it left it.

    :ivar order: which order of the images this row is; ``edit`` the edit's place in it, counted from 1.
    :ivar image: position of the edited image; ``target`` the wanted label; ``predicted`` the answer before this edit.
    :ivar wrong_before, wrong_after: of ``control_size`` control images, those misclassified before and after this edit.
    :ivar earlier_in_force: of the ``edit − 1`` earlier images, those that get their targets right after this edit.
    :ivar in_force: whether this image gets its target right after this edit, and ``in_force_at_end`` after the last.
    """

    order: int
    edit: int
    image: int
    target: int
    predicted: int
    succeeded: bool
    steps: int
    control_size: int
    wrong_before: int
    wrong_after: int
    earlier_in_force: int
    in_force: bool
    in_force_at_end: bool


class SequentialScorer(EditedPart):
    """Rows of edits of one model, each row from the original weights.

    Activations before the edited layers, which no edit changes, are computed once, and for all rows.

    :param layers: name of the editable part, ``all`` for the whole model.
    :param images: those that are edited, with the wanted labels; on those of ``control`` the error is counted.
    :param demand: asked of each edit beside its target; ``seeds`` decide the views, one for each of ``images``.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: str,
        dataset: Dataset,
        images: Split,
        control: Split,
        demand: Demand = NOTHING_MORE,
        seeds: Sequence[int] = (),
    ) -> None:
        super().__init__(model, layers, dataset, demand)
        device = next(model.parameters()).device
        self._looked_at = torch.cat([self.inputs(some.images) for some in (control, images)])
        self._edited = self._looked_at[len(control) :]
        self._targets, self._labels = images.labels.cpu(), control.labels.to(device)
        self._requests = [
            self._asked(
                images.images[place : place + 1].to(device),
                self._edited[place : place + 1],
                int(images.labels[place]),
                seeds[place] if seeds else 0,
            )
            for place in range(len(images))
        ]

    def run(self, editor: editors.Editor, places: Sequence[int], order: int = 0) -> list[SequentialRecord]:
        """Edit the images at ``places`` one after the other, with what ``editor`` learns on the way.

        An edit that does not succeed is not put in place: nobody would keep it.

        :raises editors.EditError: for edits that cannot follow each other.
        """
        model, records = self.model, list[SequentialRecord]()
        wrong, given = self._look(model)
        chosen = torch.as_tensor(places, dtype=torch.int64)
        targets = self._targets[chosen]
        for number, place in enumerate(places):
            features, target, request = self._edited[place : place + 1], int(targets[number]), self._requests[place]
            before, predicted = wrong, int(given[place])
            edit = editor.edit(model, *request, layers=self.layers)
            edit = self._demand.judged(edit, features, target)
            if edit.succeeded and not edit.unchanged:
                model = edit.apply(model)
                wrong, given = self._look(model)
            if edit.succeeded:
                editor = editor.remember(model, request.inputs, self.layers)
            holding = given[chosen[: number + 1]] == targets[: number + 1]
            records.append(
                SequentialRecord(
                    order=order,
                    edit=number + 1,
                    image=place,
                    target=target,
                    predicted=predicted,
                    succeeded=edit.succeeded,
                    steps=edit.steps,
                    control_size=len(self._labels),
                    wrong_before=before,
                    wrong_after=wrong,
                    earlier_in_force=int(holding[:-1].sum()),
                    in_force=bool(holding[-1]),
                    in_force_at_end=False,
                )
            )
        at_end = (given[chosen] == targets).tolist()
        return [replace(record, in_force_at_end=holds) for record, holds in zip(records, at_end, strict=True)]

    def _look(self, model: nn.Module) -> tuple[int, Tensor]:
        """The number of control images that are misclassified, and the answers to all images that may be edited, on the
        CPU: the host waits for them once.
        """
        labels = answers(activations(model, self._looked_at)).labels
        control, edited = labels.split([len(self._labels), len(self._targets)])
        wrong, *given = torch.cat([(control != self._labels).sum()[None], edited]).tolist()
        return wrong, torch.tensor(given)


def turn(count: int, order: int, *axes: str | int) -> list[int]:
    """The places of ``count`` images in a random order, of which ``order`` is the number; it depends on ``axes``."""
    return torch.randperm(count, generator=generator(*axes, "order", order)).tolist()


def by_number(records: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over orders against the number of edits, from 0.

    Columns: ``edits``; in percent, each with its ``_std``: ``error`` on the control images, ``in_force``, the share of
    the edits so far that hold, and ``success_rate``, the share of them that succeeded when they were made, both nan
    before the first; ``orders``.

    :param records: one row per edit, columns as in :class:`SequentialRecord`.
    """
    first = records[records["edit"] == 1]
    start = first.assign(edit=0, wrong_after=first["wrong_before"])
    rows = pd.concat([start, records], ignore_index=True).sort_values(["order", "edit"])
    many = rows["edit"].where(rows["edit"] > 0)
    successes = rows["succeeded"].astype(int).where(rows["edit"] > 0, 0).groupby(rows["order"]).cumsum()
    rows["error"] = 100.0 * rows["wrong_after"] / rows["control_size"]
    rows["in_force"] = 100.0 * (rows["earlier_in_force"] + rows["in_force"].astype(int)) / many
    rows["success_rate"] = 100.0 * successes / many
    groups = rows.groupby("edit")
    columns = {"orders": groups.size()}
    for name in ("error", "in_force", "success_rate"):
        columns |= {name: groups[name].mean(), f"{name}_std": groups[name].std()}
    return pd.DataFrame(columns).reset_index(names="edits")
