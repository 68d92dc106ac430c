"""60 edits of the test project's model, ready to be tried."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from benchmarks.scoring.scorer import Scorer
from pipelines.jobs.cells import Cell
from pipelines.tasks import load_settings
from pipelines.tasks.base import EditSet
from pipelines.tasks.scoring import scorer_of
from tests.pipelines.conftest import Project

EDITS = 60


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As in the stages; it is also much faster for so small a model on a machine that is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def scorer(project: Project, control_size: int | None) -> Scorer:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        cell = Cell("digits", "plain", "gd", "all")
        return scorer_of(load_settings(), cell, EditSet("tuning", EDITS), control_size)


@pytest.fixture(scope="module")
def images(trained_once, one_thread) -> Scorer:
    """60 edits of the test project's model; the whole split is looked at after each."""
    return scorer(trained_once, None)
