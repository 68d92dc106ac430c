"""What cells of the same part of a model share."""

from __future__ import annotations

import shutil

import pytest
import torch

from baselines.model_files import WEIGHTS
from benchmarks.errors import InputError
from benchmarks.scoring.scorer import Scorer
from editors.methods.covariance import Covariance
from pipelines.config import params
from pipelines.jobs import scorers
from pipelines.jobs.cells import Cell, unfinished
from pipelines.jobs.scorers import scorer, statistics


def _cell(editor: str, layers: str = "chain3") -> Cell:
    return Cell("digits", "plain", editor, layers)


def _scorer(cell: Cell, split: str = "tuning", control_size: int | None = None):
    return scorer(params.load(), cell, split, 6, control_size)[0]


@pytest.fixture
def here(trained, monkeypatch):
    """The project's own copy of the test model, as the working directory."""
    monkeypatch.chdir(trained.folder)
    return trained


def test_editors_of_the_same_part_share_what_reaches_it(here):
    first = _scorer(_cell("gd"))
    assert _scorer(_cell("rmsprop")) is first
    assert _scorer(_cell("rmsprop"), control_size=10) is not first
    other = _scorer(_cell("rmsprop"), "test")
    assert len(other.labels) != len(first.labels) or not torch.equal(other.labels, first.labels)
    assert _scorer(_cell("rmsprop", "chain4"), "test").layers != other.layers


def test_an_editor_that_asks_for_views_or_a_margin_gets_its_own(here):
    plain = _scorer(_cell("gd"))
    here.change(editors__gd__views=2)
    assert _scorer(_cell("gd")) is not plain
    here.change(editors__gd__views=None, editors__gd__margin=0.5)
    assert _scorer(_cell("gd")) is not plain


def test_a_model_that_was_trained_again_is_read_again(here):
    first = _scorer(_cell("gd"))
    here.change(benchmarks__digits__trainings__plain__epochs=3)
    here.succeed("train", "digits", "plain")
    again = _scorer(_cell("gd"))
    assert not torch.equal(again.before.log_probabilities, first.before.log_probabilities)


def test_statistics_are_collected_once_for_all_editors_of_a_method(here):
    block = {"method": "covariance", "trials": 1, "max_steps": 3, "subsets": {"plain": ["chain3", "chain4"]}}
    here.change(editors__covariance=block, editors__again=block)
    known = params.load()
    images, data = scorer(known, _cell("covariance"), "tuning", 6, None)
    found = statistics(known, _cell("covariance"), images, data.train)
    assert statistics(known, _cell("again"), images, data.train) is found
    on_test, data = scorer(known, _cell("again"), "test", 6, None)
    assert statistics(known, _cell("again"), on_test, data.train) is found
    assert statistics(known, _cell("gd"), images, data.train) is None
    elsewhere, data = scorer(known, _cell("again", "chain4"), "test", 6, None)
    assert statistics(known, _cell("again", "chain4"), elsewhere, data.train) is not found


def test_statistics_look_at_as_many_training_images_as_the_method_asks_for(here, monkeypatch):
    block = {"method": "covariance", "trials": 1, "max_steps": 3, "subsets": {"plain": ["chain3"]}}
    here.change(editors__covariance=block, editors__rmsprop_ewc=block | {"method": "rmsprop_ewc"})
    monkeypatch.setattr(Covariance, "examples", 50)
    known = params.load()
    images, data = scorer(known, _cell("covariance"), "tuning", 6, None)
    seen = []
    monkeypatch.setattr(images, "inputs", lambda raw: seen.append(raw) or Scorer.inputs(images, raw))
    statistics(known, _cell("covariance"), images, data.train)
    statistics(known, _cell("rmsprop_ewc"), images, data.train)
    spread = torch.linspace(0, len(data.train) - 1, 50).round().long()
    assert torch.equal(seen[0], data.train.images[spread])
    assert torch.equal(seen[1], data.train.images)


def test_the_cache_is_as_large_as_params_say(here, monkeypatch):
    asked = []
    monkeypatch.setattr(
        scorers, "Scorer", lambda *given, **named: asked.append(named["cache_bytes"]) or Scorer(*given, **named)
    )
    kept = _scorer(_cell("gd"), "test")
    here.change(cache_gib=0.25)
    _scorer(_cell("gd"), "test")
    here.change(cache_gib=0)
    anew = _scorer(_cell("gd"), "test")
    assert asked[-2:] == [2**28, 0]
    assert anew is not kept
    assert torch.equal(anew.before.labels, kept.before.labels)


def test_a_missing_model_is_named(here):
    shutil.rmtree("models/digits/plain")
    with pytest.raises(InputError, match=f"models/digits/plain/{WEIGHTS} is missing: run the stage that makes it"):
        _scorer(_cell("gd"))


def test_cells_of_the_same_part_follow_each_other_whole_models_first():
    cells = {editor: [_cell(editor, layers) for layers in ("chain4", "all", "chain3")] for editor in ("gd", "rmsprop")}
    found = unfinished("tune", cells, lambda cell: False)
    names = [(cell.layers, cell.editor) for cell in found]
    parts = ("all", "chain3", "chain4")
    assert names == [(layers, editor) for layers in parts for editor in ("gd", "rmsprop")]
