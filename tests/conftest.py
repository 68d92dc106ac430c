"""How tests are shared out when several processes run them (``pytest -n auto --dist loadgroup``)."""

from __future__ import annotations

import pytest

STAGES = "stages"
"""Group of the tests that share one server of stages and the projects it trained once (tests/pipelines/conftest.py)."""
_SERVED = {"stage_server", "trained_once", "tuned_once", "trained", "tuned"}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests of one file stay together, because they share what the file made; so do all that run stages."""
    served = _SERVED & set(getattr(item, "fixturenames", ()))
    item.add_marker(pytest.mark.xdist_group(STAGES if served else item.path.name))
