"""The metrics of a classifier's edits, from their records, and its test error before any edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from benchmarks.metrics import Column, Estimate, Measures, paired_change, share
from benchmarks.scoring import sampling, side_effects


def drawdown(records: pd.DataFrame) -> pd.Series:
    """|error after − error before| of each edit, in percentage points (section 4.1)."""
    return sampling.change(records).abs()


def drawdown_corrected(records: pd.DataFrame) -> pd.Series:
    """The same without what sampling adds, as far as that can be known; for tuning, which sees few images."""
    return drawdown(records) - sampling.added(records)


def with_control_images(records: pd.DataFrame, description: Mapping[str, Any]) -> pd.DataFrame:
    """Records with the number of images of the control set; earlier evaluations noted it in the description only."""
    if "control_images" in records:
        return records
    return records.assign(control_images=description["test_images"])


def flip_rate(records: pd.DataFrame) -> pd.Series:
    """Share of control images whose prediction changed, in percent (the locality of section 3)."""
    return 100.0 * records["flips"] / records["control_size"]


def generality(records: pd.DataFrame) -> pd.Series:
    """Share of other pictures of the edited thing that the edited model assigns to the target, in percent."""
    return 100.0 * records["views_after"] / records["views"]


def generality_before(records: pd.DataFrame) -> pd.Series:
    """The same share before the edit, in percent."""
    return 100.0 * records["views_before"] / records["views"]


IMAGES = Measures(
    drawdown="drawdown",
    quality="test_error",
    means={
        "drawdown": drawdown,
        "drawdown_signed": sampling.change,
        "flip_rate": flip_rate,
        "generality": generality,
        "generality_before": generality_before,
        "kl": lambda records: records["kl"],
        "num_steps": lambda records: records["steps"],
    },
    columns={
        "test_error": Column("Test error", "%", 2),
        "drawdown": Column("Drawdown", "points", 2),
        "drawdown_signed": Column("Signed drawdown", "points", 2),
        "success_rate": Column("Success", "%", 1),
        "num_steps": Column("Steps", "", 2),
        "generality": Column("Generality", "%", 1),
        "generality_before": Column("before the edit", "%", 1),
        "flip_rate": Column("Flips", "%", 2),
        "kl": Column("KL", "nats", 4),
    },
    asked=("edit", "image", "target"),
    tuned=drawdown_corrected,
    signed="drawdown_signed",
    misleads=sampling.misleads,
    completed=with_control_images,
    side_effects=side_effects.measured,
    side_effect_columns=side_effects.MEASURED,
)
"""One row of records per edit, columns as in :class:`benchmarks.scoring.scorer.EditRecord`."""


@dataclass(frozen=True)
class ErrorRate:
    """The test error of a classifier before any edit: a :class:`benchmarks.metrics.Quality`.

    :ivar wrong: positions of the test images that it gets wrong.
    :ivar images: how many there are.
    """

    wrong: frozenset[int]
    images: int

    name: ClassVar[str] = "test_error"
    signature: ClassVar[str] = ""
    timings: ClassVar[Mapping[str, float]] = {}

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> ErrorRate:
        """Read what evaluation wrote.

        :raises KeyError, ValueError, AttributeError: if it did not.
        """
        return cls(frozenset(map(int, description["wrong_before_editing"].split())), description["test_images"])

    @property
    def estimate(self) -> Estimate:
        """In percent, with Wilson's interval."""
        return share(len(self.wrong), self.images)

    @property
    def measured_on(self) -> str:
        return f"{self.images} test images"

    def difference(self, other: ErrorRate, name: str) -> tuple[Estimate, str]:
        """In points, by the images that one of the two gets wrong and the other right."""
        if self.images != other.images:
            raise ValueError(f"measured on different test images ({self.images} and {other.images})")
        change = paired_change(len(self.wrong - other.wrong), len(other.wrong - self.wrong), self.images)
        return change, f"paired, the same {self.measured_on}"
