"""The blocks ``sequences`` and ``similar`` of a benchmark in params.yaml (section 4.3.1)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.config.trainings import Strict

CellNames = Annotated[list[str], Field(min_length=3, max_length=3)]
"""A training, an editor and a part of the model."""


class RowSettings(Strict):
    """Edits in a row: ``edits`` of them, in as many ``orders``, by each of ``cells``.

    The error is counted on ``control_size`` images, the same ones all the time, or on all for null.
    """

    edits: int = Field(ge=1)
    orders: int = Field(ge=1)
    control_size: int | None = Field(default=None, ge=1)
    cells: list[CellNames] = Field(min_length=1)


class SequenceSettings(RowSettings):
    """Those of the test split that are reported, and others of the tuning split, to find out what makes edits last.

    ``source`` is what is edited: images of the split to ``random`` labels, or the benchmark's ``mistakes`` to their
    true ones. ``ablation`` always edits to random labels.
    """

    source: Literal["random", "mistakes"] = "random"
    ablation: RowSettings | None = None


class SimilarSettings(Strict):
    """Whether an edit of a mistake carries over to the test image most like it, on so many ``augmentations`` of each.

    ``edits`` is the most mistakes to edit, null for all. ``embedding`` says what is alike: ``inception_v3`` by
    torchvision's InceptionV3, ``pooled`` by the pre-trained model's own features before its last layer, ``pixels`` by
    the images themselves, ``auto`` by InceptionV3 if its weights are on this machine, else ``pooled``.
    """

    edits: int | None = Field(default=None, ge=1)
    augmentations: int = Field(default=5, ge=1)
    embedding: Literal["auto", "inception_v3", "pooled", "pixels"] = "auto"
    cells: list[CellNames] = Field(min_length=1)
