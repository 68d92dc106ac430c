"""What cells of the same part of a model share."""

import pytest
import torch

from benchmarks.scoring.scorer import Scorer
from editors.methods.covariance import Covariance
from pipelines.jobs.cells import Cell, unfinished
from pipelines.tasks import editor_of, identity, load_settings, scorer_of
from pipelines.tasks.base import EditSet
from pipelines.tasks.images import edits


def _cell(editor: str, layers: str = "chain3") -> Cell:
    return Cell("digits", "plain", editor, layers)


def _scorer(cell: Cell, split: str = "tuning", control_size: int | None = None, seed: int = 0) -> Scorer:
    return scorer_of(load_settings(), cell, EditSet(split, 6, seed=seed), control_size)


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
    assert not torch.equal(other.labels, first.labels)
    assert not torch.equal(_scorer(_cell("rmsprop"), "test", seed=1).requests.images, other.requests.images)
    assert _scorer(_cell("rmsprop", "chain4"), "test").layers != other.layers


def test_an_editor_that_asks_for_views_or_a_margin_gets_its_own(here):
    plain = _scorer(_cell("gd"))
    here.change(editors__gd__views=2)
    assert _scorer(_cell("gd")) is not plain
    here.change(editors__gd__views=None, editors__gd__margin=0.5)
    assert _scorer(_cell("gd")) is not plain


def test_a_model_that_was_trained_again_is_read_again(here):
    first = _scorer(_cell("gd"))
    here.change(trainings__plain__epochs=3)
    here.succeed("train", "digits", "plain")
    again = _scorer(_cell("gd"))
    assert not torch.equal(again.before.log_probabilities, first.before.log_probabilities)


def test_statistics_are_collected_once_for_all_editors_of_a_method(here, monkeypatch):
    collected, original = [], Covariance.statistics
    monkeypatch.setattr(Covariance, "examples", 50)
    monkeypatch.setattr(Covariance, "statistics", lambda *given: collected.append(given) or original(*given))
    block = {"method": "covariance", "layers": {"plain": ["chain3", "chain4"]}}
    here.change(editors__covariance=block, editors__again=block)
    settings = load_settings()

    def told(editor: str, layers: str, split: str) -> object:
        cell = _cell(editor, layers)
        return editor_of(settings, cell, _scorer(cell, split))

    editors = [
        told("covariance", "chain3", "tuning"),
        told("again", "chain3", "tuning"),
        told("again", "chain3", "test"),
    ]
    assert all(editor.stiffness is not None for editor in editors)
    assert len(collected) == 1
    told("again", "chain4", "test")
    assert len(collected) == 2
    assert not editor_of(settings, _cell("gd"), None).needs_statistics  # without a scorer, which is not asked


def test_statistics_look_at_as_many_training_images_as_the_method_asks_for(here, monkeypatch):
    monkeypatch.setattr(Covariance, "examples", 50)
    block = {"method": "covariance", "layers": {"plain": ["chain3"]}}
    here.change(editors__covariance=block, editors__rmsprop_ewc=block | {"method": "rmsprop_ewc"})
    settings, images, seen = load_settings(), _scorer(_cell("covariance")), []
    train = images._dataset.train
    monkeypatch.setattr(images, "inputs", lambda raw: seen.append(raw) or Scorer.inputs(images, raw))
    for name in ("covariance", "rmsprop_ewc"):
        images.statistics(settings.build("digits", name))
    assert torch.equal(seen[0], train.images[torch.linspace(0, len(train) - 1, 50).round().long()])
    assert torch.equal(seen[1], train.images)


def test_the_cache_is_as_large_as_params_say(here, monkeypatch):
    asked = []
    monkeypatch.setattr(
        edits, "Scorer", lambda *given, **named: asked.append(named["cache_bytes"]) or Scorer(*given, **named)
    )
    kept = _scorer(_cell("gd"), "test")
    here.choose(cache_gib=0.25)
    _scorer(_cell("gd"), "test")
    here.choose(cache_gib=0)
    anew = _scorer(_cell("gd"), "test")
    assert asked[-2:] == [2**28, 0]
    assert anew is not kept
    assert torch.equal(anew.before.labels, kept.before.labels)


def test_what_a_result_depends_on_is_part_of_its_identity(here):
    def found(cell: Cell, **described: object) -> str:
        return identity(load_settings(), cell, [described])

    first = found(_cell("gd"))
    assert found(_cell("gd")) == first
    others = [found(_cell("rmsprop")), found(_cell("gd", "chain4")), found(_cell("gd"), steps=1)]
    here.change(editors__gd__margin=0.5, editors__rmsprop__trials=9)
    others += [found(_cell("gd"))]
    assert found(_cell("rmsprop")) == others[0]  # how it is searched is no part of what it does
    here.change(editors__gd__margin=0.0)
    here.choose(seed=1)
    others += [found(_cell("gd"))]
    assert len({first, *others}) == 6


def test_cells_of_the_same_part_follow_each_other_whole_models_first():
    cells = {editor: [_cell(editor, layers) for layers in ("chain4", "all", "chain3")] for editor in ("gd", "rmsprop")}
    found = unfinished("tune", cells, lambda cell: False)
    names = [(cell.layers, cell.editor) for cell in found]
    parts = ("all", "chain3", "chain4")
    assert names == [(layers, editor) for layers in parts for editor in ("gd", "rmsprop")]
