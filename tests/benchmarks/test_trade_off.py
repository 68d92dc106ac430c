"""Editors at equal success, against what is reckoned by hand and against tunings that are simulated again and again."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import trade_off
from benchmarks.trade_off import DRAWDOWNS, SUCCEEDED, TradeOff, at_success

HALVES = TradeOff(
    succeeded=np.array([[0, 0, 0, 1], [0, 1, 1, 0], [1, 1, 1, 1]], dtype=bool),
    drawdowns=np.array([[1.0, 1, 1, 1], [2, 2, 2, 2], [4, 4, 4, 4]]),
)
"""25, 50 and 100 % success at 1, 2 and 4 points."""


@pytest.mark.parametrize(("success", "points"), [(30, 1.2), (50, 2.0), (75, 3.0), (100, 4.0), (25, np.nan)])
def test_drawdown_is_read_between_the_strengths_around_the_edge(success: float, points: float) -> None:
    assert HALVES.at(success, np.full((1, 4), 0.25))[0] == pytest.approx(points, nan_ok=True)


def test_an_edge_that_is_never_reached_has_no_drawdown() -> None:
    (found,) = TradeOff(HALVES.succeeded[:2], HALVES.drawdowns[:2]).at(60, np.full((1, 4), 0.25))
    assert np.isnan(found)


def test_resamples_move_the_edge() -> None:
    """Without the first edit, the second strength is at two in three."""
    assert HALVES.at(50, np.array([[0, 1 / 3, 1 / 3, 1 / 3]]))[0] == pytest.approx(1.5)


def _curve(rng: np.random.Generator, edits: int, cost: float, hard: float) -> TradeOff:
    """Edits that succeed from a strength of their own on, and break in proportion to it; ``hard`` is its log's mean."""
    strengths = np.exp(np.linspace(-1, 3, 9))[:, None]
    needed = np.exp(rng.normal(hard, 0.6, edits))
    return TradeOff(strengths >= needed, cost * strengths * rng.gamma(2, 0.5, edits))


def test_intervals_hold_the_difference_at_equal_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two editors that are equal there, although the second needs twice the strength and breaks half as much."""
    monkeypatch.setattr(trade_off, "_RESAMPLES", 400)
    rng, held, edges = np.random.default_rng(0), 0, 0
    for number in range(200):
        first, second = _curve(rng, 150, 2.0, 0.0), _curve(rng, 150, 1.0, np.log(2))
        found = at_success((first, second), 95, str(number % 3), np.subtract)
        held += found.low <= 0 <= found.high
        # As claims were decided before: each where its own search ended, with an interval over edits alone.
        ends = [one.drawdowns[(one.succeeded.mean(axis=1) >= 0.95).argmax()] for one in (first, second)]
        difference = ends[0] - ends[1]
        edges += abs(difference.mean()) <= 1.96 * difference.std(ddof=1) / np.sqrt(150)
    assert held >= 186
    assert edges < 180


def test_resamples_without_an_edge_count_for_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in a hundred leaves the interval wider, one in ten without ends."""
    nothing = np.full((1, 4), 0.25)
    for share, known in ((0.01, True), (0.1, False)):
        answers = np.where(np.arange(1000) < 1000 * share, np.nan, np.arange(1000))
        monkeypatch.setattr(
            TradeOff,
            "at",
            lambda self, success, shares, answers=answers: (
                np.array([500.0]) if shares.shape == nothing.shape else answers
            ),
        )
        found = at_success((HALVES,), 95, "any")
        assert found.value == 500
        assert ((found.low, found.high) == (24, 985)) is known
        assert np.isfinite([found.low, found.high]).tolist() == [known, known]


def test_curves_are_read_from_a_table() -> None:
    rows = pd.DataFrame({SUCCEEDED: ["0 1", "1 1"], DRAWDOWNS: ["0.5 1", "2 3.25"]})
    found = TradeOff.read(rows)
    assert found is not None
    assert found.succeeded.tolist() == [[False, True], [True, True]]
    assert found.drawdowns.tolist() == [[0.5, 1.0], [2.0, 3.25]]
    assert TradeOff.read(rows.drop(columns=DRAWDOWNS)) is None


def test_curves_of_other_edits_are_refused() -> None:
    more = TradeOff(np.ones((2, 5), dtype=bool), np.ones((2, 5)))
    with pytest.raises(ValueError, match="curves of 4 and 5 edits"):
        at_success((HALVES, more), 95, "other")
