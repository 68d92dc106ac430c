"""Compiled update rules take the same steps as the plain ones, and are compiled once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import editors
from editors.constraints import predicts
from tests.editors.conftest import RULES, Build, Informed, assert_same
from tests.editors.test_rows import Remembering

pytestmark = pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")

QUICK = ("rmsprop", "polyak")  # each rule takes seconds to compile


@pytest.fixture(params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in RULES])
def changing(request: pytest.FixtureRequest) -> str:
    return request.param


def requests_of(images: Tensor) -> list[editors.Request]:
    return [editors.Request(one, predicts(row % 5)) for row, one in enumerate(images)]


def test_equal_plain_ones(build: Build, model: nn.Module, images: Tensor) -> None:
    plain = build(max_steps=6).edit_many(model, requests_of(images))
    assert len({edit.steps for edit in plain}) > 2  # rows leave the batch one after the other
    compiled = build(max_steps=6, compiled=True)
    assert_same(compiled.edit_many(model, requests_of(images)), plain, atol=1e-12)
    assert_same([compiled.edit(model, *requests_of(images)[-1])], plain[-1:], atol=1e-12)


def test_one_that_keeps_what_it_is_shown_equals_the_plain_one(model: nn.Module, images: Tensor) -> None:
    plain = Remembering(max_steps=8).edit_many(model, requests_of(images))
    assert_same(Remembering(max_steps=8, compiled=True).edit_many(model, requests_of(images)), plain, atol=1e-12)


def test_other_hyperparameters_and_numbers_of_edits_are_not_compiled_anew(model: nn.Module, images: Tensor) -> None:
    requests = requests_of(images)
    for count in (1, 12):
        editors.build("rmsprop", lr=0.02, compiled=True).edit_many(model, requests[:count])
    with torch._dynamo.config.patch(error_on_recompile=True):
        for count in (1, 2, 5, 12):
            found = editors.build("rmsprop", lr=0.01, beta=0.9, compiled=True).edit_many(model, requests[:count])
            expected = editors.build("rmsprop", lr=0.01, beta=0.9).edit_many(model, requests[:count])
            assert_same(found, expected, atol=1e-12)


def test_a_graph_is_carried_as_without_compiling(model: nn.Module, images: Tensor) -> None:
    rates = [torch.tensor(0.02, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    for rate, compiled in zip(rates, (False, True), strict=True):
        editor = editors.build("rmsprop", lr=rate, compiled=compiled)
        editor.edit(model, *requests_of(images)[2], differentiable=True).loss.backward()
    assert rates[0].grad is not None
    torch.testing.assert_close(rates[0].grad, rates[1].grad)


def test_without_a_compiler_the_error_says_what_to_do(
    model: nn.Module, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import config

    class Other(type(editors.build("gd"))):
        """Not compiled before."""

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    with config.patch({"cpp.cxx": ("no-such-compiler",)}), pytest.raises(editors.EditError) as raised:
        Informed(Other(lr=0.05, compiled=True)).edit_many(model, requests_of(images))
    assert "Other's update rule cannot be compiled" in str(raised.value)
    assert "compiled=False" in str(raised.value)


def test_the_flag_must_be_one() -> None:
    with pytest.raises(editors.EditError, match="compiled must be true or false, not 'yes'"):
        editors.build("rmsprop", compiled="yes")
