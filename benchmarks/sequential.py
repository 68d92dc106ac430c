"""Edits in a row on one model: what becomes of its error, and of earlier edits (section 4.3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import Tensor, nn

import editors
from benchmarks.dataset import Dataset, Split
from benchmarks.errors import InputError
from benchmarks.parts import activations, layers_of, split


@dataclass(frozen=True)
class SequentialRecord:
    """One edit in a row, of the model as the edits before it left it.

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


class SequentialScorer:
    """Rows of edits of one model, each row from the original weights.

    Activations before the edited layers, which no edit changes, are computed once, and for all rows.

    :param layers: name of the editable part, ``all`` for the whole model.
    :param images: what is edited, with the wanted labels; ``control`` are the images on which the error is counted.
    """

    def __init__(self, model: nn.Module, layers: str, dataset: Dataset, images: Split, control: Split) -> None:
        device = next(model.parameters()).device
        self._layers = layers_of(layers)
        prefix, self._suffix = split(model, self._layers)
        self._edited, self._control = (
            activations(prefix, dataset.inputs(some.images.to(device))) for some in (images, control)
        )
        self._targets, self._labels = images.labels.to(device), control.labels.to(device)

    def run(self, editor: editors.Editor, places: Sequence[int], order: int = 0) -> list[SequentialRecord]:
        """Edit the images at ``places`` one after the other.

        An edit that does not succeed is not put in place: nobody would keep it.

        :raises InputError: for an editor that changes no weights.
        """
        model, records = self._suffix, list[SequentialRecord]()
        wrong = self._wrong(model)
        for number, place in enumerate(places):
            inputs, target = self._edited[place : place + 1], int(self._targets[place])
            predicted = int(activations(model, inputs).argmax())
            edit = editor.edit(model, inputs, editors.constraints.predicts(target), layers=self._layers)
            if not isinstance(edit, editors.EditResult):
                raise InputError(f"{type(editor).__name__} changes no weights, so its edits cannot follow each other")
            before = wrong
            if edit.succeeded and not edit.unchanged:
                model = edit.apply(model)
                wrong = self._wrong(model)
            holding = self._holding(model, places[: number + 1])
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
        at_end = self._holding(model, places).tolist()
        return [replace(record, in_force_at_end=holds) for record, holds in zip(records, at_end, strict=True)]

    def _wrong(self, model: nn.Module) -> int:
        return int((activations(model, self._control).argmax(dim=1) != self._labels).sum())

    def _holding(self, model: nn.Module, places: Sequence[int]) -> Tensor:
        """Which of the images ``(E,)`` get their targets."""
        chosen = torch.as_tensor(places, dtype=torch.int64, device=self._targets.device)
        return activations(model, self._edited[chosen]).argmax(dim=1) == self._targets[chosen]


def by_number(records: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over orders against the number of edits, from 0.

    Columns: ``edits``; ``error`` and ``error_std`` on the control images, in percent; ``in_force`` and
    ``in_force_std``: share of the edits so far that hold, in percent, nan before the first; ``orders``.

    :param records: one row per edit, columns as in :class:`SequentialRecord`.
    """
    first = records[records["edit"] == 1]
    start = first.assign(edit=0, wrong_after=first["wrong_before"])
    rows = pd.concat([start, records], ignore_index=True)
    rows["error"] = 100.0 * rows["wrong_after"] / rows["control_size"]
    holding = rows["earlier_in_force"] + rows["in_force"].astype(int)
    rows["in_force"] = (100.0 * holding / rows["edit"]).where(rows["edit"] > 0)
    groups = rows.groupby("edit")
    return pd.DataFrame(
        {
            "error": groups["error"].mean(),
            "error_std": groups["error"].std(),
            "in_force": groups["in_force"].mean(),
            "in_force_std": groups["in_force"].std(),
            "orders": groups.size(),
        }
    ).reset_index(names="edits")
