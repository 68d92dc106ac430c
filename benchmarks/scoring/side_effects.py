"""Whom an edit hurts: images near a decision, single classes, corrupted images; and how sure the network is then."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pandas as pd
import torch
from torch import Tensor

from benchmarks.data.corruptions import Shift
from benchmarks.metrics import Column

NEAR = 0.05
"""An image is sensitive if the two largest probabilities before the edit lie within this."""
CORRUPTED_SHARE = 0.05
"""So many corrupted copies of images are looked at, as a share of an edit's control images; the same for all edits."""
CORRUPTION = Shift(rotation=15.0, scale=0.15, shear=10.0, translation=1.0, noise=16.0)
_BINS = 15  # of confidences, as in Guo et al. (2017)


@dataclass(frozen=True)
class SideEffects:
    """The effects of one edit on its control images, beside how many are wrong.

    :ivar broken: images that were right before and are wrong after.
    :ivar sensitive: images with the two largest probabilities within :data:`NEAR` before the edit;
        ``sensitive_wrong_before`` and ``sensitive_wrong_after`` of them are misclassified.
    :ivar worst_class: error after − error before of the class that it is largest for, in points; ``class_spread`` the
        standard deviation of that over classes.
    :ivar calibration_before, calibration_after: expected calibration error, in percent: the mean gap between
        confidence and accuracy over 15 bins of confidence (Guo et al., ICML 2017).
    :ivar corrupted: corrupted copies of other images, ``corrupted_wrong_before`` and ``corrupted_wrong_after`` of them
        misclassified.
    """

    broken: int
    sensitive: int
    sensitive_wrong_before: int
    sensitive_wrong_after: int
    worst_class: float
    class_spread: float
    calibration_before: float
    calibration_after: float
    corrupted: int
    corrupted_wrong_before: int
    corrupted_wrong_after: int


FIELDS = tuple(field.name for field in fields(SideEffects))


def on_control(before: Tensor, after: Tensor, labels: Tensor) -> Tensor:
    """The fields of :class:`SideEffects` up to ``calibration_after``, as float64 ``(8,)`` on the answers' device.

    :param before: log-probabilities ``(N, C)`` of the control images before the edit; ``after`` those of the edited
        model, where what is not a number is no right answer. ``labels (N,)`` are the true classes.
    """
    wrong_before, wrong_after = (_wrong(one, labels) for one in (before, after))
    near = sensitive(before)
    change = (wrong_after.double() - wrong_before.double()) * 100
    counts, sums = (
        torch.zeros(before.shape[1], dtype=torch.float64, device=labels.device).index_add(0, labels, one)
        for one in (torch.ones_like(change), change)
    )
    there = counts > 0
    of_class = torch.where(there, sums / counts.clamp(min=1), 0)
    mean = of_class.sum() / there.sum()
    spread = (torch.where(there, of_class - mean, 0).square().sum() / there.sum()).sqrt()
    found = (
        (wrong_after & ~wrong_before).sum(),
        near.sum(),
        (near & wrong_before).sum(),
        (near & wrong_after).sum(),
        torch.where(there, of_class, -torch.inf).amax(),
        spread,
        calibration_error(before, labels),
        calibration_error(after, labels),
    )
    return torch.stack([value.double() for value in found])


def sensitive(log_probabilities: Tensor) -> Tensor:
    """Of answers ``(N, C)``, bool ``(N,)``: whether the two largest probabilities lie within :data:`NEAR`."""
    leading = log_probabilities.exp().topk(2, dim=1).values
    return leading[:, 0] - leading[:, 1] <= NEAR


def calibration_error(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """Expected calibration error in percent, a scalar; what is not a number is as sure as can be, and wrong."""
    confidence = log_probabilities.amax(dim=1).exp().double().nan_to_num(1.0)
    right = (~_wrong(log_probabilities, labels)).double()
    place = (confidence * _BINS).ceil().long().clamp(1, _BINS) - 1
    gaps = torch.zeros(_BINS, dtype=torch.float64, device=labels.device).index_add(0, place, confidence - right)
    return 100 * gaps.abs().sum() / len(labels)


def _wrong(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    return (log_probabilities.argmax(dim=1) != labels) | log_probabilities.isnan().any(dim=1)


MEASURED = {
    "broken": Column("Right → wrong", "%", 2),
    "mended": Column("Wrong → right", "%", 2),
    "sensitive": Column("Change on sensitive images", "points", 1),
    "worst_class": Column("Change of the worst class", "points", 1),
    "class_spread": Column("Spread over classes", "points", 1),
    "corrupted": Column("Change on corrupted images", "points", 2),
    "calibration": Column("Change of calibration error", "points", 2),
}
"""What :func:`measured` gives, and how it is shown."""


def measured(records: pd.DataFrame) -> pd.DataFrame:
    """Each of :data:`MEASURED` for every edit ``(E,)``: shares of control images in percent, changes in points.

    :param records: with the columns of :class:`SideEffects`; an edit without such images has nan.
    """
    broken = 100 * records["broken"] / records["control_size"]
    net = 100 * (records["wrong_after"] - records["wrong_before"]) / records["control_size"]

    def change(name: str) -> pd.Series:
        rise = records[f"{name}_wrong_after"] - records[f"{name}_wrong_before"]
        return 100 * rise / records[name].where(records[name] > 0)

    return pd.DataFrame(
        {
            "broken": broken,
            "mended": broken - net,
            "sensitive": change("sensitive"),
            "worst_class": records["worst_class"],
            "class_spread": records["class_spread"],
            "corrupted": change("corrupted"),
            "calibration": records["calibration_after"] - records["calibration_before"],
        }
    )
