"""60 edits of the test project's model, ready to be tried."""

from __future__ import annotations

import pytest

from benchmarks.scoring.scorer import Scorer
from pipelines.jobs.cells import Cell
from pipelines.tasks import load_settings, scorer_of
from pipelines.tasks.base import EditSet
from tests.pipelines.conftest import Project

EDITS = 60


def scorer(project: Project, control_size: int | None) -> Scorer:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        cell = Cell("digits", "plain", "gd", "all")
        return scorer_of(load_settings(), cell, EditSet("tuning", EDITS), control_size)


@pytest.fixture(scope="module")
def images(trained_once) -> Scorer:
    """60 edits of the test project's model; the whole split is looked at after each."""
    return scorer(trained_once, None)
