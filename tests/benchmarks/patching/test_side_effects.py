"""Errors before and after a patch, counted by hand."""

import pytest
import torch

from benchmarks.patching.side_effects import Errors


def test_what_became_wrong_and_what_became_right_are_told_apart():
    before = torch.tensor([True, True, False, False, False, False, False, False, False, False])
    after = torch.tensor([False, True, True, True, True, False, False, False, False, False])
    found = Errors.of(before, after)
    assert (found.images, found.broken, found.mended) == (10, 3, 1)
    assert (found.before.value, found.after.value, found.drawdown.value) == pytest.approx((20.0, 40.0, 20.0))
    assert found.drawdown.low < 20.0 < found.drawdown.high
    assert Errors.of(after, before).drawdown.value == pytest.approx(-20.0)
